# SPDX-License-Identifier: Apache-2.0
"""The history as a sqlite file beside it, for questions in SQL: made from the lines, and made again when it is old or gone.

1. Nothing reads it but people and their tools; every answer of this program comes from the lines.
2. It remembers the last line that it was made from. So lines that were taken from the end of the file, which no seal can
   show, are told when it is made again.
3. A row of `spans` is a cell that said the same on every night from one to another, all of which have it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.files import PUBLIC, is_plain, replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from migmatrix.harness.history.history import History
    from migmatrix.harness.history.records import Night

__all__ = ["make_view", "view_path"]

_SCHEMA: Final = """
CREATE TABLE made_from (lines INTEGER NOT NULL, sha256 TEXT NOT NULL);
CREATE TABLE nights (number INTEGER PRIMARY KEY, time TEXT NOT NULL, exit_code INTEGER NOT NULL, harness TEXT NOT NULL,
  patterns TEXT NOT NULL, kernel TEXT NOT NULL, engine TEXT NOT NULL, planned INTEGER NOT NULL, run INTEGER NOT NULL,
  reused INTEGER NOT NULL, skipped INTEGER NOT NULL, root TEXT NOT NULL, sha256 TEXT NOT NULL);
CREATE TABLE builds (night INTEGER NOT NULL, id TEXT NOT NULL, version TEXT NOT NULL, package TEXT NOT NULL,
  origin TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (night, id)) WITHOUT ROWID;
CREATE TABLE signatures (night INTEGER NOT NULL, signature TEXT NOT NULL, cells INTEGER NOT NULL, message TEXT NOT NULL,
  PRIMARY KEY (night, signature)) WITHOUT ROWID;
CREATE TABLE spans (cell TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, verdict TEXT NOT NULL,
  outcome TEXT NOT NULL, signature TEXT, key TEXT NOT NULL, PRIMARY KEY (cell, first)) WITHOUT ROWID;
"""


def view_path(history: Path) -> Path:
    """Where the view of a history is: ``history.db`` beside ``history.jsonl``."""
    return history.with_suffix(".db")


def make_view(history: History, log: Callable[[str], None]) -> Path:
    """Make the view again unless it is of these lines; `log` is told when it had seen a line that is gone."""
    path = view_path(history.path)
    last = max(history.nights, key=lambda night: night.number, default=None)
    mark = (len(history.nights), last.sha256 if last else "")
    seen = _made_from(path)
    if seen == mark:
        return path
    if seen is not None and seen[1] and seen[1] not in {night.sha256 for night in history.nights}:
        log(
            f"history: {str(history.path)!r} had {seen[0]} lines, of which the last is gone: somebody took lines away"
        )
    with replacing(path, PUBLIC) as new, closing(sqlite3.connect(new)) as database, database:
        database.executescript(_SCHEMA)
        database.execute("INSERT INTO made_from VALUES (?, ?)", mark)
        for night in history.nights:
            _add(database, night)
        database.executemany("INSERT INTO spans VALUES (?, ?, ?, ?, ?, ?, ?)", _spans(history.nights))
    return path


def _made_from(path: Path) -> tuple[int, str] | None:
    """Lines and last line of the view that is there; None for what is no view."""
    if not is_plain(path):
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            row: tuple[int, str] | None = database.execute("SELECT lines, sha256 FROM made_from").fetchone()
            return row
    except sqlite3.Error:  # damaged, or of something else: it is made again
        return None


def _add(database: sqlite3.Connection, night: Night) -> None:
    where, counts, number = night.environment, night.counts, night.number
    row: Sequence[Any] = (
        number, night.time.isoformat(), night.exit_code, where.harness, where.patterns, where.kernel, where.engine,
        counts.planned, counts.run, counts.reused, counts.skipped, night.root, night.sha256,
    )  # fmt: skip
    database.execute(f"INSERT INTO nights VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608 - question marks
    database.executemany(
        "INSERT INTO builds VALUES (?, ?, ?, ?, ?, ?)",
        ((number, b.id, b.version, b.package, b.origin, b.digest) for b in night.builds),
    )
    database.executemany(
        "INSERT INTO signatures VALUES (?, ?, ?, ?)",
        ((number, s.signature, s.cells, s.cause.message) for s in night.sightings),
    )


def _spans(nights: Sequence[Night]) -> Iterator[tuple[Any, ...]]:
    """Rows of `spans`, by cell as they end."""
    open_: dict[str, tuple[int, int, tuple[Any, ...]]] = {}  # first, last, what is said
    for night in nights:
        cells, now = night.cells, {}
        for index, id_ in enumerate(cells.ids):
            said = (
                cells.verdicts[index],
                cells.outcomes[index],
                cells.signature_at(index),
                cells.key_at(index),
            )
            before = open_.pop(id_, None)
            if before is not None and before[2] == said:
                now[id_] = (before[0], night.number, said)
                continue
            if before is not None:
                yield (id_, before[0], before[1], *before[2])
            now[id_] = (night.number, night.number, said)
        yield from ((id_, first, last, *said) for id_, (first, last, said) in open_.items())
        open_ = now
    yield from ((id_, first, last, *said) for id_, (first, last, said) in open_.items())
