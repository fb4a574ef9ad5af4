# SPDX-License-Identifier: Apache-2.0
"""Memory in a file that both sides have: with `x-ignore-shared` it does not travel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from migration_machines import enable, fill, make, memory, status

from migmatrix.emulator.errors import FatalError

if TYPE_CHECKING:
    from pathlib import Path

    from migration_machines import Box

MIB = 16


def side(release: str, file: Path, *arguments: str, share: str = "on", board: str = "none") -> Box:
    """A machine with its memory in a file."""
    backend = f"memory-backend-file,id=mem,size={MIB}M,mem-path={file},share={share}"
    words = ("-M", f"{board},memory-backend=mem", "-m", str(MIB), "-nodefaults", "-object", backend)
    return make(release, *words, *arguments)


def moved(source: Box, there: Box, path: Path) -> int:
    """Migrate by a file; its size."""
    source.migration.migrate(f"exec:cat > {path / 's'}")
    assert status(source)["status"] == "completed", source.said
    there.migration.incoming(f"exec:cat {path / 's'}")
    assert status(there)["status"] == "completed", there.said
    return (path / "s").stat().st_size


@pytest.mark.parametrize("release", ["5.2", "7.2", "10.0", "11.1"])
@pytest.mark.parametrize("board", ["none", "pc-q35-5.2"])
def test_shared_memory_does_not_travel(release: str, board: str, tmp_path: Path) -> None:
    source = side(release, tmp_path / "m", "-S", board=board)
    fill(source)
    there = side(release, tmp_path / "m", "-incoming", "defer", board=board)
    for each in (source, there):
        enable(each, "x-ignore-shared")
    before = memory(source)
    assert moved(source, there, tmp_path) < MIB << 14
    assert memory(there) == before
    assert (tmp_path / "m").read_bytes() == next(iter(before.values()))


def test_it_travels_without_the_capability(tmp_path: Path) -> None:
    source, there = side("10.0", tmp_path / "a", "-S"), side("10.0", tmp_path / "b", "-incoming", "defer")
    fill(source)
    before = memory(source)
    assert moved(source, there, tmp_path) > MIB << 18
    assert memory(there) == before
    assert (tmp_path / "b").read_bytes() == before["mem"]


def test_private_memory_of_a_file_travels(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"first".ljust(MIB << 20, b"\0"))
    source = side("10.0", tmp_path / "m", "-S", share="off")
    there = side("10.0", tmp_path / "m", "-incoming", "defer", share="off")
    assert source.ram_blocks["mem"].read(0, 5) == b"first"
    fill(source)
    for each in (source, there):
        enable(each, "x-ignore-shared")
    assert moved(source, there, tmp_path) > MIB << 18
    assert memory(there) == memory(source)
    assert (tmp_path / "m").read_bytes()[:6] == b"first\0"


def test_one_side_only(tmp_path: Path) -> None:
    source, there = side("10.0", tmp_path / "m", "-S"), side("10.0", tmp_path / "m", "-incoming", "defer")
    enable(source, "x-ignore-shared")
    source.migration.migrate(f"exec:cat > {tmp_path / 's'}")
    assert status(source)["status"] == "completed"
    there.migration.incoming(f"exec:cat {tmp_path / 's'}")
    assert status(there)["status"] == "failed"
    assert there.said[0] == "Capability x-ignore-shared is off, but received capability is on"


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x")
    with pytest.raises(FatalError, match="backing store size 0x1 does not match 'size' option 0x1000000"):
        side("10.0", tmp_path / "small")
    with pytest.raises(
        FatalError, match=r"can't open backing store .* for guest RAM: No such file or directory"
    ):
        side("10.0", tmp_path / "no" / "m")
