# SPDX-License-Identifier: Apache-2.0
"""State that no device can have is refused, in QEMU's words where QEMU has some and does not end by an assertion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from migration_machines import make
from whole_streams import loaded, saved

if TYPE_CHECKING:
    from collections.abc import Sequence

_BOARD = ("-M", "pc-q35-7.2", "-m", "4", "-nodefaults")
_CARDS = ("-device", "virtio-rng-pci", "-device", "pcie-pci-bridge", "-device", "e1000e,romfile=")


def guest(*more: str, release: str = "7.2") -> Any:
    return make(release, *_BOARD, *_CARDS, *more)


def device(machine: Any, name: str) -> Any:
    return next(d for d in machine.walk() if d.type_name == name)


def refused(data: bytes, release: str = "7.2") -> list[str]:
    got, said = loaded(guest("-incoming", "defer", release=release), data)
    assert got == 1
    return said


@pytest.mark.parametrize(
    ("field", "name", "most"),
    [
        ("table_mr_size", "/rom@etc/acpi/tables", 0x200000),
        ("linker_mr_size", "/rom@etc/table-loader", 0x10000),
        ("rsdp_mr_size", "/rom@etc/acpi/rsdp", 0x1000),
    ],
)
def test_acpi_tables_have_their_room(field: str, name: str, most: int) -> None:
    source = guest("-S")
    setattr(device(source, "fw_cfg_io").state, field, most + 1)
    text = f"Size too large: {name}: {most + 0x1000:#x} > {most:#x}: Invalid argument"
    assert refused(saved(source))[0] == text
    setattr(device(source, "fw_cfg_io").state, field, most)
    target = guest("-incoming", "defer")
    assert loaded(target, saved(source)) == (0, [])
    assert target.ram_blocks[name].used_length == most


@pytest.mark.parametrize("pin", [0, 5, 0x7F])
@pytest.mark.parametrize(
    ("name", "drives"), [("virtio-rng-pci", True), ("pcie-pci-bridge", True), ("e1000e", False)]
)
def test_a_line_that_is_driven_is_there(name: str, drives: bool, pin: int) -> None:
    source = guest("-S")
    device(source, name).space.write(0x3D, 1, pin)
    got, said = loaded(guest("-incoming", "defer"), saved(source))
    assert (got, said[:1]) == ((1, [f"pci_irq_handler: {pin} is no interrupt pin"]) if drives else (0, []))


@pytest.mark.parametrize(
    ("state", "address", "size", "status"),
    [(0, 0, 0, 0), (1, 0, 0, 1), (0, 0xC0001, 0, 1), (2, 0xC01FF, 1, 0), (1, 0x7FFFFFFF, 1, 1)],
)
def test_the_helper_of_the_apic_needs_its_rom(state: int, address: int, size: int, status: int) -> None:
    """Seen with 11.1: another value refuses when guest memory says nothing of the ROM's size there."""
    source = guest("-S")
    helper = device(source, "kvmvapic").state
    helper.state, helper.rom_state_paddr = state, address
    source.main_ram.write(0xC0002, bytes([size]))
    got, said = loaded(guest("-incoming", "defer"), saved(source))
    assert got == status
    assert not got or said == [
        "error while loading state for instance 0x0 of device 'kvm-tpr-opt'",
        "load of migration failed: Operation not permitted",
    ]


def test_a_level_is_told_as_the_number_that_it_is() -> None:
    source = guest("-S")
    device(source, "e1000e").irq_state[2] = 0xFFFFFFFE
    assert refused(saved(source))[0] == "irq state -2: must be 0 or 1."


def test_a_command_without_a_name() -> None:
    data = saved(guest("-S"))
    at = data.index(b"\x01\0\0\0\2\x03ram")
    text = "(null) received with bad length - expecting 0, got 2"
    assert refused(data[:at] + b"\x08\0\x08\0\2\0\0" + data[at:])[0] == text


