# SPDX-License-Identifier: Apache-2.0
"""One side of a comparison: the results of a run, a night, a `report.json`, a `results.jsonl` or a signed directory.

1. ``DB@NUMBER`` is a night of a history, ``DB@-1`` its last. Any other name is a path.
2. A directory is a run when it has the run's database; else its `report.json` or `results.jsonl` counts.
3. What a side does not tell of its builds and its host is None, and no change is made up from it.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migmatrix.harness.errors import UserError
from migmatrix.harness.files import plain
from migmatrix.harness.history.book import HISTORY
from migmatrix.harness.history.history import History
from migmatrix.harness.history.night import night_of_run
from migmatrix.harness.model import CellResult
from migmatrix.harness.stored.reports import open_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from migmatrix.harness.history.records import Night

__all__ = ["Side", "read_side"]

_NIGHT = re.compile(r"(?P<database>.+)@(?P<number>-?[1-9]\d{0,6})")
_DATABASE, _REPORT, _RESULTS = "run.db", "report.json", "results.jsonl"


@dataclass(frozen=True)
class Side:
    """`results` by cell id, in the order of the ids; `night` has the builds and the host, where they are known."""

    name: str
    results: Mapping[str, CellResult]
    night: Night | None = None

    @classmethod
    def of(cls, name: str, results: Iterable[CellResult], night: Night | None = None) -> Side:
        """The side of some results; UserError for a cell that is there twice."""
        found: dict[str, CellResult] = {}
        for result in results:
            if found.setdefault(result.cell.id, result) is not result:
                raise UserError(f"{name!r} has the cell {result.cell.id!r} twice")
        return cls(name, dict(sorted(found.items())), night)


def read_side(name: str) -> Side:
    """The side that a name means (rules 1 and 2); UserError when there is none, or it is damaged."""
    found = _NIGHT.fullmatch(name)
    if found is not None and not os.path.lexists(name):
        night = History.open(Path(found["database"])).night(int(found["number"]))
        return Side.of(name, night.results(), night)
    path = Path(name)
    if not path.exists():
        raise UserError(f"there is no {name!r}: name a run, a {_REPORT}, a {_RESULTS} or DB@NIGHT")
    if path.name == HISTORY or (path / HISTORY).exists():
        raise UserError(f"{name!r} is a history: name one of its nights, as {name}@-1 for the last")
    if not path.is_dir():
        return _of_file(name, path)
    if (path / _DATABASE).exists():
        with open_run(path) as run:
            return Side.of(name, run.results(), night_of_run(run, shards=True))
    for file in (_RESULTS, _REPORT):
        if (path / file).exists():
            return _of_file(name, path / file)
    raise UserError(f"{name!r} holds no run, no {_REPORT} and no {_RESULTS}")


def _of_file(name: str, path: Path) -> Side:
    try:
        with plain(path) as file:
            text = file.read().decode()
        if path.suffix == ".jsonl":
            rows: Iterable[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
        else:
            rows = _rows(json.loads(text))
        return Side.of(name, [CellResult.from_json(row) for row in rows])
    except OSError as err:
        raise UserError(f"cannot read {str(path)!r}: {err.strerror or err}") from err
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        said = str(err).partition("\n")[0][:200]
        raise UserError(f"{str(path)!r} holds no results: {type(err).__name__}: {said}") from err


def _rows(report: Any) -> Iterable[dict[str, Any]]:
    """The rows of a `report.json` as lines of `results.jsonl`; a problem's smallest cell tells its cause."""
    groups = [group for groups in report["groups"].values() for group in groups]
    causes = {group["smallest"]["signature"]: group["smallest"]["cause"] for group in groups}
    columns = report["results"]["columns"]
    for row in report["results"]["rows"]:
        data = dict(zip(columns, row, strict=True))
        signature = data["signature"]
        told = causes.get(signature) or (
            {**_NOTHING, "kind": signature.partition(" ")[0]} if signature else None
        )
        yield {**data, "cause": told, "hops": []}


_NOTHING = {"kind": "", "device": "", "field": "", "message": ""}
