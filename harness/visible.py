# SPDX-License-Identifier: Apache-2.0
r"""What an emulator, a stream, a file name or a build says, fit for a terminal and for every format of a report.

Such text may hold anything: escape sequences, NULs, C1 controls, lone surrogates from undecodable bytes, marks that turn
the direction of writing. What may not stand comes out as Python would write it in a string: ``\x1b``, ``\u202e``.

`visible` is for text of several lines, `visible_line` for a name that must not make a line of its own.
"""

from __future__ import annotations

import re

__all__ = ["visible", "visible_line"]

# All but XML 1.0 (fifth edition), production 2 ``Char``, the strictest of the formats that reports are written in, less
# the C1 controls, which a terminal may obey.
_INVISIBLE = re.compile(
    "[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
    # Marks of direction, separators of lines, and what takes no place: a name with it looks like one without.
    "|[\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """`text` without control, surrogate and direction-changing characters; tab and newline stay.

    CR LF becomes a newline, because emulators on a terminal print it.
    """
    return _INVISIBLE.sub(_coded, text.replace("\r\n", "\n"))


def _coded(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code < 0x100:  # noqa: PLR2004 - one byte
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004 - two


def visible_line(text: str) -> str:
    """`text` in one line without characters that do not print; bytes read as Latin-1 that are UTF-8 become that."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else _named(c) for c in _utf8(text))


def _utf8(text: str) -> str:
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:  # it is text already, or no UTF-8
        return text


def _named(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
