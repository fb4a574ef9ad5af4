# SPDX-License-Identifier: Apache-2.0
"""`migmatrix explain`: from a stored run to explanations, which the run keeps as ``explain/<problem>.json``.

One cell stands for its problem (`kinds`): the one with the shortest path, the first of those in the run.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from migmatrix.harness.compat.static import StaticTools
from migmatrix.harness.errors import InfrastructureError, UnusableBuild, UserError
from migmatrix.harness.explain.contrast import Stored
from migmatrix.harness.explain.explain import explain_cell
from migmatrix.harness.explain.kinds import EXPLAINED, Problem, problems
from migmatrix.harness.explain.records import FORMAT, from_json
from migmatrix.harness.explain.render import render
from migmatrix.harness.explain.row import Budget, Case
from migmatrix.harness.explain.told import told
from migmatrix.harness.files import PUBLIC, write_whole
from migmatrix.harness.model import Guest, Verdict
from migmatrix.harness.run.definition import Origin, sides_of_run
from migmatrix.harness.run.opening import opened
from migmatrix.harness.run.runner import Settings
from migmatrix.harness.trials.records import Step, Trial, trial_of
from migmatrix.harness.trials.runner import TrialRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from migmatrix.harness.explain.records import Explanation
    from migmatrix.harness.model import CellResult
    from migmatrix.harness.store import RunStore

__all__ = ["ExplainOptions", "explain_run", "load_all", "load_explanations", "representatives"]

_DIRECTORY = "explain"
ALONE = "cell that a step of its path explains"


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """What the command line says; `file` replaces the matrix that the run was made of."""

    store: Path
    file: Path | None = None
    jobs: int = 2
    budget: Budget = field(default_factory=Budget)


def representatives(
    run: RunStore, results: Iterable[CellResult], file: Path | None = None
) -> list[CellResult]:
    """One failing or blocked result of a run per problem; `results` may be a part of it, `file` replaces its matrix."""
    found = problems(results, list(run.results()), _apart(run, file))
    return [problem.representative for problem in found]


def _apart(run: RunStore, file: Path | None) -> Callable[[CellResult], str]:
    """What the two sides of a result are told otherwise, as one text; empty for most."""
    args, modes = sides_of_run(run, file)

    @cache
    def text(path: tuple[str, ...], mode: str) -> str:
        steps = tuple(Step(build, args=args[build]) for build in path)
        trial = Trial(machine="", arguments=(), path=steps, mode=modes[mode], guest=Guest("paused", "paused"))
        return "; ".join(one.text for one in told(trial))

    return lambda result: text(result.cell.path[: (result.hop or 1) + 1], result.cell.mode)


async def explain_run(
    run: RunStore,
    wanted: Sequence[CellResult],
    options: ExplainOptions,
    log: Callable[[str], None],
    tell: Callable[[Explanation], None],
) -> None:
    """Explain results of a run one after another; each is kept and told of as soon as it is there.

    No stored leg is reused: every leg is done anew, in a store that lives as long as the explanation, so that a failure
    of one bad moment of the host gets no reason. An explanation of another problem with the same reproducer is
    reused: its builds are the same. UserError for a signed run. One that the host ended is told of and the others go on; InfrastructureError at the
    end, then.
    """
    run.refuse_signed()
    ended: list[str] = []
    for result in wanted:
        if result.verdict not in EXPLAINED:
            raise UserError(f"{result.cell.id!r} is {result.verdict.value}: there is nothing to explain")
    origin = Origin.of_run(run, options.file, options.store / "builds", log)
    stored = Stored({result.cell: result for result in run.results()}, origin.builds)
    apart = _apart(run, options.file)
    found = {
        r.cell: problem for problem in problems(stored.results.values(), apart=apart) for r in problem.results
    }
    earlier = load_all(run.directory)
    tools = StaticTools(origin.builds)
    async with opened(None, Settings(options.jobs, origin.deadlines, origin.retries), log) as where:
        for result in wanted:
            problem = found.get(result.cell) or Problem(ALONE, (result,))
            case = Case(result, problem, trial_of(origin, result.cell), options.budget, tuple(earlier))
            try:
                with where.with_empty_store() as fresh:
                    explanation = await explain_cell(TrialRunner(origin.builds, fresh, log), stored, case)
            except InfrastructureError as err:
                ended.append(f"{result.cell.id!r} is not explained: {err}")
                continue
            if explanation.reproduced:
                static = await asyncio.to_thread(_static, tools, result)
                explanation = replace(explanation, machines=stored.alike(result), static=static)
            earlier.append(explanation)
            _keep(run.directory, explanation)
            tell(explanation)
    if ended:
        raise InfrastructureError("\n".join(ended))


def _static(tools: StaticTools, result: CellResult) -> str:
    """Whether static tools see what a migration that failed showed."""
    if result.verdict is not Verdict.FAIL or result.hop is None or result.cause is None:
        return ""
    try:
        return tools.sees(result).text
    except UnusableBuild as err:
        return f"static tools could not be asked: {err}"


def _keep(directory: Path, explanation: Explanation) -> None:
    folder = directory / _DIRECTORY
    folder.mkdir(exist_ok=True)
    path = folder / f"{_slug(explanation.signature, explanation.kind)}.json"
    write_whole(path, f"{json.dumps(published(explanation), indent=1)}\n".encode(), PUBLIC)


def published(explanation: Explanation) -> dict[str, Any]:
    """The published form, with the text for people."""
    return {**explanation.to_json(), "text": list(render(explanation))}


def _slug(signature: str, kind: str) -> str:
    """A file name for a problem, distinct for distinct ones."""
    words = re.sub(r"[^A-Za-z0-9.]+", "-", signature).strip("-")[:60]
    digest = hashlib.sha256(f"{signature}\0{kind}".encode()).hexdigest()
    return f"{words}-{digest[:8]}"


def load_explanations(directory: Path) -> dict[str, Explanation]:
    """The explanations that a run directory holds, by signature; ValueError for one that is damaged.

    Of several problems with one signature the one that a property repairs, else that of most cells.
    """
    found = sorted(load_all(directory), key=lambda e: (e.fix.repairable, e.cells))
    return {explanation.signature: explanation for explanation in found}


def load_all(directory: Path) -> list[Explanation]:
    """Every explanation that a run directory holds, one per problem; ValueError for one that is damaged.

    Those of another format are of another migmatrix, and passed over.
    """
    kept = (json.loads(path.read_text()) for path in sorted((directory / _DIRECTORY).glob("*.json")))
    return [from_json(data) for data in kept if data["format"] == FORMAT]
