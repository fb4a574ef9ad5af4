# SPDX-License-Identifier: Apache-2.0
"""Legs that a run still expects: after all cells, exactly those that were done."""

from __future__ import annotations

from migmatrix.harness.model import Cell
from migmatrix.harness.plan import Plan
from migmatrix.harness.run.expected import Expected

CHAIN, PAIR = Cell("m", "p", ("A", "B", "C")), Cell("m", "p", ("A", "B"))


def plan() -> Plan:
    """Two cells with a common beginning; each build has a probe."""
    legs = {CHAIN: ("a", "ab", "abc"), PAIR: ("a", "ab")}
    return Plan((CHAIN, PAIR), {}, legs, {("m", "p", build): f"probe-{build}" for build in "ABC"})


def test_what_lies_behind_a_failure_is_spared_when_its_last_cell_is_done() -> None:
    expected = Expected(plan())
    for key in ("probe-A", "probe-B", "probe-C", "a"):
        expected.leg_done(key)

    assert expected.cell_done(CHAIN) == 1  # abc; ab may still run for the pair
    assert expected.cell_done(PAIR) == 1


def test_nothing_is_spared_when_all_was_done() -> None:
    expected = Expected(plan())
    for key in ("probe-A", "probe-B", "probe-C", "a", "ab", "abc"):
        expected.leg_done(key)

    assert expected.cell_done(CHAIN) + expected.cell_done(PAIR) == 0
