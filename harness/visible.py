# SPDX-License-Identifier: Apache-2.0
r"""`visible(text)`: what a stream, a file name or a build says, fit for a terminal and for one line.

Such text may hold escape sequences, line ends, C1 controls and marks that turn the direction of writing. Whatever does
not print comes out as Python would write it in a string: ``\x1b``, ``\u202e``.
"""

from __future__ import annotations

__all__ = ["visible"]


def visible(text: str) -> str:
    """`text` in one line without characters that do not print; bytes read as Latin-1 that are UTF-8 become that."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in _utf8(text))


def _utf8(text: str) -> str:
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:  # it is text already, or no UTF-8
        return text


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
