# SPDX-License-Identifier: Apache-2.0
"""State of ISA and system devices: after reset, on the way through subsections, and what a load refuses or puts right.

Paths are attributes of a section's state, ``state.recv_fifo.num``; a number in a path is an element. Names of subsections
and fields are QEMU's (`hw/char/serial.c`, `hw/block/fdc.c`, `hw/ide/core.c`, `hw/input/ps2.c`, ...).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from sections import machine

from migmatrix.vmstate.device.errors import Kind, VMStateError
from migmatrix.vmstate.device.source import BytesSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.emulator.machine import Machine

Place = tuple[str, int]  # section and instance


def get(state: Any, path: str) -> Any:
    """The value at a path."""
    for step in path.split("."):
        state = state[int(step)] if step.isdigit() else getattr(state, step)
    return state


def put(state: Any, path: str, value: Any) -> None:
    """Set the value at a path."""
    outer, _, name = path.rpartition(".")
    target = get(state, outer) if outer else state
    if name.isdigit():
        target[int(name)] = value
    else:
        setattr(target, name, value)


def changed(release: str, place: Place, changes: dict[str, Any], board: str = "isapc") -> Machine:
    """A machine with these values in a section's state."""
    made = machine(release, board)
    state = made.registry.find(*place).state
    for path, value in changes.items():
        put(state, path, value)
    return made


def move(source: Machine, destination: Machine, place: Place) -> Any:
    """Save a section, load it on the other side to the last byte; the state there."""
    saved = source.registry.find(*place)
    entry = destination.registry.find(*place)
    incoming = BytesSource(saved.save().data)
    entry.load(incoming, saved.version_id)
    assert not incoming.left
    return entry.state


def subsections(made: Machine, place: Place) -> list[str]:
    """Names of all subsections that are sent, at whatever depth, in the order of the description of the stream."""
    return [*_named(made.registry.find(*place).save().desc)]


def _named(described: dict[str, Any]) -> Iterator[str]:
    for field in described.get("fields", ()):
        if "struct" in field:
            yield from _named(field["struct"])
    for sub in described.get("subsections", ()):
        yield sub["vmsd_name"]
        yield from _named(sub)


# -- reset -------------------------------------------------------------------------------------------

RESET: Final[list[tuple[str, Place, dict[str, Any]]]] = [
    # square waves of full length on all channels; only the speaker's has its gate closed
    ("7.2", ("i8254", 0), {"channels.0.mode": 3, "channels.1.mode": 3, "channels.2.mode": 3, "channels.0.gate": 1,
                           "channels.1.gate": 1, "channels.2.gate": 0, "channels.0.count": 65536, "irq_disabled": 0,
                           "channels.0.count_latched": 0, "channels.0.bcd": 0}),
    ("7.2", ("i8259", 0), {"imr": 0, "isr": 0, "irr": 0, "irq_base": 0, "init_state": 0, "auto_eoi": 0}),
    ("7.2", ("dma", 0), {"command": 0, "mask": 0xFF, "flip_flop": 0, "dshift": 0, "regs.3.mode": 0}),
    ("7.2", ("dma", 1), {"mask": 0xFF, "dshift": 1}),
    # 9600 baud, transmitter empty, the other end present
    ("7.2", ("serial", 0), {"state.divider": 12, "state.ier": 0, "state.iir": 1, "state.lcr": 0, "state.mcr": 8,
                            "state.lsr": 0x60, "state.msr": 0xB0, "state.scr": 0, "state.fcr": 0, "state.poll_msl": -1}),
    ("7.2", ("parallel_isa", 0), {"state.dataw": 0xFF, "state.datar": 0xFF, "state.status": 0xD9,
                                  "state.control": 0xCC, "state.epp_timeout": 0}),
    ("7.2", ("fdc", 0), {"state.sra": 0x40, "state.srb": 0xC0, "state.dor": 0x0C, "state.msr": 0x80, "state.cur_drv": 0,
                         "state.config": 0x60, "state.num_floppies": 2, "state.phase": 1}),
    ("7.2", ("ps2kbd", 0), {"scan_enabled": 1, "scancode_set": 2, "translate": 0, "common.write_cmd": -1,
                            "common.queue.count": 0, "common.queue.cwptr": -1, "ledstate": 0}),
    ("7.2", ("ps2mouse", 0), {"mouse_status": 0, "mouse_type": 0, "mouse_buttons": 0, "common.write_cmd": -1}),
    ("7.2", ("pckbd", 0), {"kbd.status": 0x18, "kbd.mode": 3, "kbd.write_cmd": 0, "kbd.outport": 0xCF, "kbd.pending": 0}),
    ("7.2", ("port92", 0), {"outport": 0}),
    ("7.2", ("vmmouse", 0), {"queue_size": 1024, "nb_queue": 0, "status": 0xFFFF, "absolute": 0}),
    ("7.2", ("isa-ide", 0), {"bus.ifs.0.select": 0xA0, "bus.ifs.0.status": 0x50, "bus.ifs.0.nsector": 1,
                             "bus.ifs.1.lcyl": 0xFF, "bus.ifs.1.hcyl": 0xFF, "bus.cmd": 0, "bus.unit": 0}),
    ("7.2", ("mc146818rtc", 0), {"cmos_index": 0, "irq_coalesced": 0, "period": 0, "cmos_data.10": 0x26,
                                 "cmos_data.11": 0x02, "cmos_data.13": 0x80}),
]  # fmt: skip


