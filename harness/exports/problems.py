# SPDX-License-Identifier: Apache-2.0
"""What every list of problems says of one, for formats that show problems and not cells."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from migmatrix.harness.report.data import Section
from migmatrix.harness.report.terminal import describe_problem
from migmatrix.harness.report.text import one_line, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migmatrix.harness.report.data import Group, RunReport

__all__ = ["ORDER", "Problem", "fingerprint", "problems"]

ORDER: Final = (Section.PROBLEM, Section.FLAKY, Section.INFRASTRUCTURE, Section.KNOWN, Section.FIXED)
_WHAT: Final = {
    Section.PROBLEM: "regression",
    Section.FLAKY: "flaky",
    Section.INFRASTRUCTURE: "host failure",
    Section.KNOWN: "known issue",
    Section.FIXED: "known issue that no longer fails",
}
_TITLE = 200  # characters
_MESSAGE = 1000


@dataclass(frozen=True, slots=True)
class Problem:
    """One group of a report: a `title` of one line, and `lines` that say the rest; both visible and clipped."""

    section: Section
    group: Group
    title: str
    lines: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256: the same for the same problem of another run."""
        return fingerprint(self.section.value, self.group.key, str(self.group.own))


def fingerprint(*parts: str) -> str:
    """Hex SHA-256 of some texts, whatever they hold."""
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()


def problems(report: RunReport, sections: Sequence[Section] = ORDER) -> Iterator[Problem]:
    """The groups of these sections, in the order of every report."""
    for section in sections:
        for found in report.groups(section):
            title = one_line(f"{_WHAT[section]}: {describe_problem(found)}", _TITLE)
            yield Problem(section, found, title, tuple(_lines(report, found)))


def _lines(report: RunReport, found: Group) -> Iterator[str]:
    if found.cause is not None and found.cause.message:
        yield one_line(found.cause.message, _MESSAGE)
    where = f"{plural(len(found.machines), 'machine')}, {plural(len(found.profiles), 'profile')}"
    own = "; a build has it with itself too" if found.own else ""
    yield f"{plural(found.cells, 'cell')} on {where}{own}"
    yield f"smallest: {one_line(report.named(found.smallest.cell), _MESSAGE)}"
    yield from (f"explained: {one_line(note.summary, _MESSAGE)}" for note in report.explained(found)[:1])
    if issue := found.smallest.known_issue:
        yield f"known issue: {one_line(issue, _TITLE)}"
