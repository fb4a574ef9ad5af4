# SPDX-License-Identifier: Apache-2.0
"""Hooks, conditions and life-times of the devices: what no section of an idle guest shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sections import machine, real_sections, take

from migmatrix.emulator.devices.cpu import X86Cpu
from migmatrix.emulator.errors import DeviceError
from migmatrix.emulator.options.records import DeviceOption
from migmatrix.vmstate.device.errors import Kind
from migmatrix.vmstate.device.interpret import BytesSource, VMStateError

if TYPE_CHECKING:
    from migmatrix.emulator.machine import Machine


def _move(source: Machine, destination: Machine, idstr: str, instance: int = 0) -> Any:
    """Save a section on one machine, load it on another, return the state there."""
    saved = source.registry.find(idstr, instance)
    entry = destination.registry.find(idstr, instance)
    entry.load(BytesSource(saved.save().data), saved.version_id)
    return entry.state


def _subsections(of: Machine, idstr: str) -> list[str]:
    saved = of.registry.find(idstr, 0).save().desc
    inner = saved["fields"][0].get("struct", saved)
    return [sub["vmsd_name"] for sub in inner.get("subsections", [])]


def test_keyboard_of_an_old_release_tells_new_ones_where_its_byte_comes_from() -> None:
    old, new = machine("6.0"), machine("6.1")
    kbd = old.registry.find("pckbd", 0).state.kbd
    kbd.status |= 0x21  # a byte of the mouse is ready
    loaded = _move(old, new, "pckbd").kbd
    assert (loaded.obsrc, loaded.extended_state_loaded) == (2, False)
    assert _move(machine("6.1"), machine("6.1"), "pckbd").kbd.extended_state_loaded


def test_keyboard_without_extended_state_sends_what_old_releases_read() -> None:
    plain = machine("7.2", globals=(("i8042", "extended-state", "off"),))
    plain.registry.find("pckbd", 0).state.kbd.pending = 0x10 | 0x04  # of the keyboard, of the controller
    assert _subsections(plain, "pckbd") == []
    assert _move(plain, machine("5.2"), "pckbd").kbd.pending == 0x10
    with pytest.raises(VMStateError) as refused:
        _move(machine("7.2"), machine("5.2"), "pckbd")
    assert refused.value.kind is Kind.UNKNOWN_SUBSECTION


def test_a_guest_that_moved_the_a20_line_sends_the_output_port() -> None:
    guest = machine("7.2")
    guest.registry.find("pckbd", 0).state.kbd.outport &= ~0x02
    assert _subsections(guest, "pckbd") == ["pckbd_outport", "pckbd/extended_state"]
    assert not _move(guest, machine("7.2"), "pckbd").kbd.outport & 0x02


def test_pio_state_is_sent_in_the_middle_of_a_transfer_only() -> None:
    guest = machine("10.0")
    drive = guest.registry.find("isa-ide", 1).state.bus.ifs[0]
    assert len(guest.registry.find("isa-ide", 1).save().data) == 58
    drive.status |= 0x08
    drive.cur_io_buffer_len = 512
    drive.io_buffer[:4] = [1, 2, 3, 4]
    loaded = _move(guest, machine("10.0"), "isa-ide", 1).bus.ifs[0]
    assert (list(loaded.io_buffer[:4]), loaded.cur_io_buffer_len) == ([1, 2, 3, 4], 512)
    drive.cur_io_buffer_offset = 1 << 20
    with pytest.raises(VMStateError, match="outside of the buffer"):
        _move(guest, machine("10.0"), "isa-ide", 1)


def test_two_ide_channels_of_old_releases_load_into_the_first() -> None:
    """Both say instance 0 until 8.2, so real QEMU's second channel overwrites the first too."""
    assert [e.instance_id for e in machine("8.1").registry if e.idstr == "isa-ide"] == [0, 0]
    assert [e.instance_id for e in machine("8.2").registry if e.idstr == "isa-ide"] == [0, 1]


