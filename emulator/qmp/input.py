# SPDX-License-Identifier: Apache-2.0
"""Turns what a monitor's client sends into values: plain objects at once, all else by `emulator.qmp.syntax`.

Nearly every client sends one whole object at a time, which JSON and QEMU read alike. The first other input loads the
reader that knows QEMU's own grammar and error texts; the connection uses that reader from then on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.start.jsontext import NotPlain, read_object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.emulator.qmp.syntax import Reader

__all__ = ["Input"]

_SPACE: Final = b" \t\r\n"
_MAX_PLAIN: Final = 65536
_MAX_DEPTH: Final = 100  # less than any reader's limit


class Input:
    """Bytes to values, for one connection; what `feed` gives is what `Reader.feed` would."""

    def __init__(self, release: str) -> None:
        self._release = release
        self._line, self._column = 1, 1
        self._reader: Reader | None = None

    def feed(self, data: bytes) -> Iterator[Any]:
        """The values that are complete now, and `SyntaxMistake` instances between them."""
        if self._reader is None:
            try:
                value = _plain(data)
            except NotPlain:
                self._reader = self._careful()
            else:
                self._count(data)
                yield value
                return
        yield from self._reader.feed(data)

    def _careful(self) -> Reader:
        from migmatrix.emulator.qmp.syntax import Reader  # noqa: PLC0415 - few connections need it

        return Reader(self._release, self._line, self._column)

    def _count(self, data: bytes) -> None:
        lines = data.count(b"\n")
        self._line += lines
        self._column = len(data) - data.rfind(b"\n") if lines else self._column + len(data)


def _plain(data: bytes) -> dict[str, Any]:
    """The object that `data` is, but for white space; NotPlain when QEMU might see something else."""
    body = data.strip(_SPACE)
    deep = body.count(b"{") + body.count(b"[") > _MAX_DEPTH
    if deep or len(data) > _MAX_PLAIN or not body.isascii() or b"\\" in body:
        raise NotPlain
    return read_object(body.decode())
