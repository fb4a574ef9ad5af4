# SPDX-License-Identifier: Apache-2.0
"""What the pages of a site say of nights, problems, machines and builds: records that the templates show.

A *problem* of a site is a signature, so that its page keeps its name as long as the problem lasts. The first screen puts
those of one family together, as a report does.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.history import State, shared_changes
from migmatrix.harness.history.alarm import cadence_of, missed
from migmatrix.harness.model import Cause, Outcome
from migmatrix.harness.report import ExplanationNote
from migmatrix.harness.report.problems import natural
from migmatrix.harness.site.answer import answer_of
from migmatrix.harness.site.data import STATUSES
from migmatrix.harness.site.window import ABSENT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migmatrix.harness.history import Break, Change, Night
    from migmatrix.harness.model import Cell
    from migmatrix.harness.report import BuildRow, KnownIssueNote
    from migmatrix.harness.report.answer import Answer
    from migmatrix.harness.site.window import Row, Window

__all__ = ["Broke", "BuildFacts", "Facts", "NightFacts", "Problem", "Slot", "Version", "slug", "worst"]

_BREAKS: Final = 200  # cells of a problem that are asked for when they broke


def slug(name: str) -> str:
    """A file name for any name: what can be read of it, and enough of its SHA-256 to be another for each."""
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:48]
    return f"{readable}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}".lstrip("-")


def worst(counts: Mapping[str, int]) -> str:
    """The worst status that there is, "" for none."""
    return next((status for status in STATUSES if counts.get(status)), "")


@dataclass(frozen=True, slots=True)
class Slot:
    """A square of a strip: a status, "" for a night without it, and what it says in words."""

    status: str
    text: str


@dataclass(frozen=True)
class NightFacts:
    """A night with its answer, cells by status, and the nights that should have come before it and did not."""

    night: Night
    answer: Answer
    counts: Counter[str]
    missed: int = 0


@dataclass(frozen=True)
class Broke:
    """When cells of a problem broke, most of them alike: `cells` of `asked`."""

    when: Break
    changes: Sequence[Change]
    cells: int
    asked: int


@dataclass(frozen=True)
class Problem:
    """A signature: its cells on the last night that has it (`last`), and by status on each night of the window."""

    signature: str
    cause: Cause
    first: Night
    last: Night
    nights: Sequence[Counter[str]]
    cells: Sequence[tuple[Cell, Row]]
    states: Counter[State]
    notes: Sequence[ExplanationNote]
    issues: Sequence[KnownIssueNote]
    broke: Sequence[Broke]
    tonight: bool

    @property
    def page(self) -> str:
        """Where its page lies."""
        return f"problems/{slug(self.signature)}.html"

    @property
    def machines(self) -> list[str]:
        """Machines of its cells."""
        return sorted({cell.machine for cell, _ in self.cells}, key=natural)

    @property
    def profiles(self) -> list[str]:
        """Profiles of its cells."""
        return sorted({cell.profile for cell, _ in self.cells}, key=natural)

    @property
    def routes(self) -> list[tuple[str, str]]:
        """Source and destination of the migrations that went wrong, most frequent first."""
        found = Counter(_route(cell, row) for cell, row in self.cells)
        return sorted(found, key=lambda route: (-found[route], route))

    @property
    def fix(self) -> list[tuple[str, list[str]]]:
        """What its explanations say to do."""
        return [row for note in self.notes for row in note.rows if row[0] in _REMEDIES]

    @property
    def state(self) -> str:
        """Where its cells stand, the most urgent first; of one that is over, that it is."""
        return next((state.value for state in _URGENT if self.states[state]), "gone")


_REMEDIES = ("answer", "stuck guest", "new guests", "table line")
_URGENT = (
    State.NEW,
    State.STILL,
    State.FLAKY,
    State.KNOWN,
    State.NOT_RUN,
    State.STALE,
    State.SKIPPED,
    State.FIXED,
    State.OK,
)


def _route(cell: Cell, row: Row) -> tuple[str, str]:
    path = cell.path
    return (path[row.hop - 1], path[row.hop]) if 1 <= row.hop < len(path) else (path[0], path[-1])


@dataclass(frozen=True, slots=True)
class Version:
    """What a build was from a night on."""

    since: Night
    build: BuildRow


@dataclass(frozen=True)
class BuildFacts:
    """A build: what it was, newest first, and the cells of the last night that it is a part of, by its place."""

    id: str
    versions: Sequence[Version]
    roles: Mapping[str, Counter[str]]
    problems: Sequence[Problem]
    tonight: bool

    @property
    def page(self) -> str:
        """Where its page lies."""
        return f"builds/{slug(self.id)}.html"


@dataclass(frozen=True)
class Facts:
    """Everything that the pages say."""

    window: Window
    nights: Sequence[NightFacts] = field(default_factory=list)

    @classmethod
    def of(cls, window: Window) -> Facts:
        """The facts of a window."""
        nights, every = [], cadence_of(window.history.nights)
        for place, night in enumerate(window.nights):
            gap = missed(window.nights[place - 1], night, every) if place else 0
            counts = window.counts(place)
            nights.append(NightFacts(night, answer_of(night, counts, gap), counts, gap))
        return cls(window, nights)

    @cached_property
    def states(self) -> Mapping[str, State]:
        """The state of each cell on the last night."""
        return self.window.history.states()

    @cached_property
    def problems(self) -> list[Problem]:
        """Every signature of the window: tonight's first, new ones before others, then the larger."""
        return sorted(_problems(self), key=lambda p: (not p.tonight, _urgency(p), -len(p.cells), p.signature))

    @cached_property
    def by_signature(self) -> Mapping[str, Problem]:
        """The problems by signature."""
        return {problem.signature: problem for problem in self.problems}

    @cached_property
    def builds(self) -> list[BuildFacts]:
        """Every build of the window, the last night's first, in the order of the matrix."""
        return _builds(self)

    @cached_property
    def machines(self) -> Mapping[str, list[Counter[str]]]:
        """Cells of each machine by status, for each night."""
        window = self.window
        machines = [cell.machine for cell in window.cells]
        found: dict[str, list[Counter[str]]] = {
            m: [Counter() for _ in window.nights] for m in dict.fromkeys(machines)
        }
        for place, codes in enumerate(window.codes):
            for (machine, code), cells in Counter(zip(machines, codes, strict=True)).items():
                if code != ABSENT:
                    found[machine][place][window.states[code - 1].status] += cells
        return dict(sorted(found.items(), key=lambda item: natural(item[0])))


