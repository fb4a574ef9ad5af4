# SPDX-License-Identifier: Apache-2.0
"""The snapshot leg: start an emulator, load the stream in, check the guest, save the stream out.

One emulator does both halves, so that the state of A really travels through B. The harness itself is the other end
of each migration (`carry.py`), which works in every version and however an emulator is confined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migmatrix.harness.engines.base import Needs, Role
from migmatrix.harness.hops.carry import StreamIn, StreamOut
from migmatrix.harness.hops.checks import check_guest, let_run, release
from migmatrix.harness.hops.emulator import Emulator, refuse_stopped
from migmatrix.harness.hops.task import HOST, Problem, Recorder
from migmatrix.harness.model import LegEvidence, Stage
from migmatrix.harness.pulse.heard import PULSE

if TYPE_CHECKING:
    from pathlib import Path

    from migmatrix.harness.engines.base import Engine
    from migmatrix.harness.hops.task import LegTask
    from migmatrix.harness.model import StreamInfo

__all__ = ["SILENT", "run_snapshot_leg"]

# A fact of a leg whose guest ran and was never heard.
SILENT = "silent"


async def run_snapshot_leg(engine: Engine, task: LegTask) -> LegEvidence:
    """Run one leg; evidence whatever happens to the emulator, InfrastructureError when the host fails."""
    role = Role.DESTINATION if task.incoming is not None else Role.SOURCE
    sandbox = await engine.sandbox(task.build, role, Needs())
    recorder = Recorder()
    emulator = Emulator(sandbox, task.build, role, task.guest, recorder.clock)
    stream: StreamInfo | None = None
    try:
        stream = await _stages(task, emulator, recorder)
    except Problem as problem:  # the recorder has it
        await refuse_stopped(problem, emulator)
    finally:
        free = emulator.job.files.free()
        evidence = await emulator.end()
    facts: dict[str, Any] = {} if emulator.beats or task.guest.kind == "paused" else {SILENT: True}
    if emulator.console.heard is not None and emulator.beats:
        facts[PULSE] = [emulator.console.heard.facts()]
    return LegEvidence(
        task.key,
        tuple(recorder.stages),
        (evidence,),
        stream,
        free_bytes=free,
        facts=facts,
        began=recorder.at.isoformat(timespec="seconds"),
        host=HOST,
    )


async def _stages(task: LegTask, emulator: Emulator, recorder: Recorder) -> StreamInfo | None:
    deadlines = task.deadlines
    with recorder.stage(Stage.START):
        start = emulator.start(task.machine, task.arguments, incoming=task.incoming is not None)
        await emulator.race(start, deadlines[Stage.START])
        emulator.beats = emulator.beats and not task.silent
        await emulator.race(emulator.set_up(task.mode), deadlines[Stage.START])
        if task.guest.kind != "paused" and task.echo_to is None:
            await emulator.race(release(emulator), deadlines[Stage.START])
    stream = None
    if task.incoming is not None:
        with recorder.stage(Stage.LOAD):
            await emulator.race(_load(emulator, task.incoming), deadlines[Stage.LOAD])
        if task.echo_to is not None:
            with recorder.stage(Stage.EQUALITY):
                stream = await _save_as_source(task, emulator, Stage.EQUALITY, task.echo_to)
                if task.guest.kind != "paused":
                    await emulator.race(release(emulator), deadlines[Stage.EQUALITY])
        with recorder.stage(Stage.CHECK):
            await check_guest(emulator, task.guest, deadlines[Stage.CHECK])
    if task.save_to is None:
        stream = None
    elif task.save_to != task.echo_to:
        stream = await _run_and_save(task, emulator, recorder, task.save_to)
    await emulator.quit(deadlines[Stage.QUIT])
    return stream


async def _run_and_save(task: LegTask, emulator: Emulator, recorder: Recorder, target: Path) -> StreamInfo:
    if task.guest.kind != "paused":
        with recorder.stage(Stage.RUN):
            await let_run(emulator, task.guest, task.deadlines[Stage.RUN])
    with recorder.stage(Stage.SAVE):
        return await _save_as_source(task, emulator, Stage.SAVE, target)


async def _save_as_source(task: LegTask, emulator: Emulator, stage: Stage, target: Path) -> StreamInfo:
    if task.incoming is not None:
        emulator.become_source()
        await emulator.race(emulator.set_up(task.mode), task.deadlines[stage])
    return await emulator.race(_save(emulator, target), task.deadlines[stage])


async def _load(emulator: Emulator, source: Path) -> None:
    with StreamIn(source) as stream:
        uri = await stream.give(emulator.qmp)
        await emulator.qmp.execute("migrate-incoming", {"uri": uri})
        await emulator.migration_status()


async def _save(emulator: Emulator, target: Path) -> StreamInfo:
    with StreamOut(target) as stream:
        uri = await stream.give(emulator.qmp)
        await emulator.qmp.execute("migrate", {"uri": uri})
        await emulator.migration_status()
        return await stream.whole(emulator.role.value)
