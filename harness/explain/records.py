# SPDX-License-Identifier: Apache-2.0
"""What an explanation is made of, as plain records; `to_json` is the published form (docs/explain.schema.json)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from migmatrix.harness.trials.records import Setting, Side, plain

__all__ = [
    "Cure",
    "Difference",
    "Explanation",
    "Fix",
    "Near",
    "Neighbour",
    "Remedy",
    "Reproducer",
    "Rescue",
    "RowCheck",
    "Told",
]

FORMAT = 2
ABSENT = "absent"  # a `Difference`'s value on the side that lacks it
VERSION = "version"  # the name of a `Difference` of section versions


@dataclass(frozen=True, slots=True)
class Reproducer:
    """The smallest trial found with the same signature; `removed` is what it does not need.

    `started_on` is the build whose saved state is to blame (published as `born_on`); `note` says how the other builds
    of the path matter. `build_arguments` has the arguments of each build of the path, empty when none has any.
    """

    machine: str
    arguments: tuple[str, ...]
    path: tuple[str, ...]
    mode: str
    guest: str
    removed: tuple[str, ...] = ()
    started_on: str = ""
    note: str = ""
    build_arguments: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What the two sides were told otherwise: `what` is ``arguments``, ``capability`` or ``parameter``.

    `source` and `destination` are the words or the value; empty where a side is not told anything.
    """

    what: str
    name: str
    source: str
    destination: str

    @property
    def text(self) -> str:
        """``-smp 4 against -smp 2``; of a mode's setting with its name first."""
        sides = f"{self.source or 'nothing'} against {self.destination or 'nothing'}"
        return sides if self.what == "arguments" else f"{self.what} {self.name}: {sides}"


@dataclass(frozen=True, slots=True)
class Difference:
    """One value of the stream: `source` is what was sent, `destination` what that build itself has there.

    `name` is a field's path, ``/subsection``, a register's label, `VERSION` or a RAM block; a value may be `ABSENT`.
    `blamed`: the failure's message points to it. The others are what else differs in that section.
    """

    section: str
    name: str
    source: str
    destination: str
    blamed: bool = False