@pytest.mark.parametrize(("release", "place", "values"), RESET, ids=[f"{p[0]}-{p[1]}" for _, p, _ in RESET])
def test_state_after_reset(release: str, place: Place, values: dict[str, Any]) -> None:
    state = machine(release).registry.find(*place).state
    assert {path: get(state, path) for path in values} == values


@pytest.mark.parametrize(
    "place", [place for _, place, _ in RESET if place[0] not in {"mc146818rtc", "vmmouse"}]
)
def test_reset_undoes_what_was_written(place: Place) -> None:
    """But for the clock, whose battery keeps it."""
    made = machine("7.2")
    entry = made.registry.find(*place)
    fresh = entry.save().data
    values = next(values for _, other, values in RESET if other == place)
    for path in values:
        if path not in {"state.num_floppies", "state.poll_msl", "state.phase", "dshift"}:
            put(entry.state, path, 1)
    made.reset()
    assert made.registry.find(*place).save().data == fresh


@pytest.mark.parametrize("release", ["5.2", "7.2", "10.0", "11.1"])
def test_an_idle_machine_sends_no_subsections_of_its_chips(release: str) -> None:
    """Subsections are for what a guest did. The drives' media rate and the extended keyboard are sent always."""
    made = machine(release)
    found = {name for _, place, _ in RESET for name in subsections(made, place)}
    assert found == {"fdrive/media_rate"} | ({"pckbd/extended_state"} if release != "5.2" else set())


# -- subsections -------------------------------------------------------------------------------------

