"""Explains one failing cell of a stored run: reproduce, reduce, where, contrast, property, verify, fix.

`explain_cell` is the whole of it on one screen; each stage takes what the ones before it found. Everything that is
said was seen in a run of this explanation or stands in the stored run; nothing is inferred from versions alone.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.explain.candidates import candidates
from harness.explain.contrast import contrast
from harness.explain.fix import Findings, make_fix
from harness.explain.machine import MachineView
from harness.explain.records import Explanation, Fix, Reproducer, Side
from harness.explain.reduce import reduce
from harness.explain.rescue import find_rescues
from harness.explain.search import PURPOSE, find_remedies
from harness.explain.verify import verify
from harness.explain.where import compare_sides
from harness.model import Stage, Verdict
from vmstate.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.explain.bench import Bench
    from harness.explain.contrast import Stored
    from harness.explain.records import Attempt, Difference, Remedy, Rescue, Trial
    from harness.explain.reduce import Reduced
    from harness.model import Cell, CellResult

__all__ = ["Budget", "explain_cell"]

_SHOWN = 16  # differences that are kept beside the blamed ones


@dataclass(frozen=True, slots=True)
class Budget:
    """How much is tried: candidates alone per side; machines of a row (0: all of the run)."""

    singles: int = 12
    machines: int = 0


async def explain_cell(
    bench: Bench, stored: Stored, result: CellResult, trial: Trial, budget: Budget
) -> Explanation:
    """Explain `result`, whose cell is `trial`; InfrastructureError when the host fails meanwhile."""
    first = await bench.one("again", trial)
    if not _reproduces(first, result):
        return _not_reproduced(bench, result, first)
    reduced = await reduce(bench, first)
    where = await _where(bench, reduced.attempt)
    saving = reduced.attempt.result.stage is Stage.SAVE
    neighbours = await contrast(bench, stored, result.cell, reduced.trial, saving=saving)
    source, destination = await _views(bench, reduced.attempt)
    cause = reduced.attempt.result.cause
    assert cause is not None  # noqa: S101 - it failed
    found = candidates(source, destination, cause, where)
    remedies = await find_remedies(bench, reduced.trial, found, budget.singles)
    checked = [
        await _verified(bench, stored, reduced, result.cell, trial, remedy, budget) for remedy in remedies
    ]
    rescues = await _rescues(bench, stored, reduced.trial, checked)
    findings = Findings(
        cell=result.cell,
        cause=cause,
        route=tuple(step.build for step in reduced.trial.path),
        builds=stored.builds,
        where=where,
        neighbours=neighbours,
        remedies=checked,
        rescues=rescues,
        tried=_tried(bench),
        stage=str(reduced.attempt.result.stage or ""),
        unseen=source.problem or destination.problem,
    )
    return _explained(bench, result, reduced, findings, len(found))


def _explained(
    bench: Bench, result: CellResult, reduced: Reduced, findings: Findings, candidates: int
) -> Explanation:
    return replace(
        _explanation(bench, result, reduced.record, reproduced=True),
        where=tuple(findings.where),
        neighbours=tuple(findings.neighbours),
        candidates=candidates,
        remedies=tuple(findings.remedies),
        rescues=tuple(findings.rescues),
        fix=make_fix(findings),
        commands=tuple(_commands(bench, reduced.attempt)),
    )


def _tried(bench: Bench) -> int:
    """Settings that were run, those that the build did not start with aside."""
    tried = (a for a in bench.journal if a.purpose == PURPOSE)
    return sum(a.result.verdict is not Verdict.UNSUPPORTED for a in tried)


def _reproduces(attempt: Attempt, result: CellResult) -> bool:
    return (attempt.result.verdict, attempt.result.signature) == (result.verdict, result.signature)


def _not_reproduced(bench: Bench, result: CellResult, first: Attempt) -> Explanation:
    """The failure did not come again: nothing else is claimed."""
    again = f"{first.result.verdict} {first.result.signature or ''}".strip()
    record = Reproducer(
        first.trial.machine,
        first.trial.arguments,
        tuple(step.text for step in first.trial.path),
        first.trial.mode.name,
        first.trial.guest.name,
        note=f"run again it is: {again}; the failure is not deterministic, or the host differs",
    )
    fix = Fix(repairable=False, reason="not reproduced", summary=record.note)
    return replace(_explanation(bench, result, record, reproduced=False), fix=fix)


def _explanation(bench: Bench, result: CellResult, record: Reproducer, *, reproduced: bool) -> Explanation:
    hop = result.hop or 1
    return Explanation(
        cell=result.cell.id,
        signature=result.signature or "",
        verdict=result.verdict.value,
        message=result.cause.message if result.cause else "",
        stage=result.stage.value if result.stage else "",
        migration=result.cell.path[hop - 1 : hop + 1],
        reproduced=reproduced,
        reproducer=record,
        hops=bench.hops,
        emulators=bench.emulators,
        journal=tuple(
            f"{a.purpose}: {a.trial.machine} {a.trial.route}: {a.result.verdict}"
            f" {a.result.signature or ''}".rstrip()
            + f" ({a.hops} hops)"
            for a in bench.journal
        ),
    )


async def _where(bench: Bench, attempt: Attempt) -> tuple[Difference, ...]:
    """Both sides' values; empty when nothing was loaded or a stream cannot be had."""
    result, trial = attempt.result, attempt.trial
    if result.stage is not Stage.LOAD or result.cause is None or trial.mode.live:
        return ()
    last = trial.path[-1]
    own = await bench.one("own values of the destination", replace(trial, path=(last, last)))
    sent = bench.stream(result.hops[-2])
    here = bench.stream(own.result.hops[0]) if own.result.hops else None
    if sent is None or here is None:
        return ()
    try:
        found = compare_sides(sent, here, result.cause)
    except StreamError as err:
        bench.log(f"cannot compare the streams: {err}")
        return ()
    blamed = [d for d in found if d.blamed]
    return (*blamed, *[d for d in found if not d.blamed][:_SHOWN])


