# SPDX-License-Identifier: Apache-2.0
"""The journal of a search: one JSON line per run, on the disk before the next run begins, so that a search resumes.

1. The first line says what is searched; a journal of another search is refused, never mixed in.
2. A line is written whole and synced. A last line that a crash cut off is dropped: its run is made again.
3. One process at a time writes a journal.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from migmatrix.harness.bisect.records import Run
from migmatrix.harness.errors import StoreError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Journal"]

_FORMAT = 1


class Journal:
    """The runs of one search so far; `add` appends one. Get one with `Journal.open`."""

    def __init__(self, path: Path, runs: list[Run]) -> None:
        self.path = path
        self.runs = runs
        self.resumed = len(runs)

    @classmethod
    @contextmanager
    def open(cls, path: Path, task: dict[str, Any]) -> Iterator[Journal]:
        """Open or begin the journal of `task`; UserError when it is another's or somebody writes it."""
        with _errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path.with_suffix(".lock"), blocking=False)
        try:
            with lock:
                yield cls(path, _begun(path, {"format": _FORMAT, "task": task}))
        except Timeout as err:
            raise UserError(f"another process is writing {str(path)!r}") from err

    def add(self, run: Run) -> None:
        """Append a run; it is on the disk when this returns."""
        with _errors(self.path):
            _append(self.path, run.to_json())
        self.runs.append(run)


def _begun(path: Path, head: dict[str, Any]) -> list[Run]:
    """The runs of a journal, which is begun when there is none."""
    with _errors(path):
        lines = _whole_lines(path)
        if not lines:
            _append(path, head)
            return []
    try:
        found, *rest = (json.loads(line) for line in lines)
        if found != json.loads(json.dumps(head)):
            raise UserError(f"{str(path)!r} is the journal of another search: choose another --out")
        return [Run.from_json(record) for record in rest]
    except (ValueError, KeyError, TypeError) as err:
        raise UserError(f"{str(path)!r} is not a journal of a search: {err}") from err


def _whole_lines(path: Path) -> list[bytes]:
    """The complete lines of a file; what a crash left behind them is cut off."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return whole.splitlines()


def _append(path: Path, record: dict[str, Any]) -> None:
    with path.open("ab") as file:
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except Timeout:
        raise
    except OSError as err:
        raise StoreError(f"cannot write {str(path)!r}: {err.strerror or err}") from err