SENT: Final[list[tuple[Place, dict[str, Any], list[str]]]] = [
    (("serial", 0), {"state.thr_ipending": 1}, []),  # a load without it does not look at it either
    (("serial", 0), {"state.ier": 2, "state.thr_ipending": 1}, ["serial/thr_ipending"]),
    (("serial", 0), {"state.ier": 2, "state.iir": 2, "state.thr_ipending": 1}, []),  # follows from the registers
    (("serial", 0), {"state.ier": 2, "state.iir": 2, "state.thr_ipending": 0}, ["serial/thr_ipending"]),
    (("serial", 0), {"state.tsr_retry": 1, "state.lsr": 0, "state.thr": 65, "state.tsr": 66}, ["serial/tsr"]),
    (("serial", 0), {"state.recv_fifo.num": 3, "state.recv_fifo.head": 2}, ["serial/recv_fifo"]),
    (("serial", 0), {"state.xmit_fifo.num": 16}, ["serial/xmit_fifo"]),
    (("serial", 0), {"state.fifo_timeout_timer": 123_456}, ["serial/fifo_timeout_timer"]),
    (("serial", 0), {"state.timeout_ipending": 1}, ["serial/timeout_ipending"]),
    (("serial", 0), {"state.poll_msl": 0, "state.modem_status_poll": 77}, ["serial/poll"]),
    (("serial", 0), {"state.poll_msl": 1}, ["serial/poll"]),
    (("serial", 0), {"state.recv_fifo.num": 1, "state.xmit_fifo.num": 1, "state.timeout_ipending": 1},
     ["serial/recv_fifo", "serial/xmit_fifo", "serial/timeout_ipending"]),
    (("fdc", 0), {"state.reset_sensei": 4}, ["fdrive/media_rate", "fdc/reset_sensei"]),
    (("fdc", 0), {"state.result_timer": 50_000_000}, ["fdrive/media_rate", "fdc/result_timer"]),
    (("fdc", 0), {"state.phase": 3}, ["fdrive/media_rate", "fdc/phase"]),
    (("fdc", 0), {"state.msr": 0xC0, "state.phase": 3}, ["fdrive/media_rate"]),  # data for the host: the result
    (("fdc", 0), {"state.msr": 0x00, "state.phase": 2}, ["fdrive/media_rate"]),
    (("fdc", 0), {"state.msr": 0xA0, "state.phase": 2}, ["fdrive/media_rate"]),  # without DMA: executing
    (("fdc", 0), {"state.msr": 0xA0, "state.phase": 1}, ["fdrive/media_rate", "fdc/phase"]),
    (("fdc", 0), {"state.drives.0.perpendicular": 1}, ["fdrive/media_rate", "fdrive/perpendicular"]),
    (("fdc", 0), {"state.drives.1.perpendicular": 1}, ["fdrive/media_rate", "fdrive/perpendicular"]),
    (("isa-ide", 0), {"bus.error_status": 0x10}, ["ide_bus/error"]),
    (("isa-ide", 0), {"bus.ifs.0.tray_open": True}, ["ide_drive/tray_state"]),
    (("isa-ide", 0), {"bus.ifs.1.tray_locked": True}, ["ide_drive/tray_state"]),
    (("isa-ide", 0), {"bus.ifs.0.status": 0x58, "bus.ifs.0.cur_io_buffer_len": 512}, ["ide_drive/pio_state"]),
    (("ps2kbd", 0), {"ledstate": 5}, ["ps2kbd/ledstate"]),
    (("ps2kbd", 0), {"need_high_bit": True}, ["ps2kbd/need_high_bit"]),
    (("ps2kbd", 0), {"common.queue.count": 3, "common.queue.wptr": 3, "common.queue.cwptr": 2},
     ["ps2kbd/command_reply_queue"]),
    (("i8259", 0), {"ltim": 1}, ["i8259/ltim"]),
    (("mc146818rtc", 0), {"irq_reinject_on_ack_count": 7}, ["mc146818rtc/irq_reinject_on_ack_count"]),
    (("pckbd", 0), {"kbd.outport": 0xCD}, ["pckbd_outport", "pckbd/extended_state"]),
    (("cpu_common", 0), {"exception_index": 14}, ["cpu_common/exception_index"]),
    (("cpu_common", 0), {"crash_occurred": True}, ["cpu_common/crash_occurred"]),
]  # fmt: skip


def _idents() -> list[str]:
    return [f"{place[0]}-{'-'.join(path.rpartition('.')[2] for path in values)}" for place, values, _ in SENT]


@pytest.mark.parametrize(("place", "changes", "names"), SENT, ids=_idents())
def test_a_subsection_is_sent_when_it_is_needed(
    place: Place, changes: dict[str, Any], names: list[str]
) -> None:
    found = subsections(changed("10.0", place, changes), place)
    # one of each drive, and two drives: QEMU describes an array's first element and those that differ
    assert list(dict.fromkeys(found)) == names


@pytest.mark.parametrize(("place", "changes", "names"), SENT, ids=_idents())
def test_what_is_sent_arrives(place: Place, changes: dict[str, Any], names: list[str]) -> None:
    """And is sent on as it came; what is not sent is derived on the other side."""
    source = changed("10.0", place, changes)
    destination = changed("10.0", place, dict.fromkeys(changes, 0) if place[0] == "i8259" else {})
    state = move(source, destination, place)
    lost = {"state.thr_ipending"} if place[0] == "serial" and not names else set()
    assert {path: get(state, path) for path in changes if path not in lost} == {
        path: value for path, value in changes.items() if path not in lost
    }
    assert destination.registry.find(*place).save().data == source.registry.find(*place).save().data