def test_serial_refuses_a_transmitter_that_is_empty_and_busy() -> None:
    guest = machine("7.2")
    guest.registry.find("serial", 0).state.state.lsr = 0
    with pytest.raises(VMStateError, match="inconsistent state in serial device"):
        _move(guest, machine("7.2"), "serial")


def test_serial_sends_what_it_received_and_the_guest_did_not_read() -> None:
    guest = machine("7.2")
    fifo = guest.registry.find("serial", 0).state.state.recv_fifo
    fifo.data, fifo.num = b"hello".ljust(16, b"\0"), 5
    assert _subsections(guest, "serial") == ["serial/recv_fifo"]
    assert _move(guest, machine("11.1"), "serial").state.recv_fifo.data[:5] == b"hello"


def test_floppy_controller_checks_the_number_of_drives() -> None:
    guest = machine("7.2")
    guest.registry.find("fdc", 0).state.state.num_floppies = 1
    with pytest.raises(VMStateError) as refused:
        _move(guest, machine("7.2"), "fdc")
    assert (refused.value.kind, refused.value.facts["incoming"]) == (Kind.EQUAL, 1)


def test_scan_codes_of_a_hostile_stream_stay_inside_the_queue() -> None:
    guest = machine("7.2")
    queue = guest.registry.find("ps2kbd", 0).state.common.queue
    queue.rptr, queue.count = 1000, 1000
    loaded = _move(guest, machine("7.2"), "ps2kbd").common.queue
    assert (loaded.rptr, loaded.count, loaded.wptr) == (1000 % 256, 16, (1000 + 16) % 256)


@pytest.mark.parametrize(("release", "accepted"), [("7.2", True), ("10.0", False)])
def test_hpet_with_another_number_of_timers(release: str, accepted: bool) -> None:
    more, usual = machine(release), machine(release)
    more.create("hpet", [("timers", "4")])
    usual.create("hpet")
    if accepted:
        assert _move(more, usual, "hpet").num_timers == 4
    else:
        with pytest.raises(VMStateError) as refused:
            _move(more, usual, "hpet")
        assert refused.value.kind is Kind.VALIDATE


def test_hpet_counter_goes_on_where_it_was() -> None:
    source, destination = machine("10.0"), machine("10.0")
    state = source.create("hpet").state  # type: ignore[attr-defined]  # a `StatefulDevice`
    destination.create("hpet")
    state.config = 1
    source.clock.set(5_000)
    loaded = _move(source, destination, "hpet")
    assert (loaded.hpet_counter, loaded.hpet_offset) == (500, 0)  # the subsection brought the offset


def test_virtual_time_travels() -> None:
    source, destination = machine("5.2", "none"), machine("5.2", "none")
    source.clock.set(123_456_789)
    _move(source, destination, "timer")
    assert destination.clock.now() == 123_456_789


def test_slirp_refuses_sockets_that_it_cannot_forward() -> None:
    entry = machine("7.2").registry.find("slirp", 0)
    with pytest.raises(VMStateError, match="no forwarded sockets"):
        entry.load(BytesSource(b"\x2a" + bytes(200)), 4)


def test_slirp_of_an_older_version_has_no_clients() -> None:
    state = machine("7.2").registry.find("slirp", 0)
    state.load(BytesSource(b"\0\0\x07"), 2)
    assert state.state.ip_id == 7


def _pairs(flags: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (flag.partition("=") for flag in flags.split(",")) if name]


def _cpu(options: str) -> Machine:
    guest = machine("8.2", "none")
    name, _, flags = options.partition(",")
    guest.create(f"{name}-x86_64-cpu", _pairs(flags))
    return guest


