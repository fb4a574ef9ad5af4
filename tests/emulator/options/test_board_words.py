# SPDX-License-Identifier: Apache-2.0
"""What a board makes of memory, ports, cards and drives: as real QEMU 5.2.0, 7.2.22, 10.0.13 and 11.1.3 do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from migration_machines import make, status
from whole_streams import saved

from migmatrix.emulator.boards import early_warnings
from migmatrix.emulator.errors import FatalError

if TYPE_CHECKING:
    from pathlib import Path

PC = ("-M", "pc-i440fx-5.2", "-m", "16", "-nodefaults")


@pytest.mark.parametrize(("release", "length"), [("7.2", 747), ("10.0", 1089)])
def test_an_empty_machine_has_no_memory_of_its_own(release: str, length: int, tmp_path: Path) -> None:
    """`length` is that of the real one's stream, which has the same bytes."""
    machine = make(release, "-M", "none", "-nodefaults", "-S")
    assert (machine.memory_bytes, list(machine.ram_blocks)) == (0, [])
    machine.migration.migrate(f"exec:cat > {tmp_path / 'stream'}")
    status(machine, "completed")
    assert (tmp_path / "stream").stat().st_size == length
    assert make(release, "-M", "none", "-m", "16").main_ram is not None


def test_a_board_has_128_mib() -> None:
    assert make("10.0", "-M", "pc-i440fx-5.2", "-nodefaults").memory_bytes == 128 << 20
    assert make("10.0", "-M", "isapc", "-m", "0").memory_bytes == 128 << 20


@pytest.mark.parametrize(("release", "lines"), [("5.2", 0), ("7.2", 1), ("11.1", 1)])
def test_an_empty_machine_takes_no_notice_of_a_card(release: str, lines: int) -> None:
    words = "warning: A -vga option was passed but this machine type does not use that option; "
    found = list(early_warnings(make(release, "-M", "none", "-vga", "cirrus")))
    assert found == [f"{words}No VGA device has been created"] * lines
    assert list(early_warnings(make(release, "-M", "none", "-vga", "none"))) == []


@pytest.mark.parametrize(("given", "made"), [(1, 1), (4, 4), (5, 4)])
def test_a_board_makes_four_serial_ports_at_most(given: int, made: int) -> None:
    machine = make("10.0", *PC, *("-serial", "null") * given)
    assert [d.type_name for d in machine.walk()].count("isa-serial") == made
    assert saved(machine).count(b"\6serial\0") == made


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-serial chardev:no", "could not connect serial device to character backend 'chardev:no'"),
        ("-parallel chardev:no", "could not connect parallel device to character backend 'chardev:no'"),
        ("-parallel null -parallel null -parallel null -parallel null", "too many parallel ports"),
        ("-drive file=x", "the emulator makes no device for if=ide; use if=none and -device"),
        ("-drive file=x,if=virtio", "the emulator makes no device for if=virtio; use if=none and -device"),
        ("-drive if=bogus", "unsupported bus type 'bogus'"),
    ],
)
def test_what_cannot_be_is_refused(words: str, said: str) -> None:
    option = " ".join(words.split()[-2:])
    with pytest.raises(FatalError) as refused:
        make("10.0", *PC, *words.split())
    assert str(refused.value) == f"{option}: {said}"


@pytest.mark.parametrize(
    ("release", "said"), [("7.2", "Device 'a' is in use"), ("10.0", "chardev 'a' is already in use")]
)
def test_two_ports_do_not_share_a_chardev(release: str, said: str) -> None:
    with pytest.raises(FatalError) as refused:
        make(release, *PC, "-serial", "chardev:a", "-chardev", "null,id=a", "-parallel", "chardev:a")
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("order", "said"), [("z", "Invalid boot device 'z'"), ("cc", "Boot device 'c' was given twice")]
)
def test_boot_devices_are_letters(order: str, said: str) -> None:
    for key in ("order", "once"):
        with pytest.raises(FatalError) as refused:
            make("10.0", *PC, "-boot", f"{key}={order}")
        assert str(refused.value) == said
