# SPDX-License-Identifier: Apache-2.0
"""What the scripts of a site read: files that each call `put` with a name and a JSON text.

1. They are scripts because a page that was opened as a file may load those, and may not fetch.
2. A page loads what it shows: names, cells and one night for the matrix; two nights to compare; the strips of a machine
   when one of its cells is listed.
3. Data goes through `JSON.parse`: no name in it can become code, or a property that an object has already.
4. Runs of equal numbers are ``number*count``, which is how 30,000 cells of 60 nights fit into some megabytes.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.model import Outcome, Stage, Verdict
from migmatrix.harness.report.html_data import FLAGS, Table
from migmatrix.harness.report.page import GLYPHS, LABELS, data_text
from migmatrix.harness.site.window import NOT_RUN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from migmatrix.harness.history import Night
    from migmatrix.harness.model import Cause
    from migmatrix.harness.site.window import Window

__all__ = ["STATUSES", "data_files", "night_file", "number_of_machine"]

# Worst first, as in a report; what was to run and did not stands before what is known.
STATUSES: Final = {
    **{status: GLYPHS[status] for status in ("regression", "wrong-failure", "incomplete")},
    NOT_RUN: "∅",
    **{
        status: glyph
        for status, glyph in GLYPHS.items()
        if status not in ("regression", "wrong-failure", "incomplete")
    },
}
_VERDICTS: Final = [*(v.value for v in Verdict), NOT_RUN]
_OUTCOMES: Final = [*(o.value for o in Outcome), NOT_RUN]
_DIGEST: Final = 12  # hex digits, as `harness.history.Change` has them


def night_file(number: int) -> str:
    """The name of the data of a night."""
    return f"night-{number}"


def number_of_machine(window: Window) -> dict[str, int]:
    """Machines in the order of the pages, numbered: ``strips-N`` is the data of the N-th."""
    found: dict[str, int] = {}
    for cell in window.cells:
        found.setdefault(cell.machine, len(found))
    return found


def data_files(
    window: Window, answers: Mapping[int, str], links: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Name and text of each file. `answers` are by number of night, `links` are pages by name, as `names` has them."""
    tables = _Tables(window)
    columns = tables.cells()
    nights = [tables.night(night, answers[night.number]) for night in window.nights]
    yield _put("names", {**tables.names(), "nights": nights, **links})
    yield _put("cells", columns)
    for night, codes in zip(window.nights, window.codes, strict=True):
        yield _put(night_file(night.number), packed(codes))
    yield from _strips(window)


def _put(name: str, data: Any) -> tuple[str, str]:
    quoted = data_text(data).replace("\\", "\\\\").replace("'", "\\'")
    return name, f"put('{name}','{quoted}');\n"


def packed(numbers: Iterable[int]) -> str:
    """Numbers as text, runs of equal ones as ``number*count``."""
    runs = ((number, sum(1 for _ in same)) for number, same in groupby(numbers))
    return ",".join(f"{number}*{count}" if count > 1 else str(number) for number, count in runs)


def _strips(window: Window) -> Iterator[tuple[str, str]]:
    """The nights of each cell of a machine, in the order of the cells."""
    machines = number_of_machine(window)
    strips: list[list[str]] = [[] for _ in machines]
    for cell, codes in zip(window.cells, zip(*window.codes, strict=True), strict=True):
        strips[machines[cell.machine]].append(packed(codes))
    for number, each in enumerate(strips):
        yield _put(f"strips-{number}", each)


class _Tables:
    """Numbers the names of a site."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._machine: Table[str] = Table()
        self._profile: Table[str] = Table()
        self._build: Table[str] = Table([b.id for n in reversed(window.nights) for b in n.builds])
        self._path: Table[tuple[int, ...]] = Table()
        self._mode: Table[str] = Table()
        self._guest: Table[str] = Table()
        self._signature: Table[str] = Table(base=1)
        self._issue: Table[str] = Table(base=1)
        self._content: Table[tuple[str, ...]] = Table()
        self._environment: Table[tuple[str, ...]] = Table()

    def cells(self) -> list[str]:
        """Machine, profile, path, mode and guest of every cell, as columns."""
        rows = [
            (
                self._machine[cell.machine], self._profile[cell.profile], self._path[tuple(self._build[b] for b in cell.path)],
                self._mode[cell.mode], self._guest[cell.guest],
            )
            for cell in self._window.cells
        ]  # fmt: skip
        return [packed(column) for column in zip(*rows, strict=True)]

    def names(self) -> dict[str, Any]:
        """All tables but those of nights; to be called after `cells` and `night`, which fill them."""
        states = [self._state(n) for n in range(len(self._window.states))]
        causes = _causes(self._window.nights)
        signatures = self._signature.values()
        return {
            "machines": self._machine.values(), "profiles": self._profile.values(), "builds": self._build.values(),
            "paths": self._path.values(), "modes": self._mode.values(), "guests": self._guest.values(),
            "states": states, "signatures": signatures, "issues": self._issue.values(),
            "causes": [_cause(causes.get(signature)) for signature in signatures],
            "verdicts": _VERDICTS, "outcomes": _OUTCOMES, "stages": [s.value for s in Stage], "flags": FLAGS,
            "glyphs": STATUSES, "labels": LABELS, "contents": self._content.values(),
            "environments": self._environment.values(),
        }  # fmt: skip

    def _state(self, number: int) -> list[Any]:
        row = self._window.states[number]
        return [
            _VERDICTS.index(row.verdict), _OUTCOMES.index(row.outcome), row.hop, self._signature.optional(row.signature),
            self._issue.optional(row.issue), row.flags, int(row.reused), row.status,
        ]  # fmt: skip

    def night(self, night: Night, answer: str) -> dict[str, Any]:
        """What may have changed a verdict, as numbers of `contents` (a build, its arguments, a profile) and of `environments`."""
        where = night.environment
        builds = [
            self._content[("build", b.id, b.version, b.package, b.digest[:_DIGEST])] for b in night.builds
        ]
        arguments = [
            self._content[("arguments of build", name, "", "", d[:_DIGEST])]
            for name, d in night.arguments.items()
        ]
        profiles = [
            self._content[("profile", name, "", "", d[:_DIGEST])] for name, d in night.profiles.items()
        ]
        return {
            "number": night.number, "time": night.time.isoformat(timespec="minutes"), "answer": answer,
            "environment": self._environment[(where.harness, where.patterns[:_DIGEST], where.kernel, where.engine)],
            "contents": [*builds, *arguments, *profiles],
        }  # fmt: skip


def _causes(nights: Sequence[Night]) -> dict[str, Cause]:
    """The cause of each signature, as the last night that has it tells it."""
    return {seen.signature: seen.cause for night in nights for seen in night.sightings}


def _cause(cause: Cause | None) -> list[str]:
    return [cause.kind, cause.device, cause.field, cause.message] if cause else ["", "", "", ""]