@pytest.mark.parametrize(
    ("source", "destination", "refused"),
    [
        ("host,x-host-features=pcid+stibp", "host,x-host-features=taa-no", "pcid"),
        ("host,x-host-features=taa-no", "host,x-host-features=pcid+stibp", ""),
        ("host,x-host-features=pcid+stibp,pcid=off,stibp=off", "host,x-host-features=taa-no,taa-no=off", ""),
        ("host,x-host-features=pcid+stibp,pcid=off", "host,x-host-features=taa-no", "stibp"),
        ("host,x-host-features=pcid+stibp", "qemu64", ""),  # TCG holds any state
    ],
)
def test_a_host_refuses_what_it_has_not(source: str, destination: str, refused: str) -> None:
    if not refused:
        _move(_cpu(source), _cpu(destination), "cpu")
        return
    with pytest.raises(VMStateError, match=f"guest uses {refused}"):
        _move(_cpu(source), _cpu(destination), "cpu")


def test_processors_are_counted_and_only_the_first_runs() -> None:
    guest = machine("8.2", "none")
    for _ in range(3):
        guest.create("qemu64-x86_64-cpu")
    cpus = [device for device in guest.devices if isinstance(device, X86Cpu)]
    assert [cpu.common.halted for cpu in cpus] == [0, 1, 1]
    assert [e.instance_id for e in guest.registry if e.idstr == "apic"] == [0, 1, 2]


@pytest.mark.parametrize(("release", "first"), [("10.0", "timer"), ("11.1", "apic")])
def test_interrupt_controller_goes_first_once_it_has_priority(release: str, first: str) -> None:
    guest = machine(release, "none")
    guest.create("qemu64-x86_64-cpu")
    assert next(iter(guest.registry.to_send())).idstr == first


def test_a_register_that_an_old_release_does_not_know_cannot_go_back() -> None:
    new = machine("6.0")
    new.registry.find("cpu", 0).state.env.pkrs = 1
    with pytest.raises(VMStateError) as refused:
        _move(new, machine("5.2"), "cpu")
    assert refused.value.facts["name"] == "cpu/pkrs"


def _with(release: str, driver: str, *props: tuple[str, str]) -> Machine:
    guest = machine(release, "none")
    guest.add(DeviceOption(driver, props=props))
    return guest


def test_example_with_a_versioned_field_goes_forward_only() -> None:
    old = _with("6.2", "example-versioned", ("counter", "9"))
    new = _with("7.0", "example-versioned", ("counter", "1"), ("ip-id", "5"))
    state = _move(old, new, "example-versioned")
    assert (state.counter, state.ip_id) == (9, 5)
    with pytest.raises(VMStateError) as refused:
        _move(new, old, "example-versioned")
    assert refused.value.kind is Kind.SECTION_TOO_NEW
    with pytest.raises(DeviceError, match="not found"):
        _with("6.2", "example-versioned", ("ip-id", "5"))


def test_example_of_the_legacy_way_reads_its_older_version() -> None:
    guest = _with("8.0", "example-legacy", ("level", "7"))
    entry = guest.registry.find("example-legacy", 0)
    assert entry.save().data == bytes([0, 0, 0, 7, 0, 0, 0, 100])
    entry.load(BytesSource(b"\0\0\0\x03"), 1)
    assert (entry.state.level, entry.state.limit) == (3, 3)


def test_example_that_blocks_migration() -> None:
    assert [e.idstr for e in _with("8.0", "example-unmigratable").registry.blockers()] == [
        "example-unmigratable"
    ]


def test_example_that_blocks_migration_does_not_start_with_only_migratable() -> None:
    guest = machine("8.0", "none", only_migratable=True)
    with pytest.raises(
        DeviceError,
        match="Device example-unmigratable is not migratable, but --only-migratable was specified",
    ):
        guest.add(DeviceOption("example-unmigratable"))
    assert guest.registry.blockers() == []


def test_stream_of_5_2_goes_into_11_1_section_by_section() -> None:
    """No machine type guards `isapc`, and yet nothing that 5.2 sends is refused by 11.1."""
    registry = machine("11.1").registry
    for section in real_sections("paused", "5.2.0"):
        take(registry.find(*section.key), section, "11.1")
