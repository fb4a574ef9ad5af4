# SPDX-License-Identifier: Apache-2.0
"""Explains one failing cell of a stored run: reproduce, reduce, where, contrast, property, cure, verify, fix.

`explain_cell` is the whole of it on one screen; each stage takes what the ones before it found. Every statement was
seen in a run of this explanation or is in the stored run; nothing is inferred from versions alone.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from migmatrix.harness.errors import InfrastructureError
from migmatrix.harness.explain.candidates import candidates
from migmatrix.harness.explain.carried import carried
from migmatrix.harness.explain.contrast import contrast
from migmatrix.harness.explain.cure import find_cures
from migmatrix.harness.explain.fix import Findings, make_fix, told_fix
from migmatrix.harness.explain.records import Explanation, Fix, Reproducer
from migmatrix.harness.explain.reduce import reduce
from migmatrix.harness.explain.rescue import find_rescues
from migmatrix.harness.explain.roms import is_rom, rom_note
from migmatrix.harness.explain.row import verified
from migmatrix.harness.explain.saves import sent_and_own
from migmatrix.harness.explain.search import PURPOSE, find_remedies
from migmatrix.harness.explain.told import alike, own_properties, spelt_out, told
from migmatrix.harness.judge.signature import signature
from migmatrix.harness.model import Stage, Verdict
from migmatrix.harness.trials.qom import MachineView
from migmatrix.harness.trials.records import Side

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migmatrix.harness.explain.contrast import Stored
    from migmatrix.harness.explain.records import Cure, Difference, Remedy, Rescue
    from migmatrix.harness.explain.reduce import Reduced
    from migmatrix.harness.explain.row import Case
    from migmatrix.harness.model import CellResult
    from migmatrix.harness.trials.records import Attempt, Setting, Trial
    from migmatrix.harness.trials.runner import TrialRunner

__all__ = ["explain_cell"]

_SHOWN = 16  # differences that are kept beside the blamed ones


async def explain_cell(runner: TrialRunner, stored: Stored, case: Case) -> Explanation:
    """Explain a case; InfrastructureError when the host fails meanwhile."""
    result = case.result
    first = await runner.one("again", case.whole)
    same = _reproduces(first, result)
    if not same and not _fails_told_otherwise(runner, first):
        return _not_reproduced(runner, case, first)
    reduced = await reduce(runner, first, _never_started(first))
    reduced = reduced.with_note(await carried(runner, first))
    if known := case.same_reproducer(reduced.trial):
        return await _like(runner, stored, case, reduced, known)
    attempt = reduced.attempt
    cause = attempt.result.cause
    assert cause is not None  # noqa: S101 - it failed
    where = await _where(runner, attempt)
    saving = attempt.result.stage is Stage.SAVE
    neighbours = await contrast(runner, stored, result.cell, reduced.trial, saving=saving)
    fix, untried = await _told_otherwise(runner, reduced.trial)
    if fix is None and not same:
        return _not_reproduced(runner, case, first)
    if fix is not None:
        if is_rom(cause):
            views = await _views(runner, attempt)
            fix = replace(fix, caveats=(*fix.caveats, rom_note(views, _route(reduced.trial), cause)))
        return replace(
            _explanation(runner, case, reduced.record, reproduced=True),
            where=where,
            neighbours=neighbours,
            told=told(reduced.trial),
            fix=fix,
            commands=tuple(_commands(runner, attempt)),
        )
    views = await _views(runner, attempt)
    found = candidates(*views, cause, where, reduced.trial.machine)
    remedies = await find_remedies(runner, reduced.trial, found, case.budget.singles)
    checked = [await verified(runner, stored, case, reduced.trial, remedy) for remedy in remedies]
    cures = () if checked else await find_cures(runner, attempt, views, neighbours, where)
    findings = Findings(
        cell=result.cell,
        cause=cause,
        route=_route(reduced.trial),
        builds=stored.builds,
        where=where,
        neighbours=neighbours,
        remedies=checked,
        cures=cures,
        rescues=await _rescues(runner, stored, reduced.trial, checked, cures),
        base_types=_base_types(views, checked, cures),
        tried=_tried(runner),
        stage=str(attempt.result.stage or ""),
        told=told(reduced.trial),
        rom=rom_note(views, _route(reduced.trial), cause),
        own=own_properties(reduced.trial),
        unseen=views[0].problem or views[1].problem,
    )
    return _explained(runner, case, reduced, findings, len(found), untried)


def _fails_told_otherwise(runner: TrialRunner, first: Attempt) -> bool:
    """Whether it fails in another way than it did, of sides that are told otherwise: a race may decide which."""
    return first.result.verdict is Verdict.FAIL and bool(told(spelt_out(first.trial, runner.builds)))


def _never_started(first: Attempt) -> tuple[str, ...]:
    """Builds of a path whose start the failure does not show: a source that does not save has no destination."""
    saving = first.result.stage is Stage.SAVE or first.result.verdict is Verdict.BLOCKED
    return tuple(dict.fromkeys(_route(first.trial)[1:])) if saving else ()


def _route(trial: Trial) -> tuple[str, ...]:
    return tuple(step.build for step in trial.path)


async def _told_otherwise(runner: TrialRunner, trial: Trial) -> tuple[Fix | None, tuple[str, ...]]:
    """The answer, if what the two sides are told otherwise is all that is wrong: told alike, they pass.

    With it, what this host could not try: one side's settings may need more than it has (postcopy, huge pages).
    """
    differences = told(trial)
    route = _route(trial)
    untried: list[str] = []
    for side in (Side.SOURCE, Side.DESTINATION) if differences else ():
        try:
            attempt = await runner.one(f"told as the {side}", alike(trial, side))
        except InfrastructureError as err:
            untried.append(f"not tried here: {err}")
            continue
        if attempt.passed:
            return replace(told_fix(differences, route, side), caveats=tuple(untried)), ()
    return None, tuple(untried)


async def _like(
    runner: TrialRunner, stored: Stored, case: Case, reduced: Reduced, known: Explanation
) -> Explanation:
    """The explanation of another cell with the same reproducer; only its remedies are verified anew, for this cell."""
    checked = [
        await verified(runner, stored, case, reduced.trial, replace(r, rows=())) for r in known.remedies
    ]
    more = f"the reproducer is that of {known.cell}: what was tried there was not tried again"
    return replace(
        _explanation(runner, case, reduced.record, reproduced=True),
        where=known.where,
        neighbours=known.neighbours,
        candidates=known.candidates,
        remedies=tuple(checked),
        cures=known.cures,
        rescues=known.rescues,
        told=known.told,
        fix=replace(known.fix, caveats=(*known.fix.caveats, more)),
        commands=tuple(_commands(runner, reduced.attempt)),
    )


def _base_types(
    views: tuple[MachineView, MachineView], remedies: Sequence[Remedy], cures: Sequence[Cure]
) -> dict[str, tuple[str, ...]]:
    """The types of settings with their base types, by either side's build."""
    types = [s.type for r in remedies for s in r.settings] + [c.broken.type for c in cures]
    return {type_: max((view.base_types(type_) for view in views), key=len) for type_ in types}