@pytest.mark.parametrize(
    ("place", "changes", "since", "old"),
    [
        (("i8259", 0), {"ltim": 1}, "8.0", "7.2"),
        (
            ("ps2kbd", 0),
            {"common.queue.count": 3, "common.queue.wptr": 3, "common.queue.cwptr": 2},
            "7.0",
            "6.2",
        ),
        (("pckbd", 0), {}, "6.1", "6.0"),
        (("cpu", 0), {"env.pkrs": 3}, "6.0", "5.2"),
        (("cpu", 0), {"env.int_ctl": 3}, "6.2", "6.1"),
        (("cpu", 0), {"env.msr_xfd": 3}, "7.0", "6.2"),
        (("cpu", 0), {"env.msr_hwcr": 3}, "9.2", "9.1"),
        (("cpu", 0), {"env.triple_fault_pending": 1}, "7.2", "7.1"),
    ],
)
def test_a_new_subsection_does_not_go_back(
    place: Place, changes: dict[str, Any], since: str, old: str
) -> None:
    """It is refused by name, where the old release reads it at all; the old release never sends it."""
    with pytest.raises(VMStateError) as refused:
        move(changed(since, place, changes), machine(old), place)
    assert refused.value.kind is Kind.UNKNOWN_SUBSECTION
    move(changed(old, place, {}), machine(since), place)


# -- what a load derives, puts right and refuses ------------------------------------------------------


@pytest.mark.parametrize(("iir", "pending"), [(0x02, 1), (0x01, 0), (0xC2, 1), (0x06, 0)])
def test_a_pending_transmit_interrupt_is_derived(iir: int, pending: int) -> None:
    state = move(changed("10.0", ("serial", 0), {"state.iir": iir}), machine("10.0"), ("serial", 0))
    assert state.state.thr_ipending == pending


@pytest.mark.parametrize(("retry", "kept"), [(1, 1), (4, 4), (5, 4), (0xFFFFFFFF, 4)])
def test_a_byte_is_not_sent_again_for_ever(retry: int, kept: int) -> None:
    source = changed("10.0", ("serial", 0), {"state.lsr": 0, "state.tsr_retry": retry})
    assert move(source, machine("10.0"), ("serial", 0)).state.tsr_retry == kept


@pytest.mark.parametrize(
    ("lsr", "retry", "message"),
    [
        (0x60, 1, r"inconsistent state in serial device \(tsr empty, tsr_retry=1"),
        (0x60, 4, r"inconsistent state in serial device \(tsr empty, tsr_retry=4"),
        (0x20, 0, r"inconsistent state in serial device \(tsr not empty, tsr_retry=0"),
    ],
)
def test_a_transmitter_that_contradicts_itself_is_refused(lsr: int, retry: int, message: str) -> None:
    source = changed("10.0", ("serial", 0), {"state.lsr": lsr, "state.tsr_retry": retry})
    with pytest.raises(VMStateError, match=message):
        move(source, machine("10.0"), ("serial", 0))


@pytest.mark.parametrize("drive", [0, 1, 2, 3])
def test_the_selected_floppy_drive_is_a_part_of_its_register(drive: int) -> None:
    source = changed("10.0", ("fdc", 0), {"state.cur_drv": drive, "state.dor": 0x0C})
    state = move(source, machine("10.0"), ("fdc", 0)).state
    assert (state.cur_drv, state.dor, state.dor_vmstate) == (drive, 0x0C, 0x0C | drive)


@pytest.mark.parametrize(
    ("msr", "phase"),
    [(0x80, 1), (0xC0, 3), (0x90, 1), (0xD0, 3), (0x00, 2), (0x10, 2), (0x20, 2), (0xA0, 2), (0xE0, 2)],
)
def test_a_floppy_phase_is_derived(msr: int, phase: int) -> None:
    source = changed("10.0", ("fdc", 0), {"state.msr": msr, "state.phase": phase})
    assert "fdc/phase" not in subsections(source, ("fdc", 0))
    assert move(source, machine("10.0"), ("fdc", 0)).state.phase == phase


