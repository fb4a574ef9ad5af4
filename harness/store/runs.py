# SPDX-License-Identifier: Apache-2.0
"""A run directory: `run.db` (sqlite, WAL), `results.jsonl` as the cells finish, `evidence/`, the reports.

`run.db` holds the evidence of every leg that the run's verdicts rest on, so that `judge`, `report` and `show` need
nothing else, on any machine; `evidence/` holds the streams that failing legs were given. The leg store, not this directory, is what a run resumes from: starting a run again
writes its directory anew, from legs that are found done.
"""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from migmatrix.harness.errors import StoreError, UserError
from migmatrix.harness.files import PUBLIC, replacing
from migmatrix.harness.model import CellResult
from migmatrix.harness.store.legs import EVIDENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from migmatrix.harness.model import Cell, LegEvidence

__all__ = ["Basis", "RunStore"]

_DATABASE = "run.db"
_RESULTS = "results.jsonl"
_FORMAT = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS hops (key TEXT PRIMARY KEY, evidence BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS cells (cell TEXT PRIMARY KEY, result TEXT NOT NULL, basis TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Basis:
    """What a verdict rests on, and what `judge_cell` takes: the legs of the path, the probes by build."""

    legs: tuple[LegEvidence | None, ...]
    probes: Mapping[str, LegEvidence]

    def keys(self) -> dict[str, Any]:
        """The leg keys, as JSON."""
        return {
            "hops": [None if leg is None else leg.key for leg in self.legs],
            "probes": {build: leg.key for build, leg in self.probes.items()},
        }

    def evidence(self) -> Iterator[LegEvidence]:
        """All evidence, each once or more."""
        yield from self.probes.values()
        yield from (leg for leg in self.legs if leg is not None)


class RunStore:
    """One run directory, open for writing (`create`) or reading (`open`)."""

    def __init__(self, directory: Path, database: sqlite3.Connection) -> None:
        self.directory = directory
        self._database = database
        self._results: Any = None
        self._kept: set[str] = set()

    @classmethod
    def create(cls, directory: Path, plan_digest: str) -> Self:
        """Begin a run here; UserError when the directory holds another plan's run or cannot be written."""
        cls.check(directory, plan_digest)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            store = cls(directory, cls._connect(directory))
            store._results = (directory / _RESULTS).open("w")
        except (OSError, sqlite3.Error) as err:
            raise UserError(f"cannot write to {str(directory)!r}: {err}") from err
        with store._errors():
            store._database.execute("DELETE FROM cells")
            store._database.execute("DELETE FROM meta")
            store._database.execute("DELETE FROM hops")
            store.set_meta({"format": _FORMAT, "plan": plan_digest})
        return store

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Read a run; UserError when there is none."""
        if not (directory / _DATABASE).is_file():
            raise UserError(f"{str(directory)!r} holds no run")
        try:
            store = cls(directory, cls._connect(directory))
            version = store.meta().get("format")
        except sqlite3.Error as err:
            raise UserError(f"cannot read the run in {str(directory)!r}: {err}") from err
        if version != _FORMAT:
            raise UserError(f"the run in {str(directory)!r} has format {version!r}, not {_FORMAT}")
        return store

    @staticmethod
    def _connect(directory: Path) -> sqlite3.Connection:
        database = sqlite3.connect(directory / _DATABASE, isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.executescript(_SCHEMA)
        return database

    @classmethod
    def check(cls, directory: Path, plan_digest: str = "") -> None:
        """Raise the UserError of `create` for what can be seen before; without a plan's digest any run will do."""
        place = next(path for path in (directory, *directory.absolute().parents) if os.path.lexists(path))
        if not place.is_dir():
            which = "it" if place == directory else repr(str(place))
            raise UserError(f"cannot write to {str(directory)!r}: {which} is no directory")
        try:
            if directory.is_dir():
                cls._refuse_others(directory, plan_digest)
        except (OSError, sqlite3.Error) as err:
            raise UserError(f"cannot write to {str(directory)!r}: {err}") from err

    @classmethod
    def _refuse_others(cls, directory: Path, plan_digest: str) -> None:
        if not (directory / _DATABASE).exists():
            if any(directory.iterdir()):
                raise UserError(f"{str(directory)!r} is not empty and holds no run")
            return
        with closing(cls._connect(directory)) as database:
            row = database.execute("SELECT value FROM meta WHERE name = 'plan'").fetchone()
        if plan_digest and row is not None and json.loads(row[0]) != plan_digest:
            raise UserError(f"{str(directory)!r} holds the run of another plan; choose another --out")

    def set_meta(self, facts: Mapping[str, Any]) -> None:
        """Keep facts about the run; values are JSON."""
        with self._errors():
            self._database.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)", [(n, json.dumps(v)) for n, v in facts.items()]
            )

    def meta(self) -> dict[str, Any]:
        """All facts about the run."""
        return {name: json.loads(value) for name, value in self._database.execute("SELECT * FROM meta")}

    def add(self, result: CellResult, basis: Basis, number: int | None = None) -> None:
        """Keep one cell's result, the evidence that it rests on, and its number in the plan, from 1."""
        line = json.dumps(result.to_json())
        numbered = {} if number is None else {"number": number}
        row = (result.cell.id, line, json.dumps(basis.keys() | numbered))
        with self._errors():
            self._database.execute("BEGIN")
            self._keep(basis)
            self._database.execute("INSERT OR REPLACE INTO cells VALUES (?, ?, ?)", row)
            self._database.execute("COMMIT")
            if self._results is not None:
                self._results.write(line + "\n")
                self._results.flush()

    def _keep(self, basis: Basis) -> None:
        for leg in basis.evidence():
            if leg.key not in self._kept or leg.infrastructure:
                blob = zlib.compress(EVIDENCE.dump_json(leg))
                self._database.execute("INSERT OR REPLACE INTO hops VALUES (?, ?)", (leg.key, blob))
                self._kept.add(leg.key)

    def replace_results(self, results: Iterable[CellResult]) -> None:
        """Write all results anew, after judging again."""
        lines = {r.cell.id: json.dumps(r.to_json()) for r in results}
        with self._errors(), replacing(self.directory / _RESULTS, PUBLIC) as new:
            new.write_text("".join(line + "\n" for line in lines.values()))
            self._database.execute("BEGIN")
            self._database.executemany(
                "UPDATE cells SET result = ? WHERE cell = ?", [(line, cell) for cell, line in lines.items()]
            )
            self._database.execute("COMMIT")

    def stream(self, key: str) -> Path:
        """Where the compressed stream of a leg is kept, if a failing leg loaded it."""
        return self.directory / "evidence" / f"{key}.stream.zst"

    def results(self) -> Iterator[CellResult]:
        """All results, in the order in which the cells finished."""
        for (line,) in self._database.execute("SELECT result FROM cells ORDER BY rowid"):
            yield CellResult.from_json(json.loads(line))

    def numbers(self) -> dict[str, int]:
        """Numbers in the plan by cell id; runs that were made before numbers were kept, and merged ones, have none."""
        rows = self._database.execute("SELECT cell, basis FROM cells ORDER BY rowid")
        found = ((cell, json.loads(basis).get("number")) for cell, basis in rows)
        return {cell: number for cell, number in found if number is not None}

    def judged(self) -> Iterator[tuple[Cell, Basis]]:
        """Every cell with what its verdict rests on, to judge it again."""
        for line, basis in self._database.execute("SELECT result, basis FROM cells ORDER BY rowid"):
            keys = json.loads(basis)
            legs = tuple(None if key is None else self._known(key) for key in keys["hops"])
            probes = {build: self._known(key) for build, key in keys["probes"].items()}
            yield CellResult.from_json(json.loads(line)).cell, Basis(legs, probes)

    def _known(self, key: str) -> LegEvidence:
        evidence = self.evidence(key)
        if evidence is None:
            raise StoreError(f"the run in {str(self.directory)!r} lacks the evidence of leg {key[:16]}")
        return evidence

    def evidence(self, key: str) -> LegEvidence | None:
        """The evidence of one leg, if the run has it."""
        row = self._database.execute("SELECT evidence FROM hops WHERE key = ?", (key,)).fetchone()
        return None if row is None else EVIDENCE.validate_json(zlib.decompress(row[0]))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as err:
            raise StoreError(f"cannot write to the run in {str(self.directory)!r}: {err}") from err

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._results is not None:
            self._results.close()
        self._database.close()