def _explained(
    runner: TrialRunner,
    case: Case,
    reduced: Reduced,
    findings: Findings,
    candidates: int,
    untried: tuple[str, ...],
) -> Explanation:
    fix = make_fix(findings)
    return replace(
        _explanation(runner, case, reduced.record, reproduced=True),
        where=tuple(findings.where),
        neighbours=tuple(findings.neighbours),
        candidates=candidates,
        remedies=tuple(findings.remedies),
        cures=tuple(findings.cures),
        rescues=tuple(findings.rescues),
        told=findings.told,
        fix=replace(fix, caveats=(*fix.caveats, *untried)),
        commands=tuple(_commands(runner, reduced.attempt)),
    )


def _tried(runner: TrialRunner) -> int:
    """How many settings were run, without those that the build refused to start with."""
    tried = (a for a in runner.journal if a.purpose == PURPOSE)
    return sum(a.result.verdict is not Verdict.UNSUPPORTED for a in tried)


def _reproduces(attempt: Attempt, result: CellResult) -> bool:
    """Whether it fails as it did; the stored signature may be of a migmatrix that wrote it otherwise."""
    known = {result.signature, signature(result.cause) if result.cause else None}
    return attempt.result.verdict is result.verdict and attempt.result.signature in known


def _not_reproduced(runner: TrialRunner, case: Case, first: Attempt) -> Explanation:
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
    return replace(_explanation(runner, case, record, reproduced=False), fix=fix)


def _explanation(runner: TrialRunner, case: Case, record: Reproducer, *, reproduced: bool) -> Explanation:
    result = case.result
    return Explanation(
        cell=result.cell.id,
        signature=result.signature or "",
        kind=case.problem.kind,
        cells=len(case.problem.results),
        repeats=case.problem.repeats,
        verdict=result.verdict.value,
        message=result.cause.message if result.cause else "",
        stage=result.stage.value if result.stage else "",
        migration=result.failing_pair or result.cell.path[:2],
        reproduced=reproduced,
        reproducer=record,
        hops=runner.legs,
        emulators=runner.emulators,
        journal=tuple(
            f"{a.purpose}: {a.trial.machine} {a.trial.route}: {a.result.verdict}"
            f" {a.result.signature or ''}".rstrip()
            + f" ({a.hops} legs)"
            for a in runner.journal
        ),
    )


async def _where(runner: TrialRunner, attempt: Attempt) -> tuple[Difference, ...]:
    """Both sides' values, those that the message does not point to bounded."""
    found = await sent_and_own(runner, attempt, attempt.trial.path[-1])
    blamed = [d for d in found if d.blamed]
    return (*blamed, *[d for d in found if not d.blamed][:_SHOWN])


async def _views(runner: TrialRunner, attempt: Attempt) -> tuple[MachineView, MachineView]:
    """The two sides' machines; empty ones for a device that says itself that no migration is possible."""
    trial, cause = attempt.trial, attempt.result.cause
    if attempt.result.verdict is Verdict.BLOCKED or (cause is not None and cause.kind == "blocked"):
        return MachineView(), MachineView()
    source = await runner.view(trial.path[0], trial.machine, trial.arguments)
    return source, await runner.view(trial.path[-1], trial.machine, trial.arguments)


async def _rescues(
    runner: TrialRunner, stored: Stored, trial: Trial, remedies: Sequence[Remedy], cures: Sequence[Cure]
) -> tuple[Rescue, ...]:
    """Other builds for a guest that no setting of its destination helps, if the source's settings are known.

    A source without a property behaves as a cured build does with the property taken away.
    """
    if any(r.side is Side.DESTINATION for r in remedies) or not (remedies or cures):
        return ()
    broken: list[tuple[Setting, ...]] = [(c.broken,) for c in cures if c.side is Side.SOURCE]
    settings = remedies[0].instead_of if remedies else next(iter(broken), ())
    return await find_rescues(runner, trial, settings, stored.build_ids)


def _commands(runner: TrialRunner, attempt: Attempt) -> Iterator[str]:
    """The emulators' own command lines, in the order of the legs."""
    for key in attempt.result.legs:
        evidence = runner.evidence(key)
        for emulator in evidence.emulators if evidence else ():
            yield shlex.join(emulator.argv)
