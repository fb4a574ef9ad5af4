# SPDX-License-Identifier: Apache-2.0
"""Firmware as QEMU's migration document tells it: it migrates, stays through resets, and must have the same size.

Sizes and words: QEMU 5.2.0, 7.2.22, 10.0.13 and 11.1.3.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from migration_machines import RELEASES, Box, make
from whole_streams import loaded, saved

from migmatrix.emulator.errors import FatalError

if TYPE_CHECKING:
    from pathlib import Path

KIB = 1024
CARD = "-device", "e1000,addr=5,romfile={}"


def image(place: Path, name: str, kib: int) -> str:
    """A file whose bytes all say who it is."""
    path = place / name
    path.write_bytes(name.encode() * (kib * KIB // len(name)))
    return str(path)


def pc(release: str, *words: str, board: str = "pc-i440fx-5.2", incoming: bool = False) -> Box:
    more = ("-incoming", "defer") if incoming else ()
    return make(release, "-M", board, "-m", "16", "-nodefaults", "-S", *words, *more)


def bios(machine: Box) -> bytes:
    block = machine.ram_blocks["pc.bios"]
    return block.data[: block.used_length]


@pytest.mark.parametrize("board", ["pc-i440fx-5.2", "pc-q35-5.2", "isapc"])
@pytest.mark.parametrize("release", RELEASES)
def test_the_block_holds_the_file(release: str, board: str, tmp_path: Path) -> None:
    path = image(tmp_path, "aaaa", 192)
    assert bios(pc(release, "-bios", path, board=board)) == b"aaaa" * (48 * KIB)


def test_the_last_file_counts_however_it_was_said(tmp_path: Path) -> None:
    one, two = image(tmp_path, "aaaa", 64), image(tmp_path, "bbbb", 128)
    assert bios(pc("10.0", "-bios", one, "-machine", f"firmware={two}"))[:4] == b"bbbb"
    assert bios(pc("10.0", "-machine", f"firmware={two}", "-bios", one))[:4] == b"aaaa"


@pytest.mark.parametrize("kib", [0, 1, 63, 65, 300, None])
def test_a_file_that_is_no_bios_is_refused(kib: int | None, tmp_path: Path) -> None:
    path = tmp_path / "it"
    if kib is not None:
        path.write_bytes(bytes(kib * KIB))
    with pytest.raises(FatalError) as refused:
        pc("10.0", "-bios", str(path))
    assert (refused.value.program, str(refused.value)) == ("qemu", f"could not load PC BIOS '{path}'")


def test_the_process_says_it_as_qemu_does(tmp_path: Path) -> None:
    argv = (sys.executable, "-m", "migmatrix.emulator", "-M", "q35", "-display", "none", "-bios", "")
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "qemu: could not load PC BIOS ''\n")


def test_a_board_without_a_bios_takes_no_notice() -> None:
    assert list(make("10.0", "-M", "none", "-m", "1", "-bios", "nosuch").ram_blocks) == ["ram"]


@pytest.mark.parametrize("release", RELEASES)
def test_the_sources_firmware_arrives_and_stays_through_resets(release: str, tmp_path: Path) -> None:
    old, new = image(tmp_path, "old!", 128), image(tmp_path, "new!", 128)
    there = pc(release, "-bios", new, incoming=True)
    assert loaded(there, saved(pc(release, "-bios", old))) == (0, [])
    assert bios(there)[:4] == b"old!"
    there.reset()
    assert bios(there) == b"old!" * (32 * KIB)
    assert bios(pc(release, "-bios", new))[:4] == b"new!"  # a restart


@pytest.mark.parametrize(("source", "destination"), [(64, 128), (128, 64)])
@pytest.mark.parametrize("release", RELEASES)
def test_another_size_is_refused(release: str, source: int, destination: int, tmp_path: Path) -> None:
    old, new = image(tmp_path, "old!", source), image(tmp_path, "new!", destination)
    status, lines = loaded(pc(release, "-bios", new, incoming=True), saved(pc(release, "-bios", old)))
    said = f"Size mismatch: pc.bios: {source * KIB:#x} != {destination * KIB:#x}: Invalid argument"
    assert (status, lines[0]) == (1, said)


@pytest.mark.parametrize("release", RELEASES)
def test_an_option_rom_arrives_and_stays_too(release: str, tmp_path: Path) -> None:
    old, new = image(tmp_path, "old!", 60), image(tmp_path, "new!", 40)
    there = pc(release, CARD[0], CARD[1].format(new), incoming=True)
    assert loaded(there, saved(pc(release, CARD[0], CARD[1].format(old)))) == (0, [])
    there.reset()
    block = there.ram_blocks["0000:00:05.0/e1000.rom"]
    assert block.data[: block.used_length] == b"old!" * (15 * KIB) + bytes(4 * KIB)


def test_an_option_rom_that_outgrew_its_block_is_refused(tmp_path: Path) -> None:
    old, new = image(tmp_path, "old!", 64), image(tmp_path, "new!", 65)
    source, there = (pc("10.0", CARD[0], CARD[1].format(path), incoming=path is new) for path in (old, new))
    status, lines = loaded(there, saved(source))
    said = "Size mismatch: 0000:00:05.0/e1000.rom: 0x10000 != 0x20000: Invalid argument"
    assert (status, lines[0]) == (1, said)


def test_padding_leaves_room_for_it(tmp_path: Path) -> None:
    paths = image(tmp_path, "old!", 64), image(tmp_path, "new!", 65)
    words = [(CARD[0], CARD[1].format(path) + ",romsize=131072") for path in paths]
    assert loaded(pc("10.0", *words[1], incoming=True), saved(pc("10.0", *words[0]))) == (0, [])


def test_a_guest_that_is_born_here_has_a_few_bytes_of_our_own() -> None:
    """At the reset vector something that halts; the sum of all bytes is 0 in each ROM."""
    machine = pc("10.0", "-device", "e1000,addr=5")
    rom = machine.ram_blocks["0000:00:05.0/e1000.rom"]
    found = rom.data[:512]
    assert (found[:4], sum(found) & 0xFF) == (b"\x55\xaa\x01\xcb", 0)
    assert rom.data[512 : rom.used_length].strip(b"\0") == b""
    assert bios(machine)[-16:-12] == b"\xfa\xf4\xeb\xfc"
    assert sum(bios(machine)) & 0xFF == 0


def test_a_side_that_waits_has_no_bios_yet(tmp_path: Path) -> None:
    there = pc("10.0", "-bios", image(tmp_path, "new!", 64), incoming=True)
    assert bios(there) == bytes(64 * KIB)
