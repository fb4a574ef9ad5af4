# SPDX-License-Identifier: Apache-2.0
"""Before a save the guest runs for its time; after a load it must be as it should be.

A guest that beats must go on to; of one that does not, or was never heard, the running state must last. A port that says
nothing is no failure of an emulator.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from migmatrix.harness.hops.patience import patience
from migmatrix.harness.hops.task import Problem

if TYPE_CHECKING:
    from migmatrix.harness.hops.emulator import Emulator
    from migmatrix.harness.model import Guest

__all__ = ["check_guest", "let_run", "release"]

# Seconds; firmware that writes at all does so in the first of them.
_FIRST_BEAT = 15.0
# `pulse` begins when SeaBIOS is through with every device; this is for a host that has much else to do.
_FIRST_PULSE = 60.0
# Of `pulse` on the destination: lines of beats, and whole looks at all that it sees.
_BEATS = 3
# What a guest that never ran may be after a load: QEMU restores the source's state or stays under -S.
_STOPPED = ("paused", "prelaunch", "postmigrate")


async def release(emulator: Emulator) -> None:
    """Let a guest that runs go; for a source at its start and for a destination before its stream."""
    await emulator.qmp.execute("cont")


async def let_run(emulator: Emulator, guest: Guest, deadline: float) -> None:
    """The guest's bounded time: from its first output on, `guest.seconds`; Problem when the emulator ends in it."""
    if guest.kind == "pulse" and emulator.beats:
        await _let_pulse_run(emulator, guest, deadline)
        return
    first = min(_FIRST_BEAT, deadline)
    await emulator.race(_run(emulator, guest, first), first + guest.seconds + deadline)


async def _let_pulse_run(emulator: Emulator, guest: Guest, deadline: float) -> None:
    """Until it has told all that it sees and has looked at it once more; Problem `absent` when it is not heard at all."""
    heard = emulator.console.heard
    assert heard is not None  # noqa: S101 - a console of this guest
    try:
        await emulator.race(
            emulator.console.until(lambda: heard.panicked or (heard.rounds > 0 and heard.beats >= _BEATS)),
            max(_FIRST_PULSE, deadline),
        )
    except Problem as problem:
        if problem.problem == "deadline" and not heard.beats:
            raise Problem("absent", "pulse was not heard", emulator.role.value, problem.waited) from problem
        if problem.problem == "deadline":
            raise Problem("silent", problem.detail, emulator.role.value, problem.waited) from problem
        raise
    await emulator.race(asyncio.sleep(guest.seconds), guest.seconds + deadline)  # the work itself


async def _run(emulator: Emulator, guest: Guest, first: float) -> None:
    if emulator.beats:
        try:
            async with patience(first):
                await emulator.console.output_after(0)
        except TimeoutError:
            emulator.beats = False
    await asyncio.sleep(guest.seconds)  # the work itself: a machine that runs for a while


async def _still_runs(emulator: Emulator, guest: Guest, deadline: float) -> None:
    """After the guest's time it runs as before."""
    await emulator.race(asyncio.sleep(guest.seconds), deadline + guest.seconds)
    state = await emulator.race(emulator.qmp.execute("query-status"), deadline)
    if not state["running"]:
        later = f"status {state['status']!r} after {guest.seconds:g} s, should be running"
        raise Problem("wrong-status", later, emulator.role.value)


async def _goes_on(emulator: Emulator) -> None:
    """Wait for output; of `pulse` for some beats, and for a round: only that has seen all that may have changed."""
    console, heard = emulator.console, emulator.console.heard
    if heard is None:
        await console.output_after(console.received)
        return
    beats, rounds = heard.beats + _BEATS, heard.rounds + 1
    await console.until(lambda: heard.panicked or (heard.beats >= beats and heard.rounds >= rounds))


async def check_guest(emulator: Emulator, guest: Guest, deadline: float) -> None:
    """The guest is in the state it should be in, and its output goes on; Problem when not."""
    state = await emulator.race(emulator.qmp.execute("query-status"), deadline)
    should_run = guest.kind != "paused"
    if state["running"] != should_run or (not should_run and state["status"] not in _STOPPED):
        wanted = "running" if should_run else "stopped"
        raise Problem("wrong-status", f"status {state['status']!r}, should be {wanted}", emulator.role.value)
    if should_run and not emulator.beats:
        await _still_runs(emulator, guest, deadline)
    elif should_run:
        try:
            await emulator.race(_goes_on(emulator), deadline)
        except Problem as problem:
            if problem.problem == "deadline":
                silence = f"no output in {deadline:g} s"
                raise Problem("silent", silence, emulator.role.value, waited=deadline) from problem
            raise
