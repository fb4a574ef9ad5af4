# SPDX-License-Identifier: Apache-2.0
"""Firmware of two files, between real QEMUs and between them and the emulator: whose a guest has, and what is refused.

The emulator's side alone is `tests/emulator/core/test_firmware.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from guests import Guest, contained, emulated

from migmatrix.vmstate.view.ramimage import RamImage
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(300)]

RELEASES = {"7.2": "7.2.22", "10.0": "10.0", "11.1": "11.1"}
KIB = 1024
PAIRS = [("q", "q"), ("q", "e"), ("e", "q")]


def image(place: Path, name: str, kib: int) -> str:
    """A BIOS whose bytes all say who it is."""
    path = place / name
    path.write_bytes(name.encode() * (kib * KIB // len(name)))
    path.chmod(0o644)
    return str(path)


def start(kind: str, line: str, shared: Path, bios: str, *more: str) -> AbstractContextManager[Guest]:
    """Real QEMU (``q``) or the emulator (``e``) of a line."""
    words = ("-M", "pc-i440fx-7.2", "-m", "16", "-S", "-bios", bios, *more)
    return emulated(RELEASES[line], *words) if kind == "e" else contained(line, shared, *words)


def save(guest: Guest, path: Path) -> bytes:
    guest.command("migrate", uri=f"exec:cat > {path}")
    guest.status("completed")
    return path.read_bytes()


def firmware(stream: bytes) -> bytes:
    """The first bytes of `pc.bios` in a stream."""
    return dict(RamImage(read_stream(stream).events).blocks["pc.bios"].pages())[0][:4]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tmp_path.chmod(0o777)
    return tmp_path


@pytest.mark.parametrize(("here", "there"), PAIRS)
@pytest.mark.parametrize("line", RELEASES)
def test_the_old_firmware_stays_until_a_restart(here: str, there: str, line: str, place: Path) -> None:
    old, new = image(place, "old!", 128), image(place, "new!", 128)
    with start(here, line, place, old) as source:
        assert firmware(save(source, place / "one")) == b"old!"
    with start(there, line, place, new, "-incoming", "defer") as target:
        target.command("migrate-incoming", uri=f"exec:cat {place / 'one'}")
        target.status("completed")
        target.command("system_reset")
        target.heard("RESET")
        assert firmware(save(target, place / "two")) == b"old!"
    with start(there, line, place, new) as restarted:
        assert firmware(save(restarted, place / "three")) == b"new!"


@pytest.mark.parametrize(("here", "there"), PAIRS)
@pytest.mark.parametrize(("first", "second"), [(64, 128), (128, 64)])
@pytest.mark.parametrize("line", RELEASES)
def test_another_size_is_refused(
    here: str, there: str, line: str, first: int, second: int, place: Path
) -> None:
    with start(here, line, place, image(place, "old!", first)) as source:
        save(source, place / "one")
    with start(there, line, place, image(place, "new!", second), "-incoming", "defer") as target:
        target.command("migrate-incoming", uri=f"exec:cat {place / 'one'}")
        code, said = target.ended()
    assert code == 1
    assert f"Size mismatch: pc.bios: {first * KIB:#x} != {second * KIB:#x}: Invalid argument" in said


ROM = "e1000,addr=5,romfile="


@pytest.mark.parametrize("line", RELEASES)
def test_an_option_rom_is_padded_to_a_power_of_two(line: str, place: Path) -> None:
    bios = image(place, "bios", 64)
    with start("q", line, place, bios, "-device", ROM + image(place, "old!", 33)) as source:
        save(source, place / "one")
    for kib, name in ((64, "fits"), (65, "more")):
        words = ("-device", ROM + image(place, name, kib), "-incoming", "defer")
        with start("q", line, place, bios, *words) as target:
            target.command("migrate-incoming", uri=f"exec:cat {place / 'one'}")
            if name == "fits":
                target.status("completed")
                continue
            code, said = target.ended()
            assert code == 1
            assert "Size mismatch: 0000:00:05.0/e1000.rom: 0x10000 != 0x20000: Invalid argument" in said
