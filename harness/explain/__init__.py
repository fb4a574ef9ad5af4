"""Why a cell fails and what to do about it, every answer proved by running it; start from `explain_run`.

`explain.explain_cell` is the whole of it on one screen: reproduce, `reduce`, `where`, `contrast`, `candidates`,
`search`, `cure`, `row`, `fix`. `kinds` says which cells are one problem. `runner.TrialRunner` runs what is not in any matrix; `ddmin` and `options` are pure and of use
elsewhere.
"""

from migmatrix.harness.explain.explain import explain_cell
from migmatrix.harness.explain.explain_run import (
    ExplainOptions,
    explain_run,
    load_explanations,
    representatives,
)
from migmatrix.harness.explain.kinds import Problem, problems
from migmatrix.harness.explain.records import Explanation, Remedy
from migmatrix.harness.explain.render import render
from migmatrix.harness.explain.row import Budget, Case
from migmatrix.harness.run.definition import Origin, definition
from migmatrix.harness.trials.records import Attempt, Setting, Side, Step, Trial
from migmatrix.harness.trials.runner import TrialRunner

__all__ = [
    "Attempt",
    "Budget",
    "Case",
    "ExplainOptions",
    "Explanation",
    "Origin",
    "Problem",
    "Remedy",
    "Setting",
    "Side",
    "Step",
    "Trial",
    "TrialRunner",
    "definition",
    "explain_cell",
    "explain_run",
    "load_explanations",
    "problems",
    "render",
    "representatives",
]
