# SPDX-License-Identifier: Apache-2.0
"""The program of the guest `pulse`: a second build gives the same bytes, and the files that are kept are what it gives."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import needs
import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "guests" / "pulse"
KEPT = SOURCES / "bin"
BUILD = runpy.run_path(str(SOURCES / "build.py"))


def build(target: Path, sources: Path = SOURCES) -> dict[str, bytes]:
    """The files of a build, by name; skips where a tool is missing, and fails in CI."""
    if missing := [tool for tool in BUILD["TOOLS"] if shutil.which(tool) is None]:
        needs.missing(f"{', '.join(missing)} (Debian: gcc, binutils)")
    done = subprocess.run(
        [sys.executable, sources / "build.py", target], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return {path.name: path.read_bytes() for path in target.iterdir()}


def test_a_second_build_from_another_place_gives_the_same_bytes(tmp_path: Path) -> None:
    elsewhere = tmp_path / "a place with another name"
    shutil.copytree(SOURCES, elsewhere)
    first = build(tmp_path / "first")
    assert sorted(first) == ["compiler", "loader.rom", "pulse.bin"]
    assert build(tmp_path / "second", elsewhere) == first


def test_the_files_that_are_kept_are_what_their_compiler_makes(tmp_path: Path) -> None:
    made = build(tmp_path / "made")
    kept = {path.name: path.read_bytes() for path in KEPT.iterdir()}
    if made["compiler"] != kept["compiler"]:
        pytest.skip(f"made by {kept['compiler'].decode()!r}; here is {made['compiler'].decode()!r}")
    assert made == kept


def test_the_loader_is_an_option_rom_with_a_plug_and_play_header() -> None:
    rom = (KEPT / "loader.rom").read_bytes()
    assert rom[:2] == b"\x55\xaa"
    assert len(rom) == rom[2] * 512
    assert sum(rom) % 256 == 0
    header = int.from_bytes(rom[0x1A:0x1C], "little")
    assert rom[header : header + 4] == b"$PnP"
    assert rom[header + 6 :][:26] == bytes(26)  # no further header, and nothing that a boot menu would list
