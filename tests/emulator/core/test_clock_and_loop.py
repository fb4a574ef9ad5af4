# SPDX-License-Identifier: Apache-2.0
"""The virtual clock against a model of it, and the main loop: who is called, in which order, and that nobody is lost."""

from __future__ import annotations

import os
import socket
import threading
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from migmatrix.emulator.clock import Clock
from migmatrix.emulator.loop import READ, WRITE, Loop

STEPS = st.integers(0, 10**10)


class Virtual(RuleBasedStateMachine):
    """A clock whose host's time is moved by hand; the model adds up what passed while it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.host = 1_000
        self.clock = Clock(lambda: self.host)
        self.passed = 0
        self.runs = False
        self.fired: list[int] = []
        self.armed: dict[int, int] = {}
        self.timers = [self.clock.timer(partial(self.fired.append, n)) for n in range(4)]

    @rule(ns=STEPS)
    def wait(self, ns: int) -> None:
        self.host += ns
        self.passed += ns if self.runs else 0

    @rule()
    def start(self) -> None:
        self.clock.start()
        self.runs = True

    @rule()
    def stop(self) -> None:
        self.clock.stop()
        self.runs = False

    @rule(ns=STEPS)
    def set(self, ns: int) -> None:
        self.clock.set(ns)
        self.passed = ns

    @rule(number=st.integers(0, 3), ns=st.integers(-(10**9), 10**10))
    def arm(self, number: int, ns: int) -> None:
        self.armed[number] = self.passed + ns
        self.timers[number].arm(self.passed + ns)

    @rule(number=st.integers(0, 3))
    def cancel(self, number: int) -> None:
        self.armed.pop(number, None)
        self.timers[number].cancel()

    @rule()
    def fire(self) -> None:
        self.fired.clear()
        self.clock.fire()
        due = [number for number, at in self.armed.items() if at <= self.passed] if self.runs else []
        assert self.fired == sorted(due, key=lambda number: (self.armed[number], number))
        for number in due:
            del self.armed[number]

    @invariant()
    def time(self) -> None:
        assert self.clock.now() == self.passed
        assert self.clock.running is self.runs

    @invariant()
    def next(self) -> None:
        wait = self.clock.next_in()
        if not self.runs or not self.armed:
            assert wait is None
        else:
            assert wait == pytest.approx(max(0.0, (min(self.armed.values()) - self.passed) / 1e9))


TestVirtual = Virtual.TestCase
TestVirtual.settings = settings(max_examples=50, stateful_step_count=30)


def test_a_timer_that_arms_itself_for_now_waits_for_the_next_call() -> None:
    clock = Clock(lambda: 5)
    clock.start()
    calls: list[int] = []

    def again() -> None:
        calls.append(1)
        timer.arm(clock.now())

    timer = clock.timer(again)
    timer.arm(0)
    for count in (1, 2, 3):
        clock.fire()
        assert len(calls) == count


def test_a_timer_that_another_cancels_does_not_fire() -> None:
    clock = Clock(lambda: 5)
    clock.start()
    calls: list[str] = []
    second = clock.timer(lambda: calls.append("second"))
    first = clock.timer(second.cancel)
    first.arm(-1)
    second.arm(0)
    clock.fire()
    assert calls == []
    clock.forget(first)
    with pytest.raises(ValueError, match="not in list"):
        clock.forget(first)


# -- the loop ------------------------------------------------------------------------------------


def test_calls_of_all_threads_are_made_on_the_loops_own() -> None:
    loop, threads = Loop(), 8
    made: list[tuple[int, int, str]] = []

    def note(who: int, turn: int) -> None:
        made.append((who, turn, threading.current_thread().name))

    def call(who: int) -> None:
        for turn in range(50):
            loop.call(partial(note, who, turn))

    workers = [threading.Thread(target=call, args=(who,)) for who in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    loop.call(loop.stop)
    loop.run()
    loop.close()
    assert len(made) == threads * 50
    assert {name for _, _, name in made} == {threading.current_thread().name}
    for who in range(threads):
        assert [turn for caller, turn, _ in made if caller == who] == list(range(50)), (
            "in the order of each caller"
        )


def test_what_was_called_before_a_stop_is_still_done() -> None:
    loop = Loop()
    made: list[int] = []
    loop.call(loop.stop)
    for number in range(3):
        loop.call(partial(made.append, number))
    loop.run()
    loop.close()
    assert made == [0, 1, 2]


def test_a_call_from_a_call_is_made_in_the_same_round() -> None:
    loop = Loop()
    made: list[str] = []
    loop.call(lambda: loop.call(lambda: made.append("inner")))
    loop.once(0)
    loop.close()
    assert made == ["inner"]


def test_descriptors_are_served_when_they_are_ready_and_only_then() -> None:
    loop = Loop()
    seen: list[int] = []
    ours, theirs = socket.socketpair()
    loop.watch(ours.fileno(), READ, seen.append)
    loop.once(0)
    assert seen == []
    theirs.send(b"x")
    loop.once(1)
    loop.once(1)  # it is level-triggered: as long as there is something to read
    assert seen == [READ, READ]
    loop.watch(ours.fileno(), WRITE, seen.append)
    loop.once(1)
    assert seen[2:] == [WRITE], "the last wish counts"
    loop.forget(ours.fileno())
    loop.forget(ours.fileno())
    loop.once(0)
    assert len(seen) == 3
    ours.close()
    theirs.close()
    loop.close()


def test_the_end_of_a_connection_shows_as_both() -> None:
    loop = Loop()
    seen: list[int] = []
    ours, theirs = socket.socketpair()
    loop.watch(ours.fileno(), WRITE, seen.append)
    theirs.close()
    loop.once(1)
    assert seen
    assert seen[0] & READ
    assert seen[0] & WRITE
    loop.forget(ours.fileno())
    ours.close()
    loop.close()


def test_a_closed_descriptor_may_be_forgotten_and_its_number_used_again() -> None:
    loop = Loop()
    seen: list[str] = []
    reader, writer = os.pipe()
    loop.watch(reader, READ, lambda _: seen.append("old"))
    os.close(reader)
    loop.forget(reader)
    again, other = os.pipe()
    loop.watch(again, READ, lambda _: seen.append("new"))
    os.write(other, b"x")
    loop.once(1)
    assert seen == ["new"]
    loop.forget(again)
    for fd in (writer, again, other):
        os.close(fd)
    loop.close()


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_later_calls_come_once_each_and_none_before_its_time(waits: list[int]) -> None:
    loop = Loop()
    made: list[int] = []
    for number, wait in enumerate(waits):
        loop.later(wait * 0.001 if wait else 0.0, partial(made.append, number))
    loop.later(0.004, loop.stop)
    loop.run()
    loop.close()
    assert sorted(made) == list(range(len(waits)))
    assert [n for n in made if not waits[n]] == [n for n, wait in enumerate(waits) if not wait]


def test_the_clock_of_the_machine_wakes_the_loop() -> None:
    loop = Loop()
    loop.clock = Clock()
    loop.clock.start()
    timer = loop.clock.timer(loop.stop)
    timer.arm(loop.clock.now() + 2_000_000)
    loop.run()
    assert loop.clock.now() >= 2_000_000
    loop.close()
