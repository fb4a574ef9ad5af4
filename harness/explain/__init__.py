# SPDX-License-Identifier: Apache-2.0
"""Why a cell fails and what to do about it, every answer proved by running it. Start from `explain_run`.

`explain_cell` is the whole of it on one screen: reproduce, `reduce`, `where`, `contrast`, `candidates`, `search`,
`cure`, `row`, `fix`. `kinds` says which cells are one problem; `saves` runs and loads the two streams that `where`
compares. `ddmin` and `options` are pure and know nothing of migration.
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

__all__ = [  # noqa: RUF022 - the most important first
    "explain_run",
    "ExplainOptions",
    "explain_cell",
    "Explanation",
    "Remedy",
    "render",
    "load_explanations",
    "representatives",
    "problems",
    "Problem",
    "Case",
    "Budget",
]
