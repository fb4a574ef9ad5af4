# SPDX-License-Identifier: Apache-2.0
"""Plain records of a bisection: what a run of a point showed, how it is to be searched, what was found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

__all__ = ["Finding", "Kind", "Rules", "Run", "Shown", "Want"]


class Shown(StrEnum):
    """What a run of a point showed, before it is known which failure is followed."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"  # with a signature
    UNTESTABLE = "untestable"  # not built, not started, not supported


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one point; `why` is the step of the search that wanted it, `reason` text for people."""

    point: int
    shown: Shown
    signature: str = ""
    reason: str = ""
    why: str = ""
    seconds: float = 0.0
    hops: int = 0  # legs, by their published name

    def to_json(self) -> dict[str, Any]:
        """A line of the journal."""
        return asdict(self) | {"shown": self.shown.value}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Run:
        """Inverse of `to_json`; KeyError, TypeError or ValueError when `data` is not of that form."""
        return cls(**{**data, "shown": Shown(data["shown"])})


@dataclass(frozen=True, slots=True)
class Rules:
    """How to search.

    `verify`: runs of each end. `confirm`: runs of the culprit and of its parent. `confidence`: probability at which
    a flaky search is content. `budget`: runs in all. `flaky`: do not even try to believe single runs. `signature`:
    the failure to follow; empty for the one that the ends show.
    """

    verify: int = 3
    confirm: int = 3
    confidence: float = 0.99
    budget: int = 400
    flaky: bool = False
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Want:
    """The next step: run this point. `why` is ``end``, ``search`` or ``confirm``."""

    point: int
    why: str


class Kind(StrEnum):
    """How a search ended."""

    FOUND = "found"  # one point
    RANGE = "range"  # points that cannot be told apart, or that the budget did not reach
    NO_CHANGE = "no-change"  # both ends show the same
    END_UNTESTABLE = "end-untestable"  # an end shows nothing, or another failure


@dataclass(frozen=True, slots=True)
class Finding:
    """What came out; points are numbers.

    `culprits` are the points one of which made the change, `parent` the last point known to be on the first side.
    `broke` is whether the later side fails; otherwise the change is a repair. `confidence` is the posterior of
    `culprits` under the model that knows neither rate, whichever model led there. `failing` is the rate of failures
    seen on the failing side, `false_failures` on the other. `minimum` is what theory asks at least of `runs`.
    """

    kind: Kind
    text: str
    culprits: tuple[int, ...] = ()
    parent: int | None = None
    broke: bool = True
    flaky: bool = False
    signature: str = ""
    confidence: float = 0.0
    confirmed: bool = False
    failing: float = 0.0
    false_failures: float = 0.0
    runs: int = 0
    search_runs: int = 0
    minimum: int = 0
    skipped: tuple[int, ...] = ()
