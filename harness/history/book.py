# SPDX-License-Identifier: Apache-2.0
"""The file of a history: read whole, append under a lock, repair a last line that was cut.

1. The file is only ever appended to: a line at a time, written at once, on the disk before the lock is given up.
2. Every line is sealed and names the one before it. A line that was changed, removed, added or moved is a UserError with its
   place. A last line without its end is what a killed writer left: it is told, and the next append sets it aside in a
   file ``*.cut``; nothing is lost silently.
3. One writer at a time holds ``flock`` on the file; its end, by any means, ends the lock.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from migmatrix.harness.errors import UserError
from migmatrix.harness.files import PUBLIC, is_text, plain
from migmatrix.harness.history.columns import Axes
from migmatrix.harness.history.line import FIRST, night_of_line, sealed_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from migmatrix.harness.history.records import Night

__all__ = ["HISTORY", "Book", "append", "book_path", "read_book"]

HISTORY: Final = "history.jsonl"


@dataclass(frozen=True, slots=True)
class Book:
    """What a file holds: its nights, in the order of the lines, and the bytes of a last line that was cut."""

    path: Path
    nights: tuple[Night, ...]
    cut: bytes = b""

    @property
    def last(self) -> str:
        """The SHA-256 that the next line names."""
        return self.nights[-1].sha256 if self.nights else FIRST


def book_path(database: Path) -> Path:
    """The file of a history: `database` itself when it is, or is called, a ``.jsonl`` file, else one in that directory."""
    return database if database.suffix == ".jsonl" and not database.is_dir() else database / HISTORY


def read_book(path: Path) -> Book:
    """All of a file; UserError when there is none, when it cannot be read, and for a line that is not as it was written."""
    try:
        with plain(path) as file:
            data = file.read()
    except FileNotFoundError as err:
        raise UserError(
            f"there is no history {str(path)!r}: `migmatrix history add RUN --db DB` begins one"
        ) from err
    except OSError as err:
        raise UserError(f"cannot read the history {str(path)!r}: {err.strerror or err}") from err
    return _parsed(path, data)


def _parsed(path: Path, data: bytes) -> Book:
    *lines, rest = data.split(b"\n")
    axes, nights, last = Axes(), [], FIRST
    for number, line in enumerate(lines, 1):
        try:
            night, previous = night_of_line(line, number, axes)
        except (ValueError, RecursionError) as err:
            raise UserError(
                f"{path}:{number}: this line of the history is damaged: {_one_line(err)}"
            ) from err
        if previous != last:
            raise UserError(
                f"{path}:{number}: this line does not follow the one before it: a line was removed, changed or moved"
            )
        nights.append(night)
        last = night.sha256
    return Book(path, tuple(nights), rest)


def _one_line(err: Exception) -> str:
    return str(err).partition("\n")[0][:200]


def append(path: Path, make: Callable[[Book], Night | None], log: Callable[[str], None]) -> Book:
    """Append the night that `make` returns for what is there, or nothing for None; return what is there then.

    The file and its directory are made where they are missing. UserError as in `read_book`, and when it cannot be written.
    """
    if not is_text(path.absolute()):
        raise UserError(f"cannot write to the history {str(path)!r}: its path is not UTF-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path) as handle:
            book = read_book(path)
            night = make(book)
            if book.cut:
                _repair(handle, book, log)
            if night is None:
                return book
            line = sealed_line(night, book.last)
            _write(handle, line)
            written, _ = night_of_line(line, len(book.nights) + 1, Axes())
            return Book(path, (*book.nights, written))
    except OSError as err:
        raise UserError(f"cannot write to the history {str(path)!r}: {err.strerror or err}") from err


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PUBLIC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def _repair(handle: int, book: Book, log: Callable[[str], None]) -> None:
    """Set what a killed writer left aside; a line of which only the end of line is missing is whole."""
    grave = _unused(book.path)
    grave.write_bytes(book.cut)
    os.ftruncate(handle, os.fstat(handle).st_size - len(book.cut))
    log(
        f"history: the last line was cut, a writer was killed: set its {len(book.cut)} bytes aside as {str(grave)!r}"
    )


def _unused(path: Path) -> Path:
    number = 1
    while os.path.lexists(grave := path.with_name(f"{path.name}.{number}.cut")):
        number += 1
    return grave


def _write(handle: int, line: bytes) -> None:
    """Write a line at once, or leave what was there."""
    before = os.fstat(handle).st_size
    try:
        written = 0
        while written < len(line):
            written += os.write(handle, line[written:])
        os.fsync(handle)
    except BaseException:
        os.ftruncate(handle, before)
        raise
