# SPDX-License-Identifier: Apache-2.0
"""The search as a pure function: properties that hold for every history, and the corners of the procedure."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation import FOLLOWED, OTHER, World, search

from migmatrix.harness.bisect import Finding, Kind, Rules, Run, Shown, Want, decide
from migmatrix.harness.bisect.decide import ahead
from migmatrix.harness.bisect.search import Certain, Noisy, Seen, look
from migmatrix.harness.bisect.theory import capacity, minimum_runs

# How fast a machine is, is not what is tested.
PATIENT = settings(max_examples=40)
ONCE = Rules(verify=1, confirm=1, confidence=0.5)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    size = draw(st.integers(2, 80))
    inner = st.frozensets(st.integers(1, max(size - 2, 1)), max_size=size)
    culprit = draw(st.integers(1, size - 1))
    silent = draw(inner) - {0, size - 1}
    masked = draw(st.sets(st.sampled_from(sorted(silent)))) if silent else set()
    return World(size, culprit, silent - masked, frozenset(masked), broke=draw(st.booleans()))


@PATIENT
@given(worlds())
def test_a_history_without_flakes_is_searched_rightly(world: World) -> None:
    """Whatever cannot be tested, whichever way the verdict turns: culprit and nothing but what hides it."""
    finding, _ = search(world, 0)
    assert finding.culprits == world.answer
    assert finding.broke == world.broke
    assert finding.parent == world.answer[0] - 1
    assert not finding.flaky


@PATIENT
@given(st.integers(2, 200), st.data())
def test_a_search_without_skips_takes_the_logarithm(size: int, data: st.DataObject) -> None:
    world = World(size, data.draw(st.integers(1, size - 1)))
    finding, _ = search(world, 0)
    assert finding.search_runs <= math.ceil(math.log2(size - 1)) if size > 2 else finding.search_runs == 0
    assert finding.search_runs <= finding.minimum


observations = st.lists(st.tuples(st.integers(0, 19), st.sampled_from(Seen)), max_size=60)


@PATIENT
@given(observations, st.booleans())
def test_a_posterior_is_a_probability(seen: list[tuple[int, Seen]], broke: bool) -> None:
    belief = look(20, seen, Noisy(broke))
    assert math.isclose(sum(belief.posterior), 1)
    assert min(belief.posterior) >= 0
    certain = look(20, seen, Certain(broke))
    assert certain.contradictory or math.isclose(sum(certain.posterior), 1)


@PATIENT
@given(observations)
def test_the_next_point_can_be_tested(seen: list[tuple[int, Seen]]) -> None:
    belief = look(20, seen, Noisy())
    if belief.testable:
        assert belief.next() in belief.testable


@PATIENT
@given(observations)
def test_the_order_of_runs_does_not_matter(seen: list[tuple[int, Seen]]) -> None:
    turned = look(20, reversed(seen), Noisy())
    assert look(20, seen, Noisy()).posterior == turned.posterior


@PATIENT
@given(observations)
def test_early_and_late_are_mirror_images(seen: list[tuple[int, Seen]]) -> None:
    """A defect that appears and one that goes away, looked at from the other end, are the same search."""
    tested = [(p, s) for p, s in seen if s is not Seen.SKIP]
    one = look(20, tested, Noisy()).posterior
    other = look(20, [(19 - p, s) for p, s in tested], Noisy(broke=False)).posterior
    # the hypotheses "none" and "all" weigh the same, so the distributions are each other's mirror
    assert one == pytest.approx(other[::-1])


@PATIENT
@given(worlds(), st.integers(0, 100))
def test_a_search_goes_on_from_any_prefix_of_its_runs(world: World, cut: int) -> None:
    """Rule 1: nothing is remembered but the runs."""
    finding, runs = search(world, 0)
    kept = runs[: min(cut, len(runs))]
    while not isinstance(step := decide(world.size, kept, Rules()), Finding):
        made = world.run(step.point, random.Random(0))
        kept.append(Run(made.point, made.shown, made.signature, made.reason, step.why))
    assert (step, kept) == (finding, runs)


@PATIENT
@given(worlds())
def test_what_comes_next_was_known_before(world: World) -> None:
    """The next point is one of at most two or was run before, unless a run shows neither pass nor the failure."""
    _, runs = search(world, 0)
    for number in range(len(runs) - 1):
        before, after = runs[:number], decide(world.size, runs[: number + 1], Rules())
        step = decide(world.size, before, Rules())
        assert isinstance(step, Want)
        later = ahead(world.size, before, Rules(), step)
        assert len(later) <= 2
        expected = runs[number].shown is Shown.PASS or runs[number].signature == FOLLOWED
        if expected and number > 2 * Rules().verify and isinstance(after, Want):
            assert after.point in {*later, step.point, *(run.point for run in before)}


def test_ends_that_both_pass_are_no_history() -> None:
    finding, runs = search(World(8, 8), 0)
    assert finding.kind is Kind.NO_CHANGE
    assert {run.point for run in runs} == {0, 7}
    assert "0 of 15 and 0 of 15" in finding.text


def test_an_end_that_fails_rarely_is_given_more_runs() -> None:
    """Three passes of an end that fails every fourth time are not yet believed."""
    finding, _ = search(World(8, 5, failing=0.25), "rare", Rules(budget=2000))
    assert finding.kind is Kind.FOUND
    assert finding.culprits == (5,)


def test_an_end_with_another_failure_is_refused() -> None:
    world = World(8, 5, masked=frozenset({0}))
    finding, _ = search(world, 0)
    assert (finding.kind, finding.culprits) == (Kind.END_UNTESTABLE, (0,))
    assert OTHER in finding.text


def test_an_end_without_a_build_is_refused() -> None:
    finding, _ = search(World(8, 5, untestable=frozenset({7})), 0)
    assert (finding.kind, finding.culprits) == (Kind.END_UNTESTABLE, (7,))


def test_the_signature_of_the_user_is_followed() -> None:
    """The later end shows another failure than the one that is asked for: it cannot be an end."""
    finding, _ = search(World(8, 5), 0, Rules(signature=OTHER))
    assert finding.kind is Kind.END_UNTESTABLE


def test_a_budget_ends_in_a_range_that_holds_the_culprit() -> None:
    finding, runs = search(World(64, 40, failing=0.5), 1, Rules(budget=25, flaky=True))
    assert finding.kind is Kind.RANGE
    assert len(runs) == 25
    assert 40 in finding.culprits
    assert 1 < len(finding.culprits) < 63
    assert finding.confidence >= 0.99
    assert "budget of 25" in finding.text


def test_a_contradiction_makes_the_search_bayesian() -> None:
    """Both ends are as they should be, and the culprit's parent fails once when it is run again."""
    runs = [Run(0, Shown.PASS, why="end"), Run(3, Shown.FAIL, FOLLOWED, why="end")]
    runs += [Run(1, Shown.PASS, why="search"), Run(2, Shown.FAIL, FOLLOWED, why="search")]
    assert isinstance(step := decide(4, runs, ONCE), Finding)
    assert not step.flaky
    runs.append(Run(1, Shown.FAIL, FOLLOWED, why="confirm"))
    assert not isinstance(again := decide(4, runs, Rules(1, 1)), Finding) or again.flaky


def test_skips_lead_away_from_where_nothing_can_be_tested() -> None:
    """Twenty masked points in the middle cost a few runs, not twenty."""
    finding, _ = search(World(64, 60, masked=frozenset(range(22, 42))), 0)
    assert finding.culprits == (60,)
    assert finding.search_runs <= 12


def test_capacity_is_that_of_known_channels() -> None:
    """Noiseless, Z-channel at 1/2 (log2(5/4)) and binary symmetric at 0.11 (1/2), from any textbook."""
    assert capacity(1, 0) == pytest.approx(1)
    assert capacity(0.5, 0) == pytest.approx(math.log2(1.25), abs=1e-4)
    assert capacity(0.89, 0.11) == pytest.approx(0.5, abs=1e-3)
    assert minimum_runs(63) == 6
    assert minimum_runs(64) == 6
    assert minimum_runs(1) == 0
    with pytest.raises(ValueError, match="equal"):
        minimum_runs(2, 0.5, 0.5)
