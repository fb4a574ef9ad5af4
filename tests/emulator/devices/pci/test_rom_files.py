# SPDX-License-Identifier: Apache-2.0
"""`romfile=` decides the size of the option ROM's block, or is refused, in the words of QEMU 7.2.22 and 10.0.13."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.machine import Machine, build_machine
from migmatrix.emulator.options.parse import parse
from migmatrix.emulator.release import load

if TYPE_CHECKING:
    from pathlib import Path


def build(device: str) -> Machine:
    return build_machine(
        load("7.2"), parse(["-release", "7.2", "-M", "pc", "-nodefaults", "-m", "16", "-device", device])
    )


def test_the_block_is_as_large_as_the_file(tmp_path: Path) -> None:
    rom = tmp_path / "rom"
    rom.write_bytes(bytes(300 << 10))
    blocks = build(f"e1000,romfile={rom},addr=5").ram_blocks
    assert [block.used_length for name, block in blocks.items() if name.endswith("e1000.rom")] == [512 << 10]


@pytest.mark.parametrize(
    ("size", "more", "said"),
    [
        (None, "", 'failed to find romfile "{0}"'),
        (0, "", 'romfile "{0}" is empty'),
        (307200, ",romsize=131072", 'romfile "{0}" (307200 bytes) is too large for ROM size 131072'),
    ],
)
def test_a_file_that_cannot_be_is_refused(tmp_path: Path, size: int | None, more: str, said: str) -> None:
    rom = tmp_path / "rom"
    if size is not None:
        rom.write_bytes(bytes(size))
    with pytest.raises(FatalError) as caught:
        build(f"virtio-rng-pci,romfile={rom}{more}")
    assert str(caught.value).endswith(": " + said.format(rom))
