# SPDX-License-Identifier: Apache-2.0
"""The snapshot leg: start an emulator, load the stream in, check the guest, save the stream out.

One emulator does both halves, so that the state of A really travels through B. The stream goes through `exec:`,
which every version has; the saving helper reports its own end, because QEMU calls a migration completed while the
helper may still be writing.
"""

from __future__ import annotations

import asyncio
import shlex
from typing import TYPE_CHECKING

from migmatrix.harness.beneath import NotPlainError
from migmatrix.harness.engines.base import Needs, Role
from migmatrix.harness.errors import InfrastructureError, StoreError
from migmatrix.harness.hops.checks import check_guest, let_run, release
from migmatrix.harness.hops.emulator import Emulator
from migmatrix.harness.hops.task import Problem, Recorder
from migmatrix.harness.model import LegEvidence, Stage, StreamInfo

if TYPE_CHECKING:
    from pathlib import Path

    from migmatrix.harness.engines.base import Engine, Sandbox
    from migmatrix.harness.hops.task import LegTask

__all__ = ["run_snapshot_leg"]

_OUT = "stream"
# No honest stream is longer: a sandbox has half of that memory.
_LONGEST = 8 << 30


async def run_snapshot_leg(engine: Engine, task: LegTask) -> LegEvidence:
    """Run one leg; evidence whatever happens to the emulator, InfrastructureError when the host fails."""
    role = Role.DESTINATION if task.incoming is not None else Role.SOURCE
    sandbox = await engine.sandbox(task.build, role, Needs())
    recorder = Recorder()
    emulator = Emulator(sandbox, task.build, role, task.guest, recorder.clock)
    stream: StreamInfo | None = None
    try:
        stream = await _stages(task, sandbox, emulator, recorder)
    except Problem:
        pass  # the recorder has it
    finally:
        free = emulator.job.files.free()
        evidence = await emulator.end()
    return LegEvidence(task.key, tuple(recorder.stages), (evidence,), stream, free_bytes=free)


async def _stages(
    task: LegTask, sandbox: Sandbox, emulator: Emulator, recorder: Recorder
) -> StreamInfo | None:
    deadlines = task.deadlines
    with recorder.stage(Stage.START):
        start = emulator.start(task.machine, task.arguments, incoming=task.incoming is not None)
        await emulator.race(start, deadlines[Stage.START])
        await emulator.race(emulator.set_up(task.mode), deadlines[Stage.START])
        if task.guest.kind == "firmware":
            await emulator.race(release(emulator), deadlines[Stage.START])
    if task.incoming is not None:
        with recorder.stage(Stage.LOAD):
            await emulator.race(_load(emulator, sandbox.stream(task.incoming)), deadlines[Stage.LOAD])
        with recorder.stage(Stage.CHECK):
            await check_guest(emulator, task.guest, deadlines[Stage.CHECK])
    stream = None
    if task.save_to is not None:
        stream = await _run_and_save(task, emulator, recorder, task.save_to)
    await emulator.quit(deadlines[Stage.QUIT])
    return stream


async def _run_and_save(task: LegTask, emulator: Emulator, recorder: Recorder, target: Path) -> StreamInfo:
    if task.guest.kind == "firmware":
        with recorder.stage(Stage.RUN):
            await emulator.race(let_run(emulator, task.guest), task.deadlines[Stage.RUN])
    with recorder.stage(Stage.SAVE):
        if emulator.role is Role.DESTINATION:
            emulator.become_source()
            await emulator.race(emulator.set_up(task.mode), task.deadlines[Stage.SAVE])
        await emulator.race(_save(emulator), task.deadlines[Stage.SAVE])
        return await _collect(emulator, target)


async def _load(emulator: Emulator, path: str) -> None:
    await emulator.qmp.execute("migrate-incoming", {"uri": f"exec:cat {shlex.quote(path)}"})
    await emulator.migration_status()


async def _save(emulator: Emulator) -> None:
    await emulator.qmp.execute("migrate", {"uri": f"exec:{emulator.job.save_command(_OUT)}"})
    await emulator.migration_status()
    status = await emulator.job.saved()
    if status != 0:
        raise InfrastructureError(f"the helper that writes the stream failed with status {status}")


async def _collect(emulator: Emulator, target: Path) -> StreamInfo:
    """Copy a finished stream to where loads find it; Problem when the emulator left something else."""
    try:
        sha256, size = await asyncio.to_thread(emulator.job.files.copy, _OUT, target, _LONGEST)
    except (NotPlainError, FileNotFoundError, PermissionError) as err:
        raise Problem("malformed", f"no stream is left: {err}", emulator.role.value) from err
    except OSError as err:
        raise StoreError(f"cannot keep a stream: {err}") from err
    return StreamInfo(sha256, size)
