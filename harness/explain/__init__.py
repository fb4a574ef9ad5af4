"""Why a cell fails and what to do about it, every answer proved by running it; start from `explain_run`.

`explain.explain_cell` is the whole of it on one screen: reproduce, `reduce`, `where`, `contrast`, `candidates`,
`search`, `cure`, `row`, `fix`. `kinds` says which cells are one problem. `bench.Bench` runs what is not in any matrix; `ddmin` and `options` are pure and of use
elsewhere.
"""

from harness.explain.bench import Bench
from harness.explain.explain import explain_cell
from harness.explain.kinds import Problem, problems
from harness.explain.origin import Origin, definition
from harness.explain.records import Attempt, Explanation, Remedy, Setting, Side, Step, Trial
from harness.explain.render import render
from harness.explain.row import Budget, Case
from harness.explain.session import ExplainOptions, explain_run, load_explanations, representatives

__all__ = [
    "Attempt",
    "Bench",
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
    "definition",
    "explain_cell",
    "explain_run",
    "load_explanations",
    "problems",
    "render",
    "representatives",
]
