# SPDX-License-Identifier: Apache-2.0
"""A badge: a small SVG with the answer, for a README or a wall.

1. What it says it says in words and by a mark, not by colour alone; a screen reader reads its title.
2. White on each colour has a contrast of 4.5 or more (WCAG 2 AA). It loads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from migmatrix.harness.report.answer import Ship
from migmatrix.harness.report.text import one_line

if TYPE_CHECKING:
    from migmatrix.harness.report.data import RunReport

__all__ = ["COLOURS", "LABEL", "render_badge"]

LABEL: Final = "migration"
COLOURS: Final = {Ship.YES: "#1b6e2e", Ship.CLEAN: "#1b6e2e", Ship.NO: "#b3261e", Ship.UNKNOWN: "#6b5300"}
_LEFT: Final = "#444444"
_MARKS: Final = {Ship.YES: "\u2713", Ship.CLEAN: "\u2713", Ship.NO: "\u2717", Ship.UNKNOWN: "?"}
_HEIGHT: Final = 20
_WIDE: Final = 7.2  # of a character at 11 px, the widest of usual fonts' means
_PAD: Final = 6
_TITLE: Final = 300  # characters
_SHOWN: Final = 40


def render_badge(report: RunReport) -> str:
    """The SVG document."""
    answer = report.answer()
    said = f"{_MARKS[answer.ship]} {one_line(answer.headline, _SHOWN)}"
    left, right = _width(LABEL), _width(said)
    title = escape(one_line(f"{report.title}: {answer.headline}: {answer.sentence}", _TITLE))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{_HEIGHT}"'
        ' role="img" aria-labelledby="title">\n'
        f'<title id="title">{title}</title>\n'
        f'<rect width="{left}" height="{_HEIGHT}" fill="{_LEFT}"/>\n'
        f'<rect x="{left}" width="{right}" height="{_HEIGHT}" fill="{COLOURS[answer.ship]}"/>\n'
        '<g fill="#ffffff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">\n'
        f"{_text(LABEL, left / 2)}{_text(said, left + right / 2)}"
        "</g>\n</svg>\n"
    )


def _width(text: str) -> int:
    return round(len(text) * _WIDE) + 2 * _PAD


def _text(text: str, middle: float) -> str:
    """Hidden from screen readers, which have read the title."""
    return f'<text x="{middle:g}" y="14" aria-hidden="true">{escape(text)}</text>\n'
