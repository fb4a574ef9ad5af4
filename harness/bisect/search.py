# SPDX-License-Identifier: Apache-2.0
"""The search itself: (points, observations) -> what is believed and which point to run next. Pure, no I/O.

1. Points are numbered 0..size-1, from early to late. Somewhere between the two ends the verdict changes, once: the
   points before the change fail at one rate, its point and all after it at another.
2. A point that was only skipped is untestable: the change may be in it, but nothing is guessed. Points that cannot be
   told apart are one hypothesis, a *block*: a testable point and the untestable ones right before it.
3. Every point is as likely as any other to have made the change, so a block weighs as many points as it has.
4. `Certain` believes every run; a run that does not fit leaves no hypothesis, and so shows flakiness. `Noisy` knows
   neither rate: each has a Beta prior and is integrated out (Beta-Bernoulli, in closed form).
5. The next point is the one whose run tells most, in bits: the entropy of its outcome minus the noise. Near a skipped
   point it counts for less, because untestable points come in stretches.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from math import exp, inf, lgamma, log, log2
from typing import TYPE_CHECKING, Protocol

from migmatrix.harness.bisect.theory import bits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Belief", "Beta", "Certain", "Model", "Noisy", "Seen", "Tally", "look"]


class Seen(StrEnum):
    """What one run of one point showed: `skip` is anything that says neither."""

    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Tally:
    """How often a set of runs was good and bad."""

    good: int = 0
    bad: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.good + other.good, self.bad + other.bad)

    def __sub__(self, other: Tally) -> Tally:
        return Tally(self.good - other.good, self.bad - other.bad)

    @property
    def runs(self) -> int:
        """Good and bad together."""
        return self.good + self.bad


class Model(Protocol):
    """What is believed of the runs of one side; `late` says which: the points from the change on, or those before."""

    def evidence(self, tally: Tally, *, late: bool) -> float:
        """Natural logarithm of the probability of these runs, in their order."""

    def rate(self, tally: Tally, *, late: bool) -> float:
        """Probability that the next run fails, after these."""


@dataclass(frozen=True, slots=True)
class Certain:
    """One side always fails and the other never does; the late one when the change `broke` something."""

    broke: bool = True

    def evidence(self, tally: Tally, *, late: bool) -> float:
        """0 when all runs fit, minus infinity otherwise."""
        return -inf if (tally.good if late == self.broke else tally.bad) else 0.0

    def rate(self, tally: Tally, *, late: bool) -> float:
        """1 on the failing side, 0 on the other."""
        del tally
        return float(late == self.broke)


@dataclass(frozen=True, slots=True)
class Beta:
    """A prior for a rate of failures, as if `bad` failures had been seen and `good` passes."""

    bad: float
    good: float

    def evidence(self, tally: Tally) -> float:
        """Logarithm of the Beta-Bernoulli probability of a sequence of runs."""
        return _log_beta(self.bad + tally.bad, self.good + tally.good) - _log_beta(self.bad, self.good)

    def rate(self, tally: Tally) -> float:
        """Posterior mean."""
        return (self.bad + tally.bad) / (self.bad + self.good + tally.runs)


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


@dataclass(frozen=True, slots=True)
class Noisy:
    """The failing side fails sometimes, the other may fail too; neither rate is known.

    The prior of the failing side is flat. The other says that a failure *with the followed signature* is rare where
    the defect is not; it weighs as much as five passes.
    """

    broke: bool = True
    failing: Beta = Beta(1.0, 1.0)
    other: Beta = Beta(0.25, 5.0)

    def evidence(self, tally: Tally, *, late: bool) -> float:
        """See `Beta.evidence`."""
        return self._prior(late).evidence(tally)

    def rate(self, tally: Tally, *, late: bool) -> float:
        """See `Beta.rate`."""
        return self._prior(late).rate(tally)

    def _prior(self, late: bool) -> Beta:
        return self.failing if late == self.broke else self.other


def look(size: int, observations: Iterable[tuple[int, Seen]], model: Model) -> Belief:
    """What to believe of `size` points after these runs, each a point and what it showed."""
    good: Counter[int] = Counter()
    bad: Counter[int] = Counter()
    skipped: set[int] = set()
    for point, seen in observations:
        if seen is Seen.SKIP:
            skipped.add(point)
        else:
            (good if seen is Seen.GOOD else bad)[point] += 1
    known = good.keys() | bad.keys()
    testable = tuple(i for i in range(size) if i in known or i not in skipped)
    tallies = tuple(Tally(good[i], bad[i]) for i in testable)
    return Belief(size, testable, tallies, frozenset(skipped - known), model)


@dataclass(frozen=True)
class Belief:
    """The posterior over hypotheses 0..len(testable).

    Hypothesis h says that `testable[h]` is the first testable point of the late side; 0 says that the early end is on
    it already and len(testable) that not even the late end is, so these two mean that there is no change.
    """

    size: int
    testable: tuple[int, ...]
    tallies: tuple[Tally, ...]
    skipped: frozenset[int]
    model: Model

    @cached_property
    def _before(self) -> tuple[Tally, ...]:
        """Runs of all testable points before each hypothesis."""
        return tuple(accumulate(self.tallies, initial=Tally()))

    @cached_property
    def _rates(self) -> tuple[tuple[float, float], ...]:
        """Under each hypothesis, how likely the next run fails on the early and on the late side."""
        total = self._before[-1]
        return tuple(
            (self.model.rate(left, late=False), self.model.rate(total - left, late=True))
            for left in self._before
        )

    @cached_property
    def posterior(self) -> tuple[float, ...]:
        """Probability of each hypothesis; all 0 when no hypothesis fits the runs."""
        total = self._before[-1]
        logs = [
            log(len(self.block(h)) or 1)
            + self.model.evidence(left, late=False)
            + self.model.evidence(total - left, late=True)
            for h, left in enumerate(self._before)
        ]
        top = max(logs)
        if top == -inf:
            return (0.0,) * len(logs)
        weights = [exp(value - top) for value in logs]
        whole = sum(weights)
        return tuple(weight / whole for weight in weights)

    @property
    def contradictory(self) -> bool:
        """Whether no hypothesis fits."""
        return not any(self.posterior)

    @property
    def leading(self) -> int:
        """The most likely hypothesis."""
        return max(range(len(self.posterior)), key=self.posterior.__getitem__)

    @property
    def confidence(self) -> float:
        """Probability of the leading hypothesis."""
        return self.posterior[self.leading]

    @property
    def says_no_change(self) -> bool:
        """Whether the leading hypothesis is one of the two that put the change outside of the points."""
        return self.leading in (0, len(self.testable))

    def block(self, hypothesis: int) -> range:
        """The points one of which made the change: one testable point, after the untestable ones before it."""
        if hypothesis in (0, len(self.testable)):
            return range(0)
        return range(self.testable[hypothesis - 1] + 1, self.testable[hypothesis] + 1)

    def interval(self, mass: float) -> range:
        """The shortest stretch of points that holds the change with at least this probability."""
        ends = [(h, self.block(h)) for h in range(1, len(self.testable))]
        upto = list(accumulate((self.posterior[h] for h, _ in ends), initial=0.0))
        best = range(ends[0][1].start, ends[-1][1].stop)
        for first in range(len(ends)):
            for last in range(first, len(ends)):
                found = range(ends[first][1].start, ends[last][1].stop)
                if upto[last + 1] - upto[first] >= mass and len(found) < len(best):
                    best = found
        return best

    def next(self) -> int:
        """The testable point whose run tells most; of equals the one nearest to the middle of what is left."""
        centre = sum(p * self._place(h) for h, p in enumerate(self.posterior))
        scores = [gain * self._chance(i) for i, gain in enumerate(self._gains())]
        best = max(scores)
        equal = [i for i, score in enumerate(scores) if score >= best - 1e-9]
        return self.testable[min(equal, key=lambda i: (abs(self.testable[i] - centre), i))]

    def _place(self, hypothesis: int) -> float:
        block = self.block(hypothesis)
        return (block.start + block.stop - 1) / 2 if block else (self.size if hypothesis else 0)

    def _gains(self) -> Sequence[float]:
        """For each testable point, the bits that its next run is expected to tell (rule 5).

        Mutual information of outcome and hypothesis: H(outcome) - sum of P(h) H(outcome | h), by prefix sums.
        """
        known = list(zip(self.posterior, self._rates, strict=True))
        fails = _by_point([(p * early, p * late) for p, (early, late) in known])
        noise = _by_point([(p * bits(early), p * bits(late)) for p, (early, late) in known])
        return [max(0.0, bits(fail) - lost) for fail, lost in zip(fails, noise, strict=True)]

    def _chance(self, index: int) -> float:
        """How likely a testable point can be tested: sure when it was, less the nearer and the more were skipped."""
        if self.tallies[index].runs or not self.skipped:
            return 1.0
        near = min(abs(self.testable[index] - other) for other in self.skipped)
        return near / (near + log2(1 + len(self.skipped)))


def _by_point(values: Sequence[tuple[float, float]]) -> list[float]:
    """At each point, the sum over hypotheses of what it is under each: a pair of (early side, late side).

    Point i is on the late side of hypotheses 0..i, and on the early side of the others.
    """
    late = list(accumulate(value for _, value in values))
    early = list(accumulate(value for value, _ in reversed(values)))[::-1]
    return [late[i] + early[i + 1] for i in range(len(values) - 1)]
