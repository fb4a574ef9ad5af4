"""`migmatrix explain`: from a stored run to explanations, which are kept in the run as ``explain/<signature>.json``.

One cell stands for its signature: of those that show it the one with the shortest path, the first in the run.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from harness.engines import Engines, Workspace
from harness.errors import UserError
from harness.explain.bench import Bench
from harness.explain.contrast import Stored
from harness.explain.explain import Budget, explain_cell
from harness.explain.origin import Origin
from harness.explain.records import from_json
from harness.explain.render import render
from harness.model import Verdict
from harness.runner import Settings
from harness.store import HopStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from harness.engines import Engine
    from harness.explain.records import Explanation
    from harness.model import CellResult
    from harness.store import RunStore

__all__ = ["ExplainOptions", "explain_run", "load_explanations", "representatives"]

_DIRECTORY = "explain"
_EXPLAINED = (Verdict.FAIL, Verdict.BLOCKED)


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """What the command line says; `file` replaces the matrix that the run was made of."""

    store: Path
    file: Path | None = None
    jobs: int = 2
    budget: Budget = field(default_factory=Budget)


def representatives(results: Iterable[CellResult]) -> list[CellResult]:
    """One failing or blocked result per signature, in the order in which the signatures were met."""
    chosen: dict[str, CellResult] = {}
    for result in results:
        if result.verdict in _EXPLAINED and result.signature:
            known = chosen.setdefault(result.signature, result)
            if len(result.cell.path) < len(known.cell.path):
                chosen[result.signature] = result
    return list(chosen.values())


async def explain_run(
    run: RunStore,
    wanted: Sequence[CellResult],
    options: ExplainOptions,
    log: Callable[[str], None],
    tell: Callable[[Explanation], None],
) -> None:
    """Explain results of a run one after another; each is kept and told of as soon as it is there.

    Nothing that the run stored is believed again: every hop is done anew, in a store that lives as long as the
    explanation. What came from the host's bad moment does not come twice, and then no reason is made up for it.
    """
    for result in wanted:
        if result.verdict not in _EXPLAINED:
            raise UserError(f"{result.cell.id!r} is {result.verdict.value}: there is nothing to explain")
    origin = Origin.of_run(run, options.file, options.store / "builds", log)
    stored = Stored({result.cell: result for result in run.results()}, origin.builds)
    with Workspace() as workspace:
        async with Engines(workspace, log) as engine:
            for result in wanted:
                explanation = await _explain(origin, stored, result, options, log, engine, workspace)
                _keep(run.directory, explanation)
                tell(explanation)


async def _explain(
    origin: Origin,
    stored: Stored,
    result: CellResult,
    options: ExplainOptions,
    log: Callable[[str], None],
    engine: Engine,
    workspace: Workspace,
) -> Explanation:
    settings = Settings(options.jobs, origin.deadlines, origin.retries)
    with TemporaryDirectory(prefix="migmatrix-explain-") as directory:
        bench = Bench(origin.builds, engine, HopStore(Path(directory), log), workspace, settings, log)
        return await explain_cell(bench, stored, result, origin.trial(result.cell), options.budget)


def _keep(directory: Path, explanation: Explanation) -> None:
    folder = directory / _DIRECTORY
    folder.mkdir(exist_ok=True)
    path = folder / f"{_slug(explanation.signature)}.json"
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(published(explanation), indent=1) + "\n")
    temporary.replace(path)


def published(explanation: Explanation) -> dict[str, Any]:
    """The published form, with the text for people."""
    return {**explanation.to_json(), "text": list(render(explanation))}


def _slug(signature: str) -> str:
    """A file name for a signature, distinct for distinct ones."""
    words = re.sub(r"[^A-Za-z0-9.]+", "-", signature).strip("-")[:60]
    return f"{words}-{hashlib.sha256(signature.encode()).hexdigest()[:8]}"


def load_explanations(directory: Path) -> dict[str, Explanation]:
    """The explanations that a run directory holds, by signature; ValueError for one that is damaged."""
    found = {}
    for path in sorted((directory / _DIRECTORY).glob("*.json")):
        explanation = from_json(json.loads(path.read_text()))
        found[explanation.signature] = explanation
    return found
