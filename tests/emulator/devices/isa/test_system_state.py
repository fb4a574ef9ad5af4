# SPDX-License-Identifier: Apache-2.0
"""Timers, interrupt controllers and power management of the PC boards: reset, subsections, and what a load checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from real_devices import small_machine

from migmatrix.vmstate.device.errors import Kind, VMStateError
from migmatrix.vmstate.device.source import BytesSource

if TYPE_CHECKING:
    from migmatrix.emulator.machine import Machine


def board(name: str = "10.0", kind: str = "pc-q35", *words: str) -> Machine:
    """A board of a release with four processors."""
    return small_machine(name, f"{kind}-{name}", "-smp", "4", *words)


def entry(made: Machine, name: str, instance: int = 0) -> Any:
    """A section's entry, by the end of its name."""
    return [e for e in made.registry if e.idstr == name or e.idstr.endswith(f"/{name}")][instance]


def move(source: Machine, destination: Machine, name: str) -> Any:
    """Save on one side and load on the other to the last byte; the state there."""
    incoming = BytesSource(entry(source, name).save().data)
    entry(destination, name).load(incoming, entry(source, name).version_id)
    assert not incoming.left
    return entry(destination, name).state


def subsections(made: Machine, name: str) -> list[str]:
    """Names of those that a section sends."""
    return [sub["vmsd_name"] for sub in entry(made, name).save().desc.get("subsections", ())]


# -- HPET ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "found"), [("0", 3), ("3", 3), ("4", 4), ("32", 32), ("33", 32), ("255", 32)]
)
def test_comparators_are_three_to_32(given: str, found: int) -> None:
    """Numbered, able to repeat and to count in 64 bits, and never due; a stream may bring as many as 32."""
    state = entry(board("10.0", "pc-q35", "-global", f"hpet.timers={given}"), "hpet").state
    assert (state.num_timers, len(state.timer)) == (found, 32)
    there = state.timer[:found]
    assert [each.tn for each in there] == [*range(found)]
    assert {(each.config & 0x30, each.cmp) for each in there} == {(0x30, 2**64 - 1)}


@pytest.mark.parametrize("count", [0, 2, 33, 255])
@pytest.mark.parametrize("name", ["7.2", "10.0"])
def test_a_number_of_comparators_that_cannot_be(name: str, count: int) -> None:
    """Out of range until 9.2, unlike this side's since."""
    made = board(name)
    data = bytearray(entry(made, "hpet").save().data)
    data[24] = count  # behind three registers of eight bytes
    with pytest.raises(VMStateError) as refused:
        entry(made, "hpet").load(BytesSource(bytes(data)), 2)
    assert refused.value.kind is Kind.VALIDATE
    assert ("in range" if name == "7.2" else "must match") in str(refused.value)


@pytest.mark.parametrize(
    ("config", "level", "saved", "names"),
    [
        (0, 0, True, []), (1, 0, True, ["hpet/offset"]), (1, 0, False, []), (0, 1, True, ["hpet/rtc_irq_level"]),
        (1, 1, True, ["hpet/rtc_irq_level", "hpet/offset"]), (2, 0, True, []),
    ],
)  # fmt: skip
def test_subsections_of_the_hpet(config: int, level: int, saved: bool, names: list[str]) -> None:
    """The offset while it counts, unless a machine type is from before that was sent."""
    made = board("10.0", "pc-q35", "-global", f"hpet.hpet-offset-saved={'on' if saved else 'off'}")
    state = entry(made, "hpet").state
    state.config, state.rtc_irq_level = config, level
    assert subsections(made, "hpet") == names


