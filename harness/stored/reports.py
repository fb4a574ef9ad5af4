# SPDX-License-Identifier: Apache-2.0
"""What can be made of a stored run without running anything: its results, its reports, its verdicts once more.

with open_run(directory) as run:
    changed, report = judge(run)
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migmatrix.harness.errors import ExitCode
from migmatrix.harness.judge import judge_cell, named_by, table_digest
from migmatrix.harness.known import apply, as_flaky, exit_code, load_known, unmatched
from migmatrix.harness.model import Outcome, Profile, Verdict
from migmatrix.harness.report import (
    BuildRow,
    Dropped,
    ExplanationNote,
    HostFacts,
    KnownIssueNote,
    LegCounts,
    RunReport,
    write_reports,
)
from migmatrix.harness.select import Selection
from migmatrix.harness.store import RunStore
from migmatrix.harness.tested import Demand

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migmatrix.harness.known import KnownIssue
    from migmatrix.harness.model import CellResult, LegEvidence

__all__ = [
    "closing_code",
    "evidence_of",
    "judge",
    "judge_again",
    "known_notes",
    "load_report",
    "open_run",
    "restate",
    "results",
    "rewrite_reports",
    "selected",
    "still_flaky",
]


_TOLD = "flaky"  # cell id -> signature and reason
_RED = (Outcome.REGRESSION, Outcome.WRONG_FAILURE)


def open_run(directory: Path) -> RunStore:
    """Open the run in a directory, as a context manager; UserError when it holds none."""
    return RunStore.open(directory)


def results(directory: Path) -> list[CellResult]:
    """Read the results of a run in the order in which its cells finished; UserError when there is no run."""
    with open_run(directory) as run:
        return list(run.results())


def load_report(run: RunStore) -> RunReport:
    """The record that every renderer gets."""
    meta = run.meta()
    legs = meta.get("hops", {"executed": 0, "reused": 0})
    started = datetime.fromisoformat(meta["started"])
    found = list(run.results())
    return RunReport(
        matrix=meta["matrix"],
        matrix_file=meta["matrix_file"],
        title=_title(meta["matrix"]),
        started=started,
        finished=datetime.fromisoformat(meta["finished"]) if "finished" in meta else started,
        results=found,
        cells_planned=meta["cells_planned"],
        builds=[BuildRow(**row) for row in meta["builds"]],
        host=_host(meta),
        legs=LegCounts(legs["executed"], legs["reused"]),
        exit_code=meta.get("exit_code", 3),
        command=meta["command"],
        harness_version=meta["version"],
        run_dir=str(run.directory),
        seed=meta["seed"],
        shard=meta["shard"],
        selection=meta["selection"],
        paths=meta.get("paths", ()),
        unmet=_unmet(meta, found),
        missing_shards=meta.get("missing_shards", ()),
        profiles=[_profile(row) for row in meta["profiles"]],
        dropped=[Dropped(row["what"], row["reason"], row["cells"]) for row in meta["dropped"]],
        known_issues=[KnownIssueNote(**row) for row in meta.get("known_issues", ())],
        explanations=_explanations(run.directory),
        numbers=run.numbers(),
        interrupted=meta.get("interrupted", True),
        evidence=lambda result: evidence_of(run, result),
    )


def _title(matrix: str) -> str:
    """What a report is about; the default matrix is called ``matrix`` after its file."""
    return "Migration matrix" if matrix == "matrix" else f"Migration matrix {matrix}"


def rewrite_reports(run: RunStore) -> RunReport:
    """Write the reports of a run anew from what it holds, and return what they were made of; UserError for a signed one."""
    run.refuse_signed()
    report = load_report(run)
    write_reports(report, run.directory)
    return report


def selected(run: RunStore, terms: Sequence[str]) -> RunReport:
    """The record of some cells of a run, as if no others had been asked for; UserError for a term without a result."""
    whole, meta = load_report(run), run.meta()
    selection = Selection.parse(terms)
    selection.refuse_lonely([result.cell for result in whole.results])
    found = [result for result in whole.results if selection.selects_result(result)]
    meta = {**meta, "selection": [*meta["selection"], *terms]}
    return replace(
        whole,
        results=found,
        cells_planned=len(found) if "finished" in meta else whole.cells_planned,
        selection=meta["selection"],
        unmet=_unmet(meta, found),
        exit_code=_exit_code(meta, found),
    )


def evidence_of(run: RunStore, result: CellResult) -> Sequence[LegEvidence]:
    """The legs that a result rests on, as far as the run has them; a plain start of one build may be all."""
    found = [(index, run.evidence(key)) for index, key in enumerate(result.legs)]
    migrated = result.verdict not in (Verdict.UNSUPPORTED, Verdict.ERROR)
    return [
        named_by(result.cell.path[index:], evidence) if migrated else evidence
        for index, evidence in found
        if evidence is not None
    ]


def _explanations(directory: Path) -> dict[str, list[ExplanationNote]]:
    """What `migmatrix explain` left in the run, by signature."""
    found: dict[str, list[ExplanationNote]] = {}
    for path in sorted((directory / "explain").glob("*.json")):
        data = json.loads(path.read_text())
        note = ExplanationNote(data["fix"]["summary"], tuple(data["text"]), data)
        found.setdefault(data["signature"], []).append(note)
    return found


def _host(meta: Mapping[str, Any]) -> HostFacts:
    engine = meta.get("engine", {})
    name = " ".join(engine[key] for key in ("engine", "engine_version") if key in engine)
    return HostFacts(kernel=meta["host"]["kernel"], cpus=meta["host"]["cpus"], engine=name or "none")


def _profile(row: Mapping[str, Any]) -> Profile:
    return Profile(row["name"], tuple(row["args"]), tuple(row["machines"]), row["description"])


def judge(
    run: RunStore, known_issues: Path | None = None
) -> tuple[list[tuple[CellResult, CellResult]], RunReport]:
    """Judge a run from its evidence and write its reports anew.

    Returns (before, after) of the results that changed, and the new report. `known_issues` is the file to judge by,
    by default the one that the run was made with; UserError when it cannot be read.
    """
    file = known_issues or (Path(text) if (text := run.meta()["known_issues_file"]) else None)
    return judge_again(run, file), rewrite_reports(run)


def judge_again(run: RunStore, known_issues: Path | None) -> list[tuple[CellResult, CellResult]]:
    """Judge every cell from its evidence, store the results, return (before, after) of those that changed.

    Without `known_issues` no failure counts as known.
    """
    meta = run.meta()
    known = load_known(known_issues) if known_issues else ()
    today = date.today()  # noqa: DTZ011 - an expiry is a local day
    before = {result.cell: result for result in run.results()}
    after = [
        apply(judge_cell(cell, basis.legs, basis.probes), known, today, meta["policy"]["blocked"])
        for cell, basis in run.judged()
    ]
    after = still_flaky(run, after, known)
    run.replace_results(after)
    notes = [asdict(note) for note in known_notes(known, after)]
    code = int(_exit_code(meta, after))
    run.set_meta({"known_issues": notes, "exit_code": code, "patterns": table_digest()})
    changed = [(before[result.cell], result) for result in after]
    return [(old, new) for old, new in changed if _said(old) != _said(new)]


def still_flaky(
    run: RunStore, results: Sequence[CellResult], known: Sequence[KnownIssue]
) -> list[CellResult]:
    """The results, of which those stay flaky that a history told to be (`restate`) and that fail as they did."""
    told, today = run.meta().get(_TOLD, {}), date.today()  # noqa: DTZ011 - an expiry is a local day
    return [
        as_flaky(result, known, today, why[1])
        if (why := told.get(result.cell.id)) and why[0] == result.signature and result.outcome in _RED
        else result
        for result in results
    ]


def restate(run: RunStore, flaky: Mapping[str, str]) -> RunReport:
    """Make red cells flaky, by id with the reason, as a history tells; write the reports anew and return them."""
    before, meta = list(run.results()), run.meta()
    told = {
        result.cell.id: [result.signature, flaky[result.cell.id]]
        for result in before
        if result.cell.id in flaky
    }
    run.set_meta({_TOLD: told})
    file = meta["known_issues_file"]
    known = load_known(Path(file)) if file and told else ()
    after = still_flaky(run, before, known)
    run.replace_results(after)
    run.set_meta({"exit_code": int(_exit_code(meta, after))})
    return rewrite_reports(run)


def _said(result: CellResult) -> tuple[object, ...]:
    """What a change of is worth telling: not the seconds, which a shard may have measured another time."""
    return result.outcome, result.verdict, result.signature


def _exit_code(meta: Mapping[str, Any], results: Sequence[CellResult]) -> ExitCode:
    """A run that was cut short stays so, however its cells are judged."""
    if meta.get("interrupted"):
        return ExitCode.INTERRUPTED
    complete = "finished" in meta and not meta.get("missing_shards")
    return closing_code(meta, results) if complete else ExitCode.INCOMPLETE


def closing_code(meta: Mapping[str, Any], results: Sequence[CellResult]) -> ExitCode:
    """The exit code of a run that came to its end, by the policy that it keeps."""
    return exit_code(results, _demands(meta), part=_part(meta), shard=bool(meta["shard"]))


def _part(meta: Mapping[str, Any]) -> bool:
    return bool(meta["shard"] or meta["selection"] or meta.get("paths"))


def _demands(meta: Mapping[str, Any]) -> list[Demand]:
    """What the policy of the run demands; runs of before have none."""
    return [Demand.from_json(row) for row in meta["policy"].get("must_pass", ())]


def _unmet(meta: Mapping[str, Any], results: Sequence[CellResult]) -> list[str]:
    return [said for demand in _demands(meta) if (said := demand.unmet(results, part=_part(meta)))]


def known_notes(known: Sequence[KnownIssue], results: Sequence[CellResult]) -> list[KnownIssueNote]:
    """How each entry of the known-issues file fared."""
    used = {r.known_issue for r in results if r.outcome is not Outcome.FIXED}
    stale = {entry.id for entry in unmatched(known, results)}
    today = date.today()  # noqa: DTZ011 - an expiry is a local day
    return [
        KnownIssueNote(
            entry.id,
            "expired" if entry.expired(today) else _state(entry, stale, used),
            entry.reason,
            entry.link,
            entry.owner,
            entry.expires.isoformat(),
        )
        for entry in known
    ]


def _state(entry: KnownIssue, stale: set[str], used: set[str | None]) -> str:
    idle = entry.id not in used and not entry.of_flaky  # a flaky cell passes on most nights
    return "unmatched" if entry.id in stale or idle else "active"
