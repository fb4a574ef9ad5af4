# SPDX-License-Identifier: Apache-2.0
"""QMP's JSON as QEMU reads it: a stream of values with nothing required between them.

`Reader.feed(bytes)` gives values, and a `SyntaxMistake` where there is none, in order; the stream goes on after it.
Pure. Differences from JSON: strings may stand in single quotes; a value ends where its brackets do.

1. Tokens are cut first; a character that fits no token is a mistake, and what follows it up to a control character
   or a bracket is skipped.
2. A value is parsed when its brackets are closed, or when one is closed that was not open.
3. Sentences and positions are those of the release; limits are 256 levels, 64 MiB, 2 Mi tokens.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from migmatrix.emulator.texts import text
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Reader", "SyntaxMistake", "parse_one"]

_SPACE: Final = b" \t\r\n"
_BLANK: Final = (b" ", b"\t", b"\r", b"\n")
_WHOLE: Final = (b'"', b"'", b"{", b"}", b"[", b"]", b":", b",")  # what begins with these is complete
_DOUBLE: Final = rb"""(?:"(?:[^"\\\x00-\x1f]|\\[^\x00-\x1f])*"""
_SINGLE: Final = rb"""|'(?:[^'\\\x00-\x1f]|\\[^\x00-\x1f])*"""
_TOKEN: Final = re.compile(
    _DOUBLE
    + rb'"'
    + _SINGLE
    + rb"'"
    + rb"|[{}\[\]:,]|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|[a-z]+)"
)
# What may still become a token when more comes, and what a misfit is made of: patterns for rare cases.
_OPEN_ENDED: Final = (
    _DOUBLE + rb"\\?" + _SINGLE + rb"\\?"
    rb"|-?(?:0|[1-9][0-9]*)?(?:\.[0-9]*)?(?:[eE][+-]?[0-9]*)?|[a-z]+)\Z"
)
_STRAY: Final = (
    rb"(?s)" + _DOUBLE + rb"\\?" + _SINGLE + rb"\\?|-?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]*)?|-)?."
)
_RECOVERED: Final = rb"[\x00-\x1f{}\[\]:,]"
_MAX_DEPTH: Final = (
    256  # QEMU takes 1024; nothing in QMP is deeper than ten, and each level is a few calls here
)
_MAX_BYTES: Final = 64 << 20
_MAX_TOKENS: Final = 2 << 20
_ESCAPES: Final = {
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    '"': '"',
    "'": "'",
    "\\": "\\",
    "/": "/",
}
_HIGH: Final = range(0xD800, 0xDC00)  # the first half of a surrogate pair
_LOW: Final = range(0xDC00, 0xE000)
_KEYWORDS: Final = {b"true": True, b"false": False, b"null": None}
_PREMATURE: Final = "json-end"


class SyntaxMistake(Exception):
    """A mistake in the input; the text is that of the release."""


class _Token(NamedTuple):
    text: bytes
    line: int
    column: int


class Reader:
    """Bytes to values, for one connection, of which something may have been read: up to `line` and `column`."""

    def __init__(self, release: str, line: int = 1, column: int = 1) -> None:
        self._release = release
        self._buffer = b""
        self._line, self._column = line, column
        self._skipping = False
        self._glued = 0  # 1 right behind a number or a keyword, whose end is only seen at what follows
        self._reset()

    def _reset(self) -> None:
        self._tokens: list[_Token] = []
        self._bytes = 0
        self._braces = self._brackets = 0

    def feed(self, data: bytes) -> Iterator[Any]:
        """The values that are complete now, and `SyntaxMistake` instances between them."""
        self._buffer += data
        while (token := self._cut()) is not None:
            if isinstance(token, SyntaxMistake):
                self._reset()
                yield token
            elif self._closes(token):
                tokens, limit = self._tokens, self._limit()
                self._reset()
                yield SyntaxMistake(f"JSON {limit} limit exceeded") if limit else self._value(tokens)
        if len(self._buffer) > _MAX_BYTES:  # one token that does not end
            self._buffer = b""
            self._reset()
            yield SyntaxMistake("JSON token size limit exceeded")

    def end(self) -> SyntaxMistake:
        """What is wrong with input that ends here, within a value or before any."""
        tokens = self._tokens or [_Token(b"", self._line, self._column)]
        mistake = self._value(tokens) if self._tokens else None
        if isinstance(mistake, SyntaxMistake):
            return mistake
        return _mistake(self._release, tokens[-1], text(self._release, _PREMATURE))

    def _value(self, tokens: list[_Token]) -> Any:
        try:
            return _Parser(tokens, self._release).parse()
        except SyntaxMistake as err:
            return err

    def _closes(self, token: _Token) -> bool:
        """Take the token in; whether the value ends with it."""
        self._tokens.append(token)
        self._bytes += len(token.text)
        self._braces += (token.text == b"{") - (token.text == b"}")
        self._brackets += (token.text == b"[") - (token.text == b"]")
        open_ended = self._braces > 0 or self._brackets > 0
        return not open_ended or self._braces < 0 or self._brackets < 0 or bool(self._limit())

    def _limit(self) -> str:
        """Which limit the value has passed, "" for none."""
        if self._braces + self._brackets > _MAX_DEPTH:
            return "nesting depth"
        if self._bytes > _MAX_BYTES:
            return "token size"
        return "token count" if len(self._tokens) > _MAX_TOKENS else ""

    def _cut(self) -> _Token | SyntaxMistake | None:
        """The next token; None when more input is needed."""
        if self._skipping and not self._recover():
            return None
        if self._buffer[:1] in _BLANK:
            self._advance(len(self._buffer) - len(self._buffer.lstrip(_SPACE)))
            self._glued = 0
        if not self._buffer:
            return None
        found = _TOKEN.match(self._buffer)
        if self._may_grow(found):
            return None
        if found is None or self._runs_on(found[0]):
            return self._stray()
        token = self._advance(found.end())
        self._glued = int(token.text[-1:].isalnum())
        return token

    def _may_grow(self, found: re.Match[bytes] | None) -> bool:
        """Whether the input ends within what may be a token, or a longer one."""
        if found is not None:
            first = found[0][:1]
            if first in _WHOLE or (first.isalpha() and found.end() < len(self._buffer)):
                return False
        return re.match(_OPEN_ENDED, self._buffer) is not None

    def _runs_on(self, token: bytes) -> bool:
        """Whether a number is followed by what cannot follow one (``01``, ``1.5e``)."""
        following = self._buffer[len(token) : len(token) + 1].lower()
        if not token[-1:].isdigit() or b"e" in token.lower():
            return False
        return following.isdigit() or following == b"e" or (following == b"." and b"." not in token)

    def _recover(self) -> bool:
        found = re.search(_RECOVERED, self._buffer)
        self._advance(found.start() if found else len(self._buffer))
        self._skipping = found is None
        self._column += 1  # QEMU counts what ends the skipping twice
        return found is not None

    def _stray(self) -> SyntaxMistake:
        found = re.match(_STRAY, self._buffer)
        token = self._advance(found.end() if found else 1)
        self._skipping = True
        return _mistake(self._release, token, f"stray '{token.text.decode('utf-8', 'replace')}'")

    def _advance(self, length: int) -> _Token:
        token = _Token(self._buffer[:length], self._line, self._column + self._glued)  # QEMU counts it twice
        self._glued = 0
        self._buffer = self._buffer[length:]
        lines = token.text.count(b"\n")
        self._line += lines
        self._column = len(token.text) - token.text.rfind(b"\n") if lines else self._column + length
        return token


class _Parser:
    """One value from its tokens."""

    def __init__(self, tokens: list[_Token], release: str) -> None:
        self._tokens = tokens
        self._release = release
        self._next = 0

    def _peek(self) -> _Token:
        if self._next >= len(self._tokens):
            last = self._tokens[-1]
            end = last._replace(column=last.column + len(last.text))
            raise self._error(end, text(self._release, _PREMATURE))
        return self._tokens[self._next]

    def _pop(self) -> _Token:
        token = self._peek()
        self._next += 1
        return token

    def _error(self, token: _Token, problem: str) -> SyntaxMistake:
        return _mistake(self._release, token, problem)

    def parse(self) -> Any:
        """The value that comes next; SyntaxMistake."""
        token = self._pop()
        first = token.text[:1]
        if first == b"{":
            return self._members()
        if first == b"[":
            return self._elements()
        if first in b"\"'":
            return self._string(token)
        if first.isdigit() or first == b"-":
            return _number(token.text)
        if first.isalpha():
            return self._keyword(token)
        raise self._error(token, "expecting value")

    def _keyword(self, token: _Token) -> Any:
        if token.text not in _KEYWORDS:
            raise self._error(token, f"invalid keyword '{token.text.decode()}'")
        return _KEYWORDS[token.text]

    def _members(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._peek().text == b"}":
            self._pop()
            return found
        while True:
            self._member(found)
            token = self._pop()
            if token.text == b"}":
                return found
            if token.text != b",":
                raise self._error(token, text(self._release, "json-dict"))

    def _member(self, found: dict[str, Any]) -> None:
        token = self._peek()
        if token.text[:1] not in b"\"'":
            if token.text[:1].isalpha() and lives("", "11.1", self._release):
                self._keyword(token)  # until then any value was read where a key should be
            closing = token.text[:1] in b"}]:,"
            raise self._error(token, text(self._release, "json-key-closing" if closing else "json-key"))
        key = self.parse()
        colon = self._pop()
        if colon.text != b":":
            raise self._error(colon, text(self._release, "json-colon"))
        value_token = self._peek()
        value = self.parse()
        if key in found:
            raise self._error(value_token, "duplicate key")
        found[key] = value

    def _elements(self) -> list[Any]:
        found: list[Any] = []
        if self._peek().text == b"]":
            self._pop()
            return found
        while True:
            found.append(self.parse())
            token = self._pop()
            if token.text == b"]":
                return found
            if token.text != b",":
                raise self._error(token, text(self._release, "json-list"))

    def _string(self, token: _Token) -> str:
        try:
            body = token.text[1:-1].decode()
        except UnicodeDecodeError:
            raise self._error(token, "invalid UTF-8 sequence in string") from None
        return body if "\\" not in body else self._unescape(token, body)

    def _unescape(self, token: _Token, body: str) -> str:
        parts: list[str] = []
        rest = body
        while rest:
            plain, escape, rest = rest.partition("\\")
            parts.append(plain)
            if escape and rest[0] == "u":
                value, rest = self._unicode(token, rest)
                parts.append(value)
            elif escape:
                if rest[0] not in _ESCAPES:
                    raise self._error(token, "invalid escape sequence in string")
                parts.append(_ESCAPES[rest[0]])
                rest = rest[1:]
        return "".join(parts)

    def _unicode(self, token: _Token, rest: str) -> tuple[str, str]:
        """The character of ``uXXXX``, or of a pair of them, and what follows."""
        code = _hex(rest[1:5])
        used = 5
        if code is not None and code in _HIGH and rest[5:7] == "\\u":
            low = _hex(rest[7:11])
            if low is not None and low in _LOW:
                code, used = 0x10000 + (_HIGH.index(code) << 10) + _LOW.index(low), 11
        if not code or code in _HIGH or code in _LOW or code & 0xFFFE == 0xFFFE:  # noqa: PLR2004 - no characters
            shown = (rest + token.text[-1:].decode())[:5]  # as many as should be there, be it the quote
            raise self._error(token, f"\\{shown} is not a valid Unicode character")
        return chr(code), rest[used:]


def _hex(digits: str) -> int | None:
    try:
        return int(digits, 16) if len(digits) == 4 else None  # noqa: PLR2004 - four digits
    except ValueError:
        return None


def _number(token: bytes) -> int | float:
    return int(token) if token.lstrip(b"-").isdigit() else float(token)


def _mistake(release: str, token: _Token, problem: str) -> SyntaxMistake:
    return SyntaxMistake(text(release, "json", line=token.line, column=token.column, problem=problem))


def parse_one(given: str, release: str) -> dict[str, Any]:
    """The one object of an option's value in JSON form; SyntaxMistake."""
    reader = Reader(release)
    for value in reader.feed(given.encode() + b"\n"):
        if isinstance(value, SyntaxMistake):
            raise value
        if isinstance(value, dict):
            return value
        raise SyntaxMistake("JSON object expected")
    raise reader.end()
