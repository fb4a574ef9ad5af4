# SPDX-License-Identifier: Apache-2.0
"""A document as plain text for a mail, and as Markdown for an issue or a page. Decides nothing."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from migmatrix.harness.upstream.document import Attached, Items, Table, Text, Verbatim

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migmatrix.harness.upstream.document import Block, Document

__all__ = ["markdown", "plain_text"]

_WIDTH = 76
_MARKS = re.compile(r"([\\`*_\[\]<>|#])")


def plain_text(document: Document) -> str:
    """The body of a mail, the title as its first line; paragraphs are wrapped at 76 characters, the rest is not."""
    lines = [document.title, ""]
    for part in document.parts:
        lines += [part.heading, "-" * len(part.heading)]
        for block in part.blocks:
            lines += [*_plain(block), ""]
    return "\n".join(lines)


def _plain(block: Block) -> Iterator[str]:
    match block:
        case Text():
            yield from _wrapped(block.text, "")
        case Attached():
            yield from _wrapped(f"{block.name} {block.text}", "")
        case Items():
            for line in block.lines:
                yield from _wrapped(line, "  ", "* ")
        case Verbatim():
            yield from (f"    {line}".rstrip() for line in block.text.splitlines())
        case Table():
            yield from _columns(block)


def _wrapped(text: str, indent: str, first: str = "") -> list[str]:
    """Folded at blanks alone: a path or a word of an emulator stays whole."""
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _columns(table: Table) -> Iterator[str]:
    rows = [table.head, *table.rows]
    widths = [max(len(row[at]) for row in rows) for at in range(len(table.head))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def markdown(document: Document) -> str:
    """A page of `docs/findings/`."""
    lines = [f"# {_escaped(document.title)}", ""]
    for part in document.parts:
        lines += [f"## {_escaped(part.heading)}", ""]
        for block in part.blocks:
            lines += [*_marked(block), ""]
    return "\n".join(lines)


def _marked(block: Block) -> Iterator[str]:
    match block:
        case Text():
            yield _escaped(block.text)
        case Attached():
            yield f"[{_escaped(block.name)}]({block.name}) {_escaped(block.text)}"
        case Items():
            yield from (f"* {_escaped(line)}" for line in block.lines)
        case Verbatim():
            fence = _fence(block.text)
            yield from (f"{fence}{block.language}", *block.text.splitlines(), fence)
        case Table():
            yield _row(block.head)
            yield _row(["---"] * len(block.head), escape=False)
            yield from map(_row, block.rows)


def _row(cells: Sequence[str], *, escape: bool = True) -> str:
    return f"| {' | '.join(_escaped(cell) if escape else cell for cell in cells)} |"


def _fence(text: str) -> str:
    """Longer than any run of backticks in the text, which is an emulator's."""
    return "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)


def _escaped(text: str) -> str:
    return _MARKS.sub(r"\\\1", text)
