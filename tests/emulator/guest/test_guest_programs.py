# SPDX-License-Identifier: Apache-2.0
"""Guest programs and the clock: deterministic, bounded, and able to see that a page was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bare import machine
from hypothesis import given
from hypothesis import strategies as st

from migmatrix.emulator.clock import Clock
from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.guest import VMSTATE_WORKLOAD, Walk, WorkloadGuest, start_guest
from migmatrix.vmstate.device.interpret import BytesSource, save_section
from migmatrix.vmstate.device.registry import Registry

if TYPE_CHECKING:
    from migmatrix.emulator.machine import Machine

PAGE = 4096


class Host:
    """A host clock that a test moves."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


class World:
    """A machine with a workload, and a host clock that is moved by hand."""

    def __init__(self, words: str) -> None:
        self.machine: Machine = machine("-workload", words)
        self.host = Host()
        self.machine.clock = Clock(self.host)
        self.said: list[bytes] = []
        self.events: list[str] = []
        self.machine.emit = lambda event, _data: self.events.append(event)
        guest = start_guest(self.machine, self.said.append)
        assert isinstance(guest, WorkloadGuest)
        self.guest = guest
        self.ram = self.machine.ram_blocks["ram"]

    def go(self, seconds: float) -> None:
        """Let host time pass in steps of a slice, and the loop do its work."""
        for _ in range(int(seconds * 200)):
            self.host.ns += 5_000_000
            self.machine.clock.fire()

    def page(self, number: int) -> int:
        return (257 + number) * PAGE


def test_a_slice_that_was_due_when_the_guest_stopped_does_nothing() -> None:
    """The migration's thread stops the guest while the loop's thread waits for the lock to run it."""
    world = World("pages=50,rate=1000,seed=3")
    world.machine.vm_start()
    world.go(0.1)
    stop = world.machine.clock.timer(world.machine.vm_stop)
    world.host.ns += 50_000_000
    stop.arm(0)  # fired first
    steps = world.guest.steps
    world.machine.clock.fire()
    assert not world.machine.running
    assert world.guest.steps == steps


def test_work_follows_the_virtual_clock() -> None:
    world = World("pages=50,rate=1000,seed=3")
    world.go(0.5)
    assert world.guest.steps == 0, "a guest that does not run does nothing"
    world.machine.vm_start()
    world.go(0.5)
    assert 480 <= world.guest.steps <= 500
    world.machine.vm_stop()
    steps = world.guest.steps
    world.go(0.5)
    assert world.guest.steps == steps
    assert world.said[0] == b"workload: step 0 of seed 3\n"
    assert len(world.said) > 5


def test_equal_seeds_make_equal_memory_and_others_do_not() -> None:
    contents = []
    for seed in (1, 1, 2):
        world = World(f"pages=20,rate=1000,seed={seed}")
        world.machine.vm_start()
        world.go(0.2)
        contents.append(world.ram.data[:])
    assert contents[0] == contents[1] != contents[2]


@pytest.mark.parametrize("page", [0, 7, 49])
def test_a_lost_page_stops_the_guest(page: int) -> None:
    world = World("pages=50,rate=1000")
    world.machine.vm_start()
    world.go(0.3)
    world.ram.data[world.page(page) + 100] ^= 1
    world.go(0.3)
    assert world.machine.runstate == "guest-panicked"
    assert "GUEST_PANICKED" in world.events
    assert f"page {page} does not hold".encode() in world.said[-1]


def move(source: World, target: World) -> None:
    """What a migration does: memory, and the section."""
    target.ram.data[:] = source.ram.data[:]
    payload = save_section(VMSTATE_WORKLOAD, source.guest, "workload", 0).data
    (entry,) = [e for e in target.machine.registry if e.vmsd.name == "workload"]
    entry.load(BytesSource(payload), 1)


def test_it_goes_on_after_a_move_and_sees_what_the_move_lost() -> None:
    source = World("pages=50,rate=1000,seed=9")
    source.machine.vm_start()
    source.go(0.32)
    source.machine.vm_stop()
    whole, torn, behind = (World("pages=50,rate=1000,seed=9") for _ in range(3))
    for target in (whole, torn, behind):
        move(source, target)
    torn.ram.data[torn.page(13)] ^= 1
    behind.guest.steps -= 1
    for target in (whole, torn, behind):
        target.machine.vm_start()
        target.go(0.2)
    assert whole.guest.steps > source.guest.steps
    assert whole.machine.running
    assert b"page 13 does not hold" in torn.said[-1]
    assert b"the header is not of this step" in behind.said[-1]


@given(st.integers(1, 40), st.integers(0, 200))
def test_the_last_step_of_a_page_is_computed_as_it_happened(pages: int, steps: int) -> None:
    walk = Walk(pages)
    last = dict.fromkeys(range(pages), -1)
    for step in range(steps):
        last[walk.page(step)] = step
    assert {page: walk.last_step(page, steps) for page in range(pages)} == last


def test_a_working_set_larger_than_memory_is_refused() -> None:
    with pytest.raises(FatalError, match=r"needs \d+ bytes of guest memory"):
        World("pages=5000")


def test_the_section_is_registered_once_and_only_with_a_workload() -> None:
    assert [e.idstr for e in World("pages=1").machine.registry] == ["workload"]
    assert isinstance(machine().registry, Registry)
    assert list(machine().registry) == []


def test_firmware_writes_beats_while_it_runs() -> None:
    said: list[bytes] = []
    plain, host = machine(), Host()
    plain.clock = Clock(host)
    start_guest(plain, said.append)
    plain.vm_start()
    for _ in range(40):
        host.ns += 10_000_000
        plain.clock.fire()
    assert said[:2] == [b"firmware: beat 1\n", b"firmware: beat 2\n"]
    plain.vm_stop()
    count = len(said)
    host.ns += 1_000_000_000
    plain.clock.fire()
    assert len(said) == count


def test_the_clock_stands_is_set_and_fires_in_order() -> None:
    fired: list[str] = []
    host = Host()
    clock = Clock(host)
    late, soon = clock.timer(lambda: fired.append("late")), clock.timer(lambda: fired.append("soon"))
    late.arm(20)
    soon.arm(10)
    host.ns = 100
    clock.fire()
    assert (clock.now(), clock.next_in(), fired) == (0, None, [])
    clock.start()
    host.ns = 115
    assert clock.next_in() == 0
    clock.fire()
    assert fired == ["soon"]
    host.ns = 130
    clock.fire()
    assert fired == ["soon", "late"]
    clock.stop()
    clock.set(1000)
    host.ns = 999
    assert clock.now() == 1000
