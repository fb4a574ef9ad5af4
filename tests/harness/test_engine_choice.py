# SPDX-License-Identifier: Apache-2.0
"""Where builds of the reference emulator run: the command line, else the matrix, else with the other builds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.builds.emulator import EmulatorSpec
from migmatrix.harness.config import load_matrix
from migmatrix.harness.run.pipeline import engine_specs

if TYPE_CHECKING:
    from pathlib import Path

    from migmatrix.harness.config.matrix import EngineName

EMULATOR = 'emu: {provider: emulator, release: "8.0"}'
DEBIAN = "deb: {provider: debian, suite: trixie}"


def contained(directory: Path, lines: list[str], engine: str, option: EngineName | None) -> bool:
    text = "".join(f"  {line}\n" for line in lines)
    path = directory / "m.yaml"
    path.write_text(
        f"builds:\n{text}machines: [pc-q35-7.2]\nprofiles: {{define: {{p: {{args: []}}}}}}\n{engine}"
    )
    specs = engine_specs(load_matrix(path), option)
    assert not any(isinstance(spec, EmulatorSpec) for id_, spec in specs.items() if id_ != "emu")
    emulator = specs["emu"]
    assert isinstance(emulator, EmulatorSpec)
    return emulator.contained


@pytest.mark.parametrize(
    ("lines", "engine", "option", "wanted"),
    [
        ([EMULATOR], "", None, False),
        ([EMULATOR, DEBIAN], "", None, True),
        ([EMULATOR, "own: {provider: binary, path: qemu}"], "", None, False),
        ([EMULATOR, DEBIAN], "engine: process", None, False),
        ([EMULATOR], "engine: docker", None, True),
        ([EMULATOR], "", "docker", True),
        ([EMULATOR, DEBIAN], "engine: docker", "process", False),
    ],
)
def test_the_nearest_word_counts(
    tmp_path: Path, lines: list[str], engine: str, option: EngineName | None, wanted: bool
) -> None:
    assert contained(tmp_path, lines, engine, option) is wanted