async def _views(bench: Bench, attempt: Attempt) -> tuple[MachineView, MachineView]:
    """The two sides' machines; empty ones for a device that says itself that no migration is possible."""
    trial = attempt.trial
    if attempt.result.verdict is Verdict.BLOCKED:
        return MachineView(), MachineView()
    source = await bench.view(trial.path[0], trial.machine, trial.arguments)
    return source, await bench.view(trial.path[-1], trial.machine, trial.arguments)


async def _verified(
    bench: Bench, stored: Stored, reduced: Reduced, cell: Cell, whole: Trial, remedy: Remedy, budget: Budget
) -> Remedy:
    """The remedy with the row of the whole profile, not of the reproducer."""
    route = [step.build for step in reduced.trial.path]
    machines = stored.machines_for(route)
    chosen = machines[: budget.machines] if budget.machines else machines
    mine = (whole.machine, *(m for m in chosen if m != whole.machine))
    trial = replace(whole, path=reduced.trial.path)

    def before(machine: str, path: tuple[str, ...]) -> CellResult | None:
        return stored.results.get(replace(cell, machine=machine, path=path))

    checked = await verify(bench, trial, remedy, mine, before)
    step = reduced.trial.path[-1 if remedy.side is Side.DESTINATION else 0]
    view = await bench.view(step, reduced.trial.machine, reduced.trial.arguments)
    return replace(checked, shared_by=_sharing(view, remedy))


def _sharing(view: MachineView, remedy: Remedy) -> int:
    """How many device types of a machine have all properties of a remedy."""
    names = {setting.name for setting in remedy.settings}
    return len({found.type for found in view.objects if names <= found.settable})


async def _rescues(bench: Bench, stored: Stored, trial: Trial, remedies: list[Remedy]) -> tuple[Rescue, ...]:
    """Other ways for a guest that no setting of its destination helps, if the source's settings are known."""
    if not remedies or any(r.side is Side.DESTINATION for r in remedies):
        return ()
    return await find_rescues(bench, trial, remedies[0].instead_of, stored.build_ids)


def _commands(bench: Bench, attempt: Attempt) -> Iterator[str]:
    """The emulators' own command lines, in the order of the hops."""
    for key in attempt.result.hops:
        evidence = bench.evidence(key)
        for emulator in evidence.emulators if evidence else ():
            yield shlex.join(emulator.argv)
