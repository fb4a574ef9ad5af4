# SPDX-License-Identifier: Apache-2.0
"""An e-mail about a run: a subject line and plain text of 72 columns (RFC 5322, UTF-8). Who sends it adds From and To.

Rule: what an emulator said stands behind blanks, so that no line of it is a header, a signature mark, or the end of a message.
"""

from __future__ import annotations

import textwrap
from email import policy
from email.message import EmailMessage
from typing import TYPE_CHECKING, Final

from migmatrix.harness.exports.problems import problems
from migmatrix.harness.report.data import Section
from migmatrix.harness.report.text import duration, one_line, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.harness.report.data import RunReport

__all__ = ["COLUMNS", "render_mail"]

COLUMNS: Final = 72
_MOST: Final = 10  # problems of a section
_SUBJECT: Final = 150  # characters
_TEXT: Final = 400
_TITLES: Final = {
    Section.PROBLEM: "Problems",
    Section.FLAKY: "Flaky",
    Section.INFRASTRUCTURE: "Host and engine failures",
    Section.KNOWN: "Known issues",
    Section.FIXED: "Known issues that no longer fail",
}


def render_mail(report: RunReport) -> str:
    """The message; every line but headers has at most `COLUMNS` characters."""
    message = EmailMessage(policy=policy.SMTPUTF8.clone(linesep="\n", max_line_length=0))
    message["Subject"] = one_line(f"[migmatrix] {report.answer().headline}: {report.title}", _SUBJECT)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join(_lines(report)) + "\n", cte="8bit")
    return message.as_string()


def _lines(report: RunReport) -> Iterator[str]:
    answer = report.answer()
    yield from _wrapped(f"{answer.headline}: {answer.sentence}.")
    for limit in answer.limits:
        yield from _wrapped(f"But: {limit}.")
    yield ""
    verdicts = ", ".join(f"{n:,} {v}" for v, n in sorted(report.verdicts().items()))
    cells = f"{len(report.results):,} of {report.cells_planned:,}"
    yield from _wrapped(f"Cells: {cells}: {verdicts or 'none'}")
    yield from _wrapped(
        f"Time:  {duration(report.seconds)}, begun {report.started.isoformat(timespec='minutes')}"
    )
    for section, title in _TITLES.items():
        yield from _section(report, section, title)
    yield ""
    yield from _wrapped(f"All of it: migmatrix show {report.run_dir}, or report.html there.")


def _section(report: RunReport, section: Section, title: str) -> Iterator[str]:
    found = list(problems(report, (section,)))
    if not found:
        return
    yield ""
    yield from _wrapped(f"{title}: {plural(len(found), 'problem')}")
    for one in found[:_MOST]:
        yield ""
        yield from _wrapped(one.title, "* ")
        for line in one.lines:
            yield from _wrapped(line, "  ")
    if len(found) > _MOST:
        yield ""
        yield from _wrapped(f"and {len(found) - _MOST} more", "  ")


def _wrapped(text: str, begin: str = "") -> list[str]:
    """Lines of at most `COLUMNS`, behind blanks, the first behind `begin`; a word that is longer is cut."""
    indent = " " * len(begin)
    return textwrap.wrap(
        one_line(text, _TEXT),
        COLUMNS,
        initial_indent=begin,
        subsequent_indent=indent or "  ",
        break_on_hyphens=False,
    )
