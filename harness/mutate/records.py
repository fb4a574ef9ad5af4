# SPDX-License-Identifier: Apache-2.0
"""What became of each compat entry that was knocked out; `Scorecard.to_json` is the published form.

The score is four numbers: entries that a pair catches, that a paused guest of the tried profiles shows at all, whose
device is in a profile, whose device is in the binary. An entry that is lost between two of them is listed with a reason.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from migmatrix.harness.releases import hw_compat_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migmatrix.harness.compat.effective import Row
    from migmatrix.harness.trials.records import Setting

__all__ = ["Mutant", "Scorecard", "Status", "with_hints"]


class Status(StrEnum):
    """What came of knocking an entry out."""

    CAUGHT = "caught"
    NEEDS_DRIVER = "needs a guest driver"  # caught as soon as a driver has accepted the device's features
    SAME_STREAM = "guest-visible only"  # the stream is the same and is loaded both ways
    TOLERATED = "in the stream, but every load accepts it"
    NO_PROFILE = "no profile has the device"
    NO_EFFECT = "the entry sets what is the default anyway"
    NOT_SETTABLE = "cannot be knocked out"  # no property of a device, or its default is not told
    NOT_HERE = "not in this binary"


_MISSED = (Status.NEEDS_DRIVER, Status.SAME_STREAM, Status.TOLERATED)
_OUTSIDE = (Status.NO_EFFECT, Status.NOT_SETTABLE, Status.NOT_HERE)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One entry, `row`, of one machine type, which `setting` knocked out on `build`.

    `profile`, `route` and `signature` say where it was caught, or would be; `tried` are the profiles that were run,
    of `having` that have the device. `hint` is a profile that would show it.
    """

    machine: str
    row: Row
    build: str
    setting: Setting
    status: Status
    profile: str = ""
    route: str = ""
    signature: str = ""
    tried: tuple[str, ...] = ()
    having: int = 0
    hint: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data; the keys are published."""
        return {
            "machine": self.machine,
            "entry": self.row.text,
            "table": self.row.table,
            "build": self.build,
            "setting": self.setting.text,
            "fate": self.status.value,
            "profile": self.profile,
            "route": self.route,
            "signature": self.signature,
            "tried": list(self.tried),
            "having": self.having,
            "hint": self.hint,
        }


@dataclass(frozen=True, slots=True)
class Scorecard:
    """All mutants; `legs` that were needed, `left` that the limit left out."""

    mutants: tuple[Mutant, ...]
    legs: int = 0
    left: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Mutants by status, in the order of `Status`."""
        seen = Counter(m.status for m in self.mutants)
        return {status.value: seen[status] for status in Status if seen[status]}

    @property
    def caught(self) -> int:
        """Entries that a pair of the matrix notices."""
        return sum(m.status is Status.CAUGHT for m in self.mutants)

    @property
    def reachable(self) -> int:
        """Entries whose device is in a profile and that can be knocked out with effect."""
        return self.caught + sum(m.status in _MISSED for m in self.mutants)

    @property
    def shown(self) -> int:
        """Entries that make a difference to a paused guest's stream or load, caught or accepted."""
        return self.caught + sum(m.status is Status.TOLERATED for m in self.mutants)

    @property
    def here(self) -> int:
        """Entries that this binary has a device for and that can be knocked out with effect."""
        return sum(m.status not in _OUTSIDE for m in self.mutants)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        score = {"caught": self.caught, "shown": self.shown, "reachable": self.reachable, "here": self.here}
        rows = [m.to_json() for m in self.mutants]
        return {"score": score, "counts": self.counts, "hops": self.legs, "left": self.left, "mutants": rows}

    def render(self) -> Iterator[str]:
        """For people: the score, then the entries by status, the caught ones first."""
        yield (
            f"score: {self.caught} caught of {self.shown} that a paused guest shows;"
            f" a profile has the device of {self.reachable}, the binary that of {self.here}; {self.legs} legs"
        )
        if self.left:
            yield f"{self.left} entries not run (--limit or --dry-run); what was done is kept in the store"
        for status in Status:
            some = [m for m in self.mutants if m.status is status]
            if some:
                yield f"{status.value}: {len(some)}"
                yield from (f"  {_line(m)}" for m in some)


def with_hints(mutants: Sequence[Mutant]) -> tuple[Mutant, ...]:
    """The same with a profile for what was missed on one machine type and caught on another."""
    caught = {m.row.key: m for m in mutants if m.status is Status.CAUGHT}

    def hinted(mutant: Mutant) -> Mutant:
        other = caught.get(mutant.row.key)
        if other is None or mutant.hint or mutant.status is not Status.SAME_STREAM:
            return mutant
        return replace(mutant, hint=f"profile {other.profile} catches it on {other.machine}")

    return tuple(hinted(mutant) for mutant in mutants)


def _line(m: Mutant) -> str:
    table = hw_compat_name(m.row.table) if m.row.table else "base"
    where = f"{m.machine} {m.row.text} ({table}, {m.build})"
    if m.signature:
        return f"{where}: {m.profile} {m.route}: {m.signature}"
    tried = f": tried {len(m.tried)} of {m.having} profiles" if m.having else ""
    return f"{where}{tried}{': ' if m.hint else ''}{m.hint}"
