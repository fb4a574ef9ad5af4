# SPDX-License-Identifier: Apache-2.0
"""A page as plain records: a title, and sections of paragraphs, lists, verbatim text and tables. Knows no format."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Attached", "Block", "Document", "Items", "Part", "Table", "Text", "Verbatim"]


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Attached:
    """A paragraph that begins with the name of a file beside the page."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list of lines."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Lines to be shown as they are; `language` for what colours them."""

    text: str
    language: str = "text"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of equal length under a head."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Block = Text | Attached | Items | Verbatim | Table


@dataclass(frozen=True, slots=True)
class Part:
    """A section of the page."""

    heading: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """The whole page."""

    title: str
    parts: tuple[Part, ...]
