# SPDX-License-Identifier: Apache-2.0
"""Before a save the guest runs for its time; after a load it must be as it should be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from migmatrix.harness.hops.task import Problem

if TYPE_CHECKING:
    from migmatrix.harness.hops.emulator import Emulator
    from migmatrix.harness.model import Guest

__all__ = ["check_guest", "let_run", "release"]

# What a guest that never ran may be after a load: QEMU restores the source's state or stays under -S.
_STOPPED = ("paused", "prelaunch", "postmigrate")


async def release(emulator: Emulator) -> None:
    """Let a guest that runs go; for a source at its start and for a destination before its stream."""
    await emulator.qmp.execute("cont")


async def let_run(emulator: Emulator, guest: Guest) -> None:
    """The guest's bounded time: from its first output on, `guest.seconds`."""
    await emulator.console.output_after(0)
    await asyncio.sleep(guest.seconds)  # the work itself: a machine that runs for a while


async def check_guest(emulator: Emulator, guest: Guest, deadline: float) -> None:
    """The guest is in the state it should be in, and its output goes on; Problem when not."""
    state = await emulator.race(emulator.qmp.execute("query-status"), deadline)
    should_run = guest.kind != "paused"
    if state["running"] != should_run or (not should_run and state["status"] not in _STOPPED):
        wanted = "running" if should_run else "stopped"
        raise Problem("wrong-status", f"status {state['status']!r}, should be {wanted}", emulator.role.value)
    if should_run:
        try:
            await emulator.race(emulator.console.output_after(emulator.console.received), deadline)
        except Problem as problem:
            if problem.problem == "deadline":
                silence = f"no output in {deadline:g} s"
                raise Problem("silent", silence, emulator.role.value, waited=deadline) from problem
            raise
