# SPDX-License-Identifier: Apache-2.0
"""Texts of a report: cut to a length, put on one line, and numbers as people read them.

Every renderer passes what an emulator said through `harness.visible` first; each then adds the escaping of its format.
"""

from __future__ import annotations

from migmatrix.harness.visible import visible

__all__ = ["clip", "duration", "one_line", "plural", "tail"]


def clip(text: str, limit: int) -> str:
    """At most `limit` characters of `text`, from the start; says how many were left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def one_line(text: str, limit: int) -> str:
    """Return `text` made visible, on one line, of about `limit` characters at most."""
    return clip(" ".join(visible(text).split()), limit)


def tail(text: str, limit: int) -> str:
    """At most `limit` characters of `text`, from the end; says how many were left out."""
    if len(text) <= limit:
        return text
    return f"({len(text) - limit:,} earlier characters)…\n{text[-limit:]}"


def plural(count: int, word: str) -> str:
    """Return ``1 cell``, ``2 cells``, ``1,204 cells``."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def duration(seconds: float) -> str:
    """Seconds for people: ``0.4 s``, ``38 s``, ``12 min 03 s``, ``2 h 05 min``."""
    if seconds < 10:  # noqa: PLR2004 - below that a tenth matters
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left:02d} min" if hours else f"{minutes} min {rest:02d} s"
