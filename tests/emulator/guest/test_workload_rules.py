# SPDX-License-Identifier: Apache-2.0
"""The memory workload by its rules: which page is found wrong, how fast it works, and what it carries across a hop.

Time is a host clock that a test moves, so that nothing here waits; hops go through a whole stream, as a migration's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from migration_machines import RELEASES, Box, make
from whole_streams import loaded, saved

from migmatrix.emulator.clock import Clock
from migmatrix.emulator.guest import WorkloadGuest, start_guest

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = 4096
SLICE = 5_000_000  # ns
PAGES = 40


class World:
    """A machine with a workload; `go` moves its host's clock."""

    def __init__(
        self, release: str = "10.0", rate: int = 1000, seed: int = 7, words: Sequence[str] = ()
    ) -> None:
        workload = f"pages={PAGES},rate={rate},seed={seed}"
        none = ("-M", "none", "-m", "2", "-nodefaults", "-workload", workload)
        self.machine: Box = make(release, *none, *words)
        self.ns = 0
        self.machine.clock = Clock(lambda: self.ns)
        self.said: list[bytes] = []
        guest = start_guest(self.machine, self.said.append)
        assert isinstance(guest, WorkloadGuest)
        self.guest = guest
        self.ram = self.machine.ram_blocks["ram"]

    def go(self, seconds: float) -> None:
        for _ in range(round(seconds * 200)):
            self.ns += SLICE
            self.machine.clock.fire()

    def spoil(self, page: int, at: int) -> None:
        """Change one byte of a page of the working set behind the guest's back."""
        where = (257 + page) * PAGE + at
        self.ram.store(where, bytes((self.ram.data[where] ^ 0x80,)))


def hop(source: World, release: str, seed: int = 7) -> tuple[World, tuple[int, list[str]]]:
    there = World(release, seed=seed, words=("-incoming", "defer"))
    return there, loaded(there.machine, saved(source.machine))


def ran(seconds: float, release: str = "10.0", rate: int = 1000) -> World:
    world = World(release, rate)
    world.machine.vm_start()
    world.go(seconds)
    return world


@settings(max_examples=25, deadline=None)
@given(st.integers(0, PAGES - 1), st.integers(0, PAGE - 1))
def test_any_wrong_byte_of_any_page_is_found(page: int, at: int) -> None:
    world = ran(0.1)
    world.spoil(page, at)
    world.go(0.2)
    assert world.machine.runstate == "guest-panicked"
    assert f"page {page} does not hold".encode() in world.said[-1]
    assert [event for event, _ in world.machine.events][-1] in ("STOP", "GUEST_PANICKED")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, PAGES - 1), st.integers(0, PAGE - 1))
def test_any_byte_that_a_hop_lost_is_found_before_the_next_step(page: int, at: int) -> None:
    source = ran(0.1)
    there, _ = hop(source, "10.0")
    there.spoil(page, at)
    steps = there.guest.steps
    there.machine.vm_start()
    there.go(0.1)
    assert there.machine.runstate == "guest-panicked"
    assert there.guest.steps == steps
    assert f"(step {steps}, seed 7)".encode() in there.said[-1]


@pytest.mark.parametrize("rate", [1, 10, 199, 1000, 20_000])
def test_work_is_done_at_the_rate_that_was_asked_for(rate: int) -> None:
    world = ran(3, rate=rate)
    assert abs(world.guest.steps - 3 * rate) <= max(2, rate // 100)


def test_a_host_that_slept_owes_at_most_a_second() -> None:
    world = ran(0.5)
    steps = world.guest.steps
    world.ns += 60_000_000_000
    world.machine.clock.fire()
    world.go(5)
    assert 5000 <= world.guest.steps - steps <= 6100


@pytest.mark.parametrize("state", ["paused", "io-error", "shutdown"])
def test_a_stopped_guest_owes_nothing(state: str) -> None:
    world = ran(0.5)
    world.machine.vm_stop(state)
    steps, said = world.guest.steps, list(world.said)
    world.go(10)
    assert (world.guest.steps, world.said) == (steps, said)
    world.machine.vm_start()
    world.go(0.5)
    assert 450 <= world.guest.steps - steps <= 550


@pytest.mark.parametrize("newer", RELEASES)
@pytest.mark.parametrize("older", RELEASES)
def test_it_works_on_in_every_release(older: str, newer: str) -> None:
    source = ran(0.3, older)
    there, answer = hop(source, newer)
    assert answer == (0, [])
    assert (there.guest.steps, there.ram.data[:]) == (source.guest.steps, source.ram.data[:])
    there.machine.vm_start()
    there.go(0.5)
    assert there.guest.steps > source.guest.steps + 400
    assert there.machine.runstate == "running"


def test_what_it_wrote_does_not_depend_on_hops() -> None:
    """After as many steps memory is the same, in one machine or in three."""
    guest = ran(0.2)
    for _ in range(2):
        guest, answer = hop(guest, "10.0")
        assert answer[0] == 0
        guest.machine.vm_start()
        guest.go(0.2)
    alone = World()
    alone.machine.vm_start()
    while alone.guest.steps < guest.guest.steps:
        alone.go(0.005)
    assert alone.guest.steps == guest.guest.steps
    assert alone.ram.data[:] == guest.ram.data[:]


def test_another_seed_is_another_guest() -> None:
    _, (status, lines) = hop(ran(0.1), "10.0", seed=8)
    assert status == 1
    assert "7" in "".join(lines)
    assert any("device 'workload'" in line for line in lines)


def test_a_guest_that_panicked_does_not_go_on() -> None:
    world = ran(0.1)
    world.spoil(3, 100)
    world.go(0.3)
    steps = world.guest.steps
    world.machine.vm_start()
    world.go(0.3)
    assert world.guest.steps == steps