def _urgency(problem: Problem) -> int:
    return next((n for n, state in enumerate(_URGENT) if problem.states[state]), len(_URGENT))


def _problems(facts: Facts) -> list[Problem]:
    window = facts.window
    nights: dict[str, list[Counter[str]]] = {}
    cells: dict[str, list[tuple[Cell, Row]]] = {}
    for place in range(len(window.nights)):
        tonight: dict[str, list[tuple[Cell, Row]]] = {}
        for cell, row in window.rows(place):
            if row.signature and _attention(row):
                tonight.setdefault(row.signature, []).append((cell, row))
        for signature, found in tonight.items():
            each = nights.setdefault(signature, [Counter() for _ in window.nights])
            each[place].update(row.status for _, row in found)
            cells[signature] = found
    return [_problem(facts, signature, each, cells[signature]) for signature, each in nights.items()]


def _attention(row: Row) -> bool:
    return row.outcome not in (Outcome.OK, Outcome.SKIPPED)


def _problem(
    facts: Facts, signature: str, nights: list[Counter[str]], cells: list[tuple[Cell, Row]]
) -> Problem:
    window = facts.window
    place = max(n for n, counts in enumerate(nights) if counts)
    last, tonight = window.nights[place], place == len(nights) - 1
    seen = next((n.sighted[signature] for n in reversed(window.nights) if signature in n.sighted), None)
    explained = next(
        (
            n.sighted[signature].explanation
            for n in reversed(window.nights)
            if signature in n.sighted and n.sighted[signature].explanation
        ),
        (),
    )
    named = {row.issue for _, row in cells if row.issue}
    return Problem(
        signature=signature,
        cause=seen.cause if seen else Cause(""),
        first=window.history.first_seen.get(signature, last),
        last=last,
        nights=nights,
        cells=cells,
        states=Counter(facts.states[c.id] for c, _ in cells if tonight and c.id in facts.states),
        notes=[ExplanationNote("", tuple(explained))] if explained else [],
        issues=[note for note in last.known_issues if note.id in named],
        broke=_broke(facts, cells) if tonight else [],
        tonight=tonight,
    )


def _broke(facts: Facts, cells: Sequence[tuple[Cell, Row]]) -> list[Broke]:
    """When cells of a problem broke, most cells first."""
    found: dict[tuple[int, int | None], list[Break]] = {}
    asked = cells[:_BREAKS]
    for cell, _ in asked:
        when = facts.window.history.break_of(cell.id)
        if when is not None:
            good = when.last_good.number if when.last_good else None
            found.setdefault((when.first_bad.number, good), []).append(when)
    groups = sorted(found.items(), key=lambda item: (-len(item[1]), item[0][0], item[0][1] or 0))
    return [Broke(w[0], shared_changes(one.changes for one in w), len(w), len(asked)) for _, w in groups]


def _builds(facts: Facts) -> list[BuildFacts]:
    window = facts.window
    ids = dict.fromkeys(b.id for night in reversed(window.nights) for b in night.builds)
    roles: dict[str, dict[str, Counter[str]]] = {id_: {} for id_ in ids}
    for cell, row in window.rows(len(window.nights) - 1):
        for place, build in enumerate(cell.path):
            role = "source" if place == 0 else "destination" if place == len(cell.path) - 1 else "in between"
            roles.setdefault(build, {}).setdefault(role, Counter())[row.status] += 1
    return [_build(facts, id_, roles[id_]) for id_ in ids]


def _build(facts: Facts, id_: str, roles: dict[str, Counter[str]]) -> BuildFacts:
    versions: list[Version] = []
    for night in facts.window.nights:
        build = night.built.get(id_)
        if build and (not versions or versions[-1].build != build):
            versions.append(Version(night, build))
    problems = [p for p in facts.problems if any(id_ in route for route in p.routes)]
    ordered: dict[str, Any] = {
        role: roles[role] for role in ("source", "in between", "destination") if role in roles
    }
    return BuildFacts(id_, versions[::-1], ordered, problems, id_ in facts.window.last.built)