class Near(StrEnum):
    """What a neighbour differs in from the failing cell."""

    OTHER_MACHINE = "other-machine"
    REVERSE = "reverse"  # the way back
    TO_ITSELF = "to-itself"  # the build of one side, from and to itself
    ADJACENT = "adjacent"  # the next build of the run instead of the one of a side
    WITHOUT_BUILD = "without-build"  # a chain with one build less
    SAVE = "save"  # another build saves and loads, for a failure while saving


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A cell near the failing one; `stored` when the run had it already.

    `kind`, `side` and `path` are the facts: what it differs in, on which side (None: on both), and its builds in
    order. `how` and `cell` say the same to people, and nothing else reads them.
    """

    kind: Near
    side: Side | None
    path: tuple[str, ...]
    how: str
    cell: str
    verdict: str
    signature: str | None
    stored: bool

    @property
    def passes(self) -> bool:
        """Whether this cell passes where the failing one does not."""
        return self.verdict == "pass"


@dataclass(frozen=True, slots=True)
class RowCheck:
    """One machine and direction of the pair: verdicts without and with the remedy."""

    machine: str
    route: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Remedy:
    """Settings that make the failing migration pass, and what they do to the whole row.

    `basis` is what made them candidates: ``difference`` of the two sides' values, ``switch`` that one side lacks,
    ``number`` that the failure shows, ``table`` for a line that a compat table has and this build does not apply, or
    ``default`` for one that is taken back. `instead_of` is what they were, `owners` are the base types that the
    properties come from, in the order of `settings`. `scope` says which machines `rows` are of.
    """

    side: Side
    settings: tuple[Setting, ...]
    basis: str
    why: str
    instead_of: tuple[Setting, ...] = ()
    rows: tuple[RowCheck, ...] = ()
    owners: tuple[str, ...] = ()
    scope: str = ""

    def rows_that(self, before: bool, after: bool) -> tuple[RowCheck, ...]:
        """Rows by whether they passed before and whether they pass with the remedy."""
        return tuple(r for r in self.rows if (r.before == "pass") == before and (r.after == "pass") == after)

    @property
    def breaks(self) -> tuple[RowCheck, ...]:
        """Rows that passed before and do not any more."""
        return self.rows_that(before=True, after=False)


@dataclass(frozen=True, slots=True)
class Cure:
    """Why an adjacent build passes where `instead_of` fails: a property that the latter has not, or has otherwise.

    Proved by taking it away: `build` with `broken` set fails alike; with `healthy`, which it has by itself, it
    passes. `owner` is the base type that the property comes from.
    """

    side: Side
    build: str
    instead_of: str
    broken: Setting
    healthy: Setting
    owner: str


@dataclass(frozen=True, slots=True)
class Rescue:
    """Another build that a guest which is stuck can go to, with what has to be set there (empty: nothing)."""

    build: str
    settings: tuple[Setting, ...]


@dataclass(frozen=True, slots=True)
class Fix:
    """What to do. `repairable` says whether a property heals it; `reason` is the class of the reason when not.

    `stuck_guest` is what to start the destination with for a guest that is already running, `new_guests` what to
    start guests with from now on, `compat` the table line that would have prevented it; each may be empty.
    """

    repairable: bool
    reason: str
    summary: str
    stuck_guest: str = ""
    new_guests: str = ""
    compat: str = ""
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that was found out from one cell, which stands for `cells` of its `kind` (see `kinds`)."""

    cell: str
    signature: str
    kind: str
    cells: int
    verdict: str
    message: str
    stage: str
    migration: tuple[str, ...]
    reproduced: bool
    reproducer: Reproducer
    where: tuple[Difference, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    candidates: int = 0
    remedies: tuple[Remedy, ...] = ()
    cures: tuple[Cure, ...] = ()
    rescues: tuple[Rescue, ...] = ()
    fix: Fix = field(default_factory=lambda: Fix(repairable=False, reason="", summary=""))
    hops: int = 0
    emulators: int = 0
    journal: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    machines: str = ""  # on which machines of the run it is the same; empty when the run has no other
    told: tuple[Told, ...] = ()  # what the sides are told otherwise, of that which the failure needs
    repeats: int = 0  # chains of the run in which a step of theirs fails just so, not among `cells`
    static: str = ""  # what tables and -dump-vmstate say without a migration; empty for what is blocked

    def to_json(self) -> dict[str, Any]:
        """The published form."""
        data = plain(asdict(self))
        data["reproducer"]["born_on"] = data["reproducer"].pop(
            "started_on"
        )  # its key was published under this name
        return {"format": FORMAT, **data}


def from_json(data: dict[str, Any]) -> Explanation:
    """Inverse of `to_json`; KeyError, TypeError or ValueError when `data` is not of that form."""
    if data["format"] != FORMAT:
        raise ValueError(f"an explanation of format {data['format']!r}, not {FORMAT}")
    values = {key: value for key, value in data.items() if key not in ("format", "text")}
    reproducer = dict(data["reproducer"])
    own = tuple(map(tuple, reproducer.pop("build_arguments", ())))
    given = {"started_on": reproducer.pop("born_on"), **reproducer}
    values["reproducer"] = Reproducer(**_tuples(given), build_arguments=own)
    values["told"] = tuple(Told(**row) for row in data.get("told", ()))
    values["where"] = tuple(Difference(**row) for row in data["where"])
    values["neighbours"] = tuple(_neighbour(row) for row in data["neighbours"])
    values["remedies"] = tuple(_remedy(row) for row in data["remedies"])
    values["cures"] = tuple(_cure(row) for row in data["cures"])
    values["rescues"] = tuple(
        Rescue(row["build"], tuple(Setting(**setting) for setting in row["settings"]))
        for row in data["rescues"]
    )
    values["fix"] = Fix(**_tuples(data["fix"]))
    return Explanation(**_tuples(values))


# The labels of explanations that were kept before a neighbour had `kind`, `side` and `path`. Only `_derived` reads them.
_OLD_LABELS = {
    "other machine": (Near.OTHER_MACHINE, None),
    "reverse direction": (Near.REVERSE, None),
    "source to itself": (Near.TO_ITSELF, Side.SOURCE),
    "destination to itself": (Near.TO_ITSELF, Side.DESTINATION),
    "adjacent source build": (Near.ADJACENT, Side.SOURCE),
    "adjacent destination build": (Near.ADJACENT, Side.DESTINATION),
    "save of another build": (Near.SAVE, None),
}


def _neighbour(row: dict[str, Any]) -> Neighbour:
    known = row if "kind" in row else {**row, **_derived(row["how"], row["cell"])}
    side = known["side"]
    facts = {"kind": Near(known["kind"]), "side": side and Side(side), "path": tuple(known["path"])}
    return Neighbour(**{**known, **facts})


def _derived(how: str, cell: str) -> dict[str, Any]:
    """The facts of a neighbour that has only its label and its cell's id ``machine/profile/A>B/mode/guest``."""
    kind, side = _OLD_LABELS.get(how, (Near.WITHOUT_BUILD, None))
    return {"kind": kind, "side": side, "path": cell.split("/")[2].split(">")}


def _cure(row: dict[str, Any]) -> Cure:
    settings = {name: Setting(**row[name]) for name in ("broken", "healthy")}
    return Cure(**{**row, "side": Side(row["side"]), **settings})


def _remedy(row: dict[str, Any]) -> Remedy:
    return Remedy(
        **{
            **row,
            "side": Side(row["side"]),
            "settings": tuple(Setting(**setting) for setting in row["settings"]),
            "instead_of": tuple(Setting(**setting) for setting in row["instead_of"]),
            "owners": tuple(row["owners"]),
            "rows": tuple(RowCheck(**check) for check in row["rows"]),
        }
    )


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
