# SPDX-License-Identifier: Apache-2.0
"""What happened to a cell, computed from evidence alone; start from `judge_cell`.

`judge_cell` combines the judgements of a cell's legs (`judge_leg`); a failing leg gets its cause from `classify`,
whose table of messages is data (`patterns.yaml`); `signature` makes equal problems equal, and `family` tells which may be,
where it `tells_place`. Everything here is
pure: the same evidence gives the same answer, so an old run can be judged again.
"""

from migmatrix.harness.judge.cell import CellJudgement, judge_cell
from migmatrix.harness.judge.classify import classify
from migmatrix.harness.judge.leg import LegJudgement, doubtful, flaky, judge_leg, started
from migmatrix.harness.judge.names import named_by
from migmatrix.harness.judge.signature import family, signature, tells_place
from migmatrix.harness.judge.table import table_digest

__all__ = [  # noqa: RUF022 - the most important first
    "judge_cell",
    "CellJudgement",
    "judge_leg",
    "LegJudgement",
    "started",
    "doubtful",
    "flaky",
    "classify",
    "signature",
    "family",
    "tells_place",
    "named_by",
    "table_digest",
]
