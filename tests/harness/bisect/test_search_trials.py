# SPDX-License-Identifier: Apache-2.0
"""Thirty seeded trials on 64 points for each way in which a history can be hard: right in every one.

The runs are printed beside the fewest that theory allows; `pytest -s` shows them. The bounds on the median are what
was measured plus a little, so that a change that makes searches dearer is seen.
"""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest
from simulation import drawn, search

from migmatrix.harness.bisect import Kind, Rules

TRIALS = 30
FLAKY = Rules(flaky=True)


@pytest.mark.parametrize(
    ("scenario", "world", "rules", "most"),
    [
        ("one culprit", {}, Rules(), 6),
        ("skips", {"holes": 0.3}, Rules(), 10),
        ("a second failure", {"masked": 12}, Rules(), 9),
        ("failures at 0.5", {"failing": 0.5}, Rules(), 45),
        ("failures at 0.5, told", {"failing": 0.5}, FLAKY, 45),
        ("false failures at 0.02", {"false": 0.02}, Rules(), 9),
        ("both", {"failing": 0.5, "false": 0.02}, Rules(), 55),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_right_in_every_trial(scenario: str, world: dict[str, Any], rules: Rules, most: int) -> None:
    searched, least, total = [], [], []
    for seed in range(TRIALS):
        made = drawn(scenario, seed, **world)
        finding, runs = search(made, f"{scenario} {seed}", rules)
        assert finding.culprits == made.answer, f"seed {seed}: {finding}"
        assert finding.kind is (Kind.FOUND if len(made.answer) == 1 else Kind.RANGE)
        assert finding.confidence >= rules.confidence
        assert finding.signature == "the failure"
        assert finding.runs == len(runs)
        searched.append(finding.search_runs)
        least.append(finding.minimum)
        total.append(finding.runs)
    print(
        f"\n{scenario}: {TRIALS} of {TRIALS} right; runs to search: median {median(searched):g},"
        f" most {max(searched)}, theoretical minimum {median(least):g};"
        f" with ends and confirmation: median {median(total):g}, most {max(total)}"
    )
    assert median(searched) <= most