@pytest.mark.parametrize(("now", "offset"), [(0, 0), (5_000, 0), (5_000, 70), (10**12, 10**9)])
def test_the_counter_counts_in_tens_of_nanoseconds(now: int, offset: int) -> None:
    source, destination = board(), board()
    state = entry(source, "hpet").state
    state.config, state.hpet_offset = 1, offset
    source.clock.set(now)
    loaded = move(source, destination, "hpet")
    assert (loaded.hpet_counter, loaded.hpet_offset) == ((now + offset) // 10, offset)


# -- APICs --------------------------------------------------------------------------------------------

MASKED: Final = 1 << 16


def test_every_pin_of_the_ioapic_is_masked() -> None:
    state = entry(board(), "ioapic").state
    assert (state.ioredtbl, state.irr, state.id, state.ioregsel) == ([MASKED] * 24, 0, 0, 0)


@pytest.mark.parametrize("pin", [0, 2, 23])
@pytest.mark.parametrize("value", [0, MASKED, 0x0100_0000_0000_8931, 2**64 - 1])
def test_a_route_of_the_ioapic_travels(pin: int, value: int) -> None:
    source = board()
    entry(source, "ioapic").state.ioredtbl[pin] = value
    table = move(source, board(), "ioapic").ioredtbl
    assert table == [value if number == pin else MASKED for number in range(24)]


@pytest.mark.parametrize("number", range(4))
def test_local_apics_after_reset(number: int) -> None:
    """Enabled at the usual place; the first is the boot processor's, the others wait for its message."""
    made = board()
    state = entry(made, "apic", number).state
    assert (state.id, state.apicbase) == (number, 0xFEE00800 | (0 if number else 0x100))
    assert (state.lvt, state.spurious_vec, state.timer_expiry) == ([MASKED] * 6, 0xFF, -1)
    waits = [sub["vmsd_name"] for sub in entry(made, "apic", number).save().desc.get("subsections", ())]
    assert waits == (["apic_sipi"] if number else [])


def test_a_started_processor_does_not_wait() -> None:
    """A stream without the subsection says that it was started, whatever this side thought."""
    source, destination = board(), board()
    entry(source, "apic", 1).state.wait_for_sipi = 0
    saved = entry(source, "apic", 1).save().data
    entry(destination, "apic", 1).load(BytesSource(saved), 3)
    assert entry(destination, "apic", 1).state.wait_for_sipi == 0


# -- power management, SMBus --------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), [("pc-q35", "ich9_smb"), ("pc-i440fx", "piix4_pm")])
@pytest.mark.parametrize(("version", "sent"), [("3.0", False), ("3.1", False), ("4.0", True), ("10.0", True)])
def test_the_smbus_is_sent_since_4_0(kind: str, name: str, version: str, sent: bool) -> None:
    """By machine type: older ones do not, on any release. 45 bytes of registers, and a flag on q35."""
    made = small_machine("10.0", f"{kind}-{version}")
    fields = [field["name"] for field in entry(made, name).save().desc["fields"]]
    assert ("smb" in fields) == sent
    if kind == "pc-q35":
        assert ("irq_enabled" in fields) == sent


@pytest.mark.parametrize("register", ["smb_stat", "smb_ctl", "smb_addr", "smb_data1", "smb_auxctl"])
@pytest.mark.parametrize("kind", ["pc-q35", "pc-i440fx"])
def test_registers_of_the_smbus_travel(kind: str, register: str) -> None:
    name = "ich9_smb" if kind == "pc-q35" else "piix4_pm"
    source = board("10.0", kind)
    setattr(entry(source, name).state.smb, register, 0x5A)
    assert getattr(move(source, board("10.0", kind), name).smb, register) == 0x5A


@pytest.mark.parametrize("value", [0, 1, 2])
@pytest.mark.parametrize("line", range(4))
def test_lines_of_the_isa_bridge_travel(line: int, value: int) -> None:
    source = board("10.0", "pc-i440fx")
    entry(source, "PIIX3").state.levels[line] = value
    assert move(source, board("10.0", "pc-i440fx"), "PIIX3").levels[line] == value


@pytest.mark.parametrize("kind", ["pc-q35", "pc-i440fx"])
def test_firmware_fetches_the_tables_again_after_a_reset(kind: str) -> None:
    made = board("10.0", kind)
    entry(made, "acpi_build").state.patched = 1
    assert move(made, board("10.0", kind), "acpi_build").patched == 1
    made.reset()
    assert entry(made, "acpi_build").state.patched == 0
