"""What became of each compat entry that was knocked out; `Scorecard` is the published form.

Four numbers: entries that are caught; that show at all in a paused guest of the profiles that were tried; whose device
a profile has; whose device the binary has. What lies between two of them is listed with its reason.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from migmatrix.harness.trials.records import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Fate", "Mutant", "Scorecard", "with_hints"]


class Fate(StrEnum):
    """What came of knocking an entry out."""

    CAUGHT = "caught"
    NEEDS_DRIVER = "needs a guest driver"  # caught as soon as a driver has accepted the device's features
    SAME_STREAM = "guest-visible only"  # the stream is the same and is loaded both ways
    TOLERATED = "in the stream, but every load accepts it"
    NO_PROFILE = "no profile has the device"
    NO_EFFECT = "the entry sets what is the default anyway"
    NOT_SETTABLE = "cannot be knocked out"  # no property of a device, or its default is not told
    NOT_HERE = "not in this binary"


_MISSED = (Fate.NEEDS_DRIVER, Fate.SAME_STREAM, Fate.TOLERATED)
_OUTSIDE = (Fate.NO_EFFECT, Fate.NOT_SETTABLE, Fate.NOT_HERE)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One entry of one machine type without its effect on `build`.

    `setting` is what knocked it out. `profile`, `route` and `signature` say where it was caught, or would be;
    `tried` are the profiles that were run, of `having` that have the device. `hint` is a profile that would tell.
    """

    machine: str
    entry: str
    table: str
    build: str
    setting: str
    fate: Fate
    profile: str = ""
    route: str = ""
    signature: str = ""
    tried: tuple[str, ...] = ()
    having: int = 0
    hint: str = ""

    @property
    def device(self) -> str:
        """The type that the entry names."""
        return self.entry.partition("=")[0].rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Scorecard:
    """All mutants; `legs` that were needed, `left` that the limit left out."""

    mutants: tuple[Mutant, ...]
    legs: int = 0
    left: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Mutants by fate, in the order of `Fate`."""
        seen = Counter(m.fate for m in self.mutants)
        return {fate.value: seen[fate] for fate in Fate if seen[fate]}

    @property
    def caught(self) -> int:
        """Entries that a pair of the matrix notices."""
        return sum(m.fate is Fate.CAUGHT for m in self.mutants)

    @property
    def reachable(self) -> int:
        """Entries whose device is in a profile and that can be knocked out with effect."""
        return self.caught + sum(m.fate in _MISSED for m in self.mutants)

    @property
    def shown(self) -> int:
        """Entries that make a difference to a paused guest's stream or load, caught or accepted."""
        return self.caught + sum(m.fate is Fate.TOLERATED for m in self.mutants)

    @property
    def here(self) -> int:
        """Entries that this binary has a device for and that can be knocked out with effect."""
        return sum(m.fate not in _OUTSIDE for m in self.mutants)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        score = {"caught": self.caught, "shown": self.shown, "reachable": self.reachable, "here": self.here}
        rows = [plain(asdict(m)) for m in self.mutants]
        return {"score": score, "counts": self.counts, "hops": self.legs, "left": self.left, "mutants": rows}

    def render(self) -> Iterator[str]:
        """For people: the score, then what was not caught, then what was."""
        yield (
            f"score: {self.caught} caught of {self.shown} that a paused guest shows;"
            f" a profile has the device of {self.reachable}, the binary that of {self.here}; {self.legs} legs"
        )
        if self.left:
            yield f"{self.left} entries not run (--limit or --dry-run); what was done is kept in the store"
        for fate in Fate:
            some = [m for m in self.mutants if m.fate is fate]
            if some:
                yield f"{fate.value}: {len(some)}"
                yield from (f"  {_line(m)}" for m in some)


def with_hints(mutants: Sequence[Mutant]) -> tuple[Mutant, ...]:
    """The same with a profile for what was missed on one machine type and caught on another."""
    caught = {m.entry.partition("=")[0]: m for m in mutants if m.fate is Fate.CAUGHT}

    def hinted(mutant: Mutant) -> Mutant:
        other = caught.get(mutant.entry.partition("=")[0])
        if other is None or mutant.hint or mutant.fate is not Fate.SAME_STREAM:
            return mutant
        return replace(mutant, hint=f"profile {other.profile} catches it on {other.machine}")

    return tuple(hinted(mutant) for mutant in mutants)


def _line(m: Mutant) -> str:
    where = f"{m.machine} {m.entry} (hw_compat_{m.table.replace('.', '_') or 'base'}, {m.build})"
    if m.signature:
        return f"{where}: {m.profile} {m.route}: {m.signature}"
    tried = f": tried {len(m.tried)} of {m.having} profiles" if m.having else ""
    return f"{where}{tried}{': ' if m.hint else ''}{m.hint}"
