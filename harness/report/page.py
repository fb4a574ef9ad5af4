# SPDX-License-Identifier: Apache-2.0
"""What `report.html` and the pages of a site share: the look, the scripts, the templates, and how text gets into them.

1. jinja2 escapes every value, after `visible` has shown what does not print.
2. Data is JSON in which ``<`` and ``>`` cannot occur.
3. A page knows statuses by name, glyph and colour, so that colour only repeats what is written.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from migmatrix.harness.model import Outcome
from migmatrix.harness.report.text import duration, plural
from migmatrix.harness.visible import visible

__all__ = [
    "BLOCKED",
    "GLYPHS",
    "LABELS",
    "OWN",
    "data_text",
    "fragment",
    "pages",
    "script",
    "static",
    "web_link",
]

BLOCKED = "blocked"  # an outcome of its own on a page: as expected, but not a pass
OWN = "own"  # so is a failure that a build shows with itself too
LABELS = {OWN: "fails with itself too"}  # of statuses that are no outcomes
GLYPHS = {
    Outcome.REGRESSION.value: "✕",
    Outcome.WRONG_FAILURE.value: "≠",
    Outcome.INCOMPLETE.value: "?",
    OWN: "↻",
    Outcome.FLAKY.value: "↯",
    Outcome.KNOWN.value: "~",
    Outcome.FIXED.value: "↑",
    Outcome.OK.value: "✓",
    BLOCKED: "⊘",
    Outcome.SKIPPED.value: "–",  # noqa: RUF001 - an en dash is meant
}  # worst first: the order in which a heat map decides what a square shows

_HERE = "migmatrix.harness.report"


@cache
def pages(*rooms: str) -> Environment:
    """The templates of these packages, in this order, and the shared ones."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(room) for room in (*rooms, _HERE)]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters.update(duration=duration, fragment=fragment, web_link=web_link)
    environment.globals.update(plural=plural)
    return environment


def _finalize(value: Any) -> Any:
    """Make foreign text visible before it is escaped; Markup is our own."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def static(name: str, room: str = _HERE) -> str:
    """The text of one of our own files of style or script."""
    return (resources.files(room) / "static" / name).read_text(encoding="utf-8")


def script(*texts: str, waits: bool = False) -> str:
    """Scripts as one, of which nothing is global; one that `waits` may await what it loads."""
    return f"({'async ' if waits else ''}() => {{\n" + "\n".join(texts) + "\n})();"


def fragment(value: str) -> str:
    """Return `value` for use in a URL fragment of the form ``#key=value&key=value``."""
    return quote(visible(value), safe="/")


def web_link(link: str) -> str:
    """Return `link` if a click on it can only open a web page, else nothing (``javascript:``)."""
    return link if urlsplit(link).scheme in ("http", "https") else ""


def data_text(data: Any) -> str:
    """The JSON of `data`; no ``<`` is left in it that could end an element or start a comment."""
    text = json.dumps(_visible(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


def _visible(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {_visible(k): _visible(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and not (value and isinstance(value[0], int)):
        return [_visible(v) for v in value]
    return value