@pytest.mark.parametrize(("release", "last"), [("7.2", ""), ("11.1", ": Section footer error, section_id: ")])
def test_a_stream_that_ends_before_a_footer(release: str, last: str) -> None:
    data = saved(guest("-S", release=release))
    cut = data[: data.rindex(b"\x7e", 0, data.index(b"/e1000e"))]
    for end in (cut, cut + b"\x05"):  # the second begins a subsection
        said = refused(end, release)
        assert said[0] == "check_section_footer: Read section footer failed: -5"
        assert said[1].startswith(f"load of migration failed: Invalid argument{last}")


_ROWS = "virtio_pci/modern_state"


@pytest.mark.parametrize(
    ("past", "lines"),
    [
        (3, [f"{_ROWS}:dfselect"]), (4, [f"{_ROWS}:gfselect"]), (8, [f"{_ROWS}:guest_features"]),
        (16, ["virtio_pci/modern_queue_state:num", f"{_ROWS}:vqs"]),
        (18, ["virtio_pci/modern_queue_state:unused", f"{_ROWS}:vqs"]),
        (43, ["virtio_pci/modern_queue_state:used", f"{_ROWS}:vqs"]),
        (44, [f"{_ROWS}:vqs"]),
    ],
)  # fmt: skip
def test_a_stream_that_ends_inside_the_table_of_queues(past: int, lines: Sequence[str]) -> None:
    """Seen with 7.2, byte by byte; behind a whole row QEMU looks for a subsection, and names the table."""
    data = saved(guest("-S"))
    at = data.index(_ROWS.encode()) + len(_ROWS) + 4 + past
    tail = ["virtio/extra_state:extra_state", "virtio-rng:virtio"]
    said = refused(data[:at])
    assert said[: len(lines) + 2] == [f"Failed to load {name}" for name in [*lines, *tail]]


def test_new_releases_tell_each_layer_of_virtio_apart() -> None:
    data = saved(guest("-S", release="11.1"))
    at = data.index(_ROWS.encode()) + len(_ROWS) + 4 + 20
    said = refused(data[:at], "11.1")
    row = "Failed to load virtio_pci/modern_queue_state state: stream error: -5"
    extra = "Failed to load element of type virtqueue_extra_state for extra_state"
    assert said[:2] == [
        f"Loading VM subsection '{_ROWS}' in 'virtio_pci' failed: {row}",
        f"Loading VM subsection 'virtio/extra_state' in 'virtio' failed: {extra}",
    ]
    assert said[2].endswith(": Failed to load element of type virtio for virtio")


def test_packed_queues_have_ten_bytes_each() -> None:
    """Seen with 7.2 and 11.1, both ways: two were too many, and QEMU missed the section's footer."""
    packed = ("-device", "virtio-balloon-pci,packed=on")
    data = saved(guest("-S", *packed))
    name = b"virtio/packed_virtqueues"
    at = data.index(name) + len(name) + 4
    assert data[at + 10 * 1024 :][:1] in (b"\x05", b"\x7e")
    assert loaded(guest("-incoming", "defer", *packed), data) == (0, [])


@pytest.mark.parametrize("board", ["q35", "i440fx"])
def test_slots_for_memory_are_in_the_stream(board: str) -> None:
    """Ten bytes each, seen with 7.2 both ways; another number of them reads what follows as something else."""

    def made(*more: str) -> Any:
        return make("7.2", "-M", f"pc-{board}-7.2", "-nodefaults", *more)

    two, none = saved(made("-S", "-m", "4,slots=2,maxmem=64M")), saved(made("-S", "-m", "4"))
    assert len(two) >= len(none) + 20
    assert loaded(made("-m", "4,slots=2,maxmem=64M", "-incoming", "defer"), two)[0] == 0
    assert loaded(made("-m", "4", "-incoming", "defer"), two)[0] == 1