@pytest.mark.parametrize(
    ("place", "changes", "kind"),
    [
        (("fdc", 0), {"state.num_floppies": 0}, Kind.EQUAL),
        (("fdc", 0), {"state.num_floppies": 255}, Kind.EQUAL),
        (("vmmouse", 0), {"queue_size": 0}, Kind.EQUAL),
        (("vmmouse", 0), {"queue_size": -1}, Kind.EQUAL),
        (("vmmouse", 0), {"queue_size": 1025}, Kind.EQUAL),
    ],
)
def test_a_number_that_must_be_equal(place: Place, changes: dict[str, Any], kind: Kind) -> None:
    with pytest.raises(VMStateError) as refused:
        move(changed("10.0", place, changes), machine("10.0"), place)
    assert refused.value.kind is kind
    assert refused.value.facts["incoming"] == next(iter(changes.values()))


@pytest.mark.parametrize(
    ("offset", "length", "function", "fits"),
    [
        (0, 512, 0, True), (0, 131076, 5, True), (131076, 0, 1, True), (131076, 1, 1, False), (0, 131077, 1, False),
        (-1, 4, 1, False), (8, -9, 1, False), (0, 512, 6, False), (0, 512, 255, False), (2**31 - 1, 0, 0, False),
    ],
)  # fmt: skip
def test_a_transfer_stays_in_its_buffer(offset: int, length: int, function: int, fits: bool) -> None:
    """256 sectors and four bytes; six functions may end a transfer."""
    drive = {
        "status": 0x58,
        "cur_io_buffer_offset": offset,
        "cur_io_buffer_len": length,
        "end_transfer_fn_idx": function,
    }
    source = changed("10.0", ("isa-ide", 0), {f"bus.ifs.0.{name}": value for name, value in drive.items()})
    if fits:
        assert move(source, machine("10.0"), ("isa-ide", 0)).bus.ifs[0].cur_io_buffer_offset == offset
        return
    with pytest.raises(VMStateError, match="outside of the buffer"):
        move(source, machine("10.0"), ("isa-ide", 0))


@pytest.mark.parametrize(
    ("rptr", "count", "cwptr", "found"),
    [
        (0, 0, -1, (0, 0, 0, -1)),
        (250, 10, -1, (250, 10, 4, -1)),  # the queue is a ring of 256 bytes
        (0, 17, -1, (0, 16, 16, -1)),  # a guest is shown 16 at most
        (-1, 3, -1, (255, 3, 2, -1)),
        (0, -5, -1, (0, 0, 0, -1)),
        (0, 4, 2, (0, 4, 4, 2)),  # two of them are replies to a command
        (10, 30, 18, (10, 24, 34, 18)),  # eight replies, then 16 codes
        (10, 0, 18, (10, 8, 18, 18)),
        (0, 0, 200, (0, 8, 8, 8)),
    ],
)
def test_queues_of_scan_codes_stay_in_bounds(
    rptr: int, count: int, cwptr: int, found: tuple[int, ...]
) -> None:
    values = {"rptr": rptr, "count": count, "cwptr": cwptr}
    source = changed("10.0", ("ps2kbd", 0), {f"common.queue.{name}": value for name, value in values.items()})
    queue = move(source, machine("10.0"), ("ps2kbd", 0)).common.queue
    assert (queue.rptr, queue.count, queue.wptr, queue.cwptr) == found


@pytest.mark.parametrize("edge", [0, 27_462, 2**40])
def test_the_first_edge_of_the_system_timer_travels_behind_its_channels(edge: int) -> None:
    source = changed(
        "10.0", ("i8254", 0), {"channels.0.next_transition_time": edge, "channels.1.next_transition_time": 5}
    )
    state = move(source, machine("10.0"), ("i8254", 0))
    assert [c.next_transition_time for c in state.channels] == [edge, 5, 0]
    assert int.from_bytes(source.registry.find("i8254", 0).save().data[-8:], "big") == edge


@pytest.mark.parametrize(("status", "outport"), [(0x18, 0xCF), (0x19, 0xDF), (0x39, 0xEF), (0x38, 0xCF)])
def test_the_output_port_of_the_keyboard_follows_its_status(status: int, outport: int) -> None:
    """Bits 4 and 5 say whose byte waits; only a guest's own write to the port is sent."""
    source = changed("10.0", ("pckbd", 0), {"kbd.status": status, "kbd.outport": outport})
    assert "pckbd_outport" not in subsections(source, ("pckbd", 0))
    assert move(source, machine("10.0"), ("pckbd", 0)).kbd.outport == outport
