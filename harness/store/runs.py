# SPDX-License-Identifier: Apache-2.0
"""A run directory: `run.db` (sqlite, WAL), `results.jsonl` as the cells finish, `evidence/`, the reports.

`run.db` holds the evidence of every leg that the run's verdicts rest on, so that `judge`, `report` and `show` need
nothing else, on any machine; `evidence/` holds the streams that failing legs were given. The leg store, not this directory, is what a run resumes from: starting a run again
writes its directory anew, from legs that are found done.

1. One process writes to a run directory at a time: it holds a lock on the directory itself.
2. What is read was written so: facts, results and evidence have check sums, and so has the set of cells, in which none
   is missing; runs of before have none, and are read.
3. Nothing is written to a signed directory, which holds a run too: no reader leaves a file beside its database.
"""

from __future__ import annotations

import functools
import hashlib
import json
import operator
import os
import sqlite3
import zlib
from contextlib import ExitStack, closing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Self

from migmatrix.harness.errors import StoreError, UserError
from migmatrix.harness.files import PUBLIC, is_plain, is_text, replacing
from migmatrix.harness.model import CellResult
from migmatrix.harness.store.basis import Basis
from migmatrix.harness.store.legs import EVIDENCE
from migmatrix.harness.store.place import anew, discard, unused, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from migmatrix.harness.model import Cell, LegEvidence

__all__ = ["DATABASE", "SIGNATURE", "RunStore"]

DATABASE = "run.db"
_RESULTS = "results.jsonl"
SIGNATURE = "test-result.dsse.json"  # only a signed directory has one
_FORMAT = 1
_SUM = "sha256"
# What sqlite says of files that may be whole; the low byte is the kind.
_NOT_NOW = {
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM,
}  # fmt: skip
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS hops (key TEXT PRIMARY KEY, evidence BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS cells (cell TEXT PRIMARY KEY, result TEXT NOT NULL, basis TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tally (id INTEGER PRIMARY KEY CHECK (id = 1), cells INTEGER NOT NULL, sum TEXT NOT NULL);
"""


def _ignore(*_: object) -> None:
    """Tell nobody."""


class RunStore:
    """One run directory, open for writing (`create`) or reading (`open`)."""

    def __init__(self, directory: Path, database: sqlite3.Connection, stack: ExitStack) -> None:
        self.directory = directory
        self.signed = False  # whether nothing may be written here any more
        self._database = database
        self._stack = stack
        self._results: Any = None
        self._kept: dict[str, bool] = {}  # by leg: whether what is kept left a stream
        self._ids: set[str] = set()
        self._sum = 0  # of the ids, in any order

    @classmethod
    def create(cls, directory: Path, plan_digest: str, log: Callable[[str], None] = _ignore) -> Self:
        """Begin a run here; UserError when the directory is another's, or cannot be written.

        Another's is what holds another plan's run, or what another process is writing now. `log` is told of a damaged
        database, which is set aside: nothing in it is needed.
        """
        cls.check(directory, plan_digest)
        with ExitStack() as stack:
            try:
                directory.mkdir(parents=True, exist_ok=True)
                stack.enter_context(writing(directory))
                cls._make_way(directory, plan_digest, log)
                database = stack.enter_context(closing(cls._connect(directory)))
                results = stack.enter_context(anew(directory / _RESULTS))
            except (OSError, sqlite3.Error) as err:
                raise UserError(f"cannot write to {str(directory)!r}: {err}") from err
            store = cls(directory, database, stack.pop_all())
        store._results = results
        store.set_meta({"format": _FORMAT, "plan": plan_digest})
        return store

    @classmethod
    def open(cls, directory: Path, *, untouched: bool = False) -> Self:
        """Read a run; UserError when there is none. Of one that is signed, or `untouched`, nothing is written."""
        if not is_plain(directory / DATABASE):
            raise UserError(f"{str(directory)!r} holds no run")
        with ExitStack() as stack:
            with _reading(directory):
                signed = untouched or os.path.lexists(directory / SIGNATURE)
                connect = cls._connect_signed if signed else cls._connect
                database = stack.enter_context(closing(connect(directory)))
            store = cls(directory, database, stack)
            store.signed = signed
            version = store.meta().get("format")
            if version != _FORMAT:
                raise UserError(f"the run in {str(directory)!r} has format {version!r}, not {_FORMAT}")
            store._stack = stack.pop_all()
        return store

    @staticmethod
    def _connect(directory: Path) -> sqlite3.Connection:
        with ExitStack() as unless_good:
            database = sqlite3.connect(directory / DATABASE, isolation_level=None)
            unless_good.callback(database.close)
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=NORMAL")
            database.executescript(_SCHEMA)
            unless_good.pop_all()
        return database

    @staticmethod
    def _connect_signed(directory: Path) -> sqlite3.Connection:
        """Read only, and without the files that sqlite keeps beside a database: rule 3."""
        place = (directory / DATABASE).absolute().as_uri()
        return sqlite3.connect(f"{place}?mode=ro&immutable=1", uri=True, isolation_level=None)

    def copy_database(self, directory: Path) -> None:
        """Write the database as it is now to another directory, in one file; StoreError when that cannot be done."""
        with self._errors(), closing(sqlite3.connect(directory / DATABASE)) as copy:
            self._database.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")

    def refuse_signed(self) -> None:
        """UserError when this is a signed directory (rule 3)."""
        if self.signed:
            raise UserError(f"{str(self.directory)!r} is signed, nothing may be written to it any more")

    @classmethod
    def check(cls, directory: Path, plan_digest: str = "") -> None:
        """Raise the UserError of `create` for what can be seen before; without a plan's digest any run will do."""
        place = next(path for path in (directory, *directory.absolute().parents) if os.path.lexists(path))
        if not is_text(directory.absolute()):
            raise UserError(f"cannot write to {str(directory)!r}: its path is not UTF-8")
        if not place.is_dir():
            which = "it" if place == directory else repr(str(place))
            raise UserError(f"cannot write to {str(directory)!r}: {which} is no directory")
        try:
            if directory.is_dir():
                cls._refuse_others(directory, plan_digest)
        except _DamagedRunError:  # which `create` sets aside
            pass
        except OSError as err:
            raise UserError(f"cannot write to {str(directory)!r}: {err}") from err

    @classmethod
    def _refuse_others(cls, directory: Path, plan_digest: str) -> None:
        if os.path.lexists(directory / SIGNATURE):
            raise UserError(f"{str(directory)!r} is signed, nothing may be written to it any more")
        if not os.path.lexists(directory / DATABASE):
            if any(directory.iterdir()):
                raise UserError(f"{str(directory)!r} is not empty and holds no run")
            return
        plan = cls._plan_of(directory)
        if plan_digest and plan not in (plan_digest, None):
            raise UserError(f"{str(directory)!r} holds the run of another plan; choose another --out")

    @classmethod
    def _make_way(cls, directory: Path, plan_digest: str, log: Callable[[str], None]) -> None:
        """Discard the database of the same plan's run, set a damaged one aside; UserError for another plan's."""
        path = directory / DATABASE
        try:
            cls._refuse_others(directory, plan_digest)
        except _DamagedRunError as err:
            path.rename(unused(path.with_name(f"{path.name}.damaged")))
            log(f"{err}; set it aside and began anew")
        discard(path)

    @classmethod
    def _plan_of(cls, directory: Path) -> str | None:
        """The digest of the plan whose run is here, if it had begun."""
        if not is_plain(path := directory / DATABASE):
            raise _DamagedRunError(f"{str(path)!r} is not a plain file")
        with _reading(directory), closing(cls._connect(directory)) as database:
            return cls(directory, database, ExitStack()).meta().get("plan")

    def set_meta(self, facts: Mapping[str, Any]) -> None:
        """Keep facts about the run; values are JSON. UserError for a signed one."""
        self.refuse_signed()
        rows = [(name, json.dumps(value)) for name, value in facts.items()]
        with self._errors():
            self._database.execute("BEGIN")
            self._database.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)
            every = self._database.execute("SELECT * FROM meta WHERE name != ?", (_SUM,)).fetchall()
            self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_SUM, _sum(sorted(every))))
            self._database.execute("COMMIT")

    def meta(self) -> dict[str, Any]:
        """All facts about the run."""
        with _reading(self.directory):
            rows = dict(self._database.execute("SELECT * FROM meta"))
            if (told := rows.pop(_SUM, None)) is not None and told != _sum(sorted(rows.items())):
                raise _DamagedError("its facts differ from their check sum")
            return {name: json.loads(value) for name, value in rows.items()}

    def add(self, result: CellResult, basis: Basis, number: int | None = None) -> None:
        """Keep one cell's result, the evidence that it rests on, and its number in the plan, from 1; of `create`."""
        line = json.dumps(result.to_json())
        numbered = {} if number is None else {"number": number}
        row = (result.cell.id, line, _summed(line, basis.keys() | numbered))
        with self._errors():
            self._database.execute("BEGIN")
            self._keep(basis)
            self._database.execute("INSERT OR REPLACE INTO cells VALUES (?, ?, ?)", row)
            self._count(result.cell.id)
            self._database.execute("COMMIT")
            if self._results is not None:
                self._results.write(line + "\n")
                self._results.flush()

    def _count(self, cell: str) -> None:
        if cell not in self._ids:
            self._ids.add(cell)
            self._sum ^= int(_sum(cell), 16)
        row = len(self._ids), f"{self._sum:064x}"
        self._database.execute("INSERT OR REPLACE INTO tally VALUES (1, ?, ?)", row)

    def _keep(self, basis: Basis) -> None:
        for leg in basis.evidence():
            # Of two shards one may have needed the leg's state and the other not: the whole keeps the one that saved it.
            more = leg.stream is not None and not self._kept.get(leg.key)
            if leg.key not in self._kept or leg.infrastructure or more:
                blob = zlib.compress(EVIDENCE.dump_json(leg))
                self._database.execute("INSERT OR REPLACE INTO hops VALUES (?, ?)", (leg.key, blob))
                self._kept[leg.key] = leg.stream is not None

    def replace_results(self, results: Iterable[CellResult]) -> None:
        """Write all results anew, after judging again; UserError for a signed run."""
        self.refuse_signed()
        lines = {r.cell.id: json.dumps(r.to_json()) for r in results}
        rows = [(lines[cell], _summed(lines[cell], basis), cell) for cell, _, basis in self._cells()]
        mine = self._results is not None  # of `create`, which has the lock
        with self._errors(), nullcontext() if mine else writing(self.directory):
            with replacing(self.directory / _RESULTS, PUBLIC) as new:
                new.write_text("".join(line + "\n" for line in lines.values()))
            self._database.execute("BEGIN")
            self._database.executemany("UPDATE cells SET result = ?, basis = ? WHERE cell = ?", rows)
            self._database.execute("COMMIT")

    def stream(self, key: str) -> Path:
        """Where the compressed stream of a leg is kept, if a failing leg loaded it."""
        return self.directory / "evidence" / f"{key}.stream.zst"

    def _cells(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Cell id, result and basis of each cell, in the order in which they finished."""
        found = []
        with _reading(self.directory), self._snapshot():
            for cell, line, text in self._database.execute("SELECT * FROM cells ORDER BY rowid"):
                basis = json.loads(text)
                if (told := basis.pop(_SUM, None)) is not None and told != _sum([line, basis]):
                    raise _DamagedError(f"the result of {cell!r} differs from its check sum")
                found.append((cell, line, basis))
            self._check_tally([cell for cell, _, _ in found])
        return found

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Read all as it was at one moment, though a run is still writing."""
        self._database.execute("BEGIN")
        try:
            yield
        finally:
            self._database.execute("ROLLBACK")

    def _check_tally(self, cells: Sequence[str]) -> None:
        row = self._database.execute("SELECT cells, sum FROM tally").fetchone()
        if row is None:
            return
        found = functools.reduce(operator.xor, (int(_sum(cell), 16) for cell in cells), 0)
        if row != (len(cells), f"{found:064x}"):
            raise _DamagedError(f"it holds {len(cells)} cells, not the {row[0]} that were kept")

    def results(self) -> Iterator[CellResult]:
        """All results, in the order in which the cells finished."""
        for _, line, _ in self._cells():
            yield CellResult.from_json(json.loads(line))

    def numbers(self) -> dict[str, int]:
        """Numbers in the plan by cell id; runs that were made before numbers were kept, and merged ones, have none."""
        found = ((cell, basis.get("number")) for cell, _, basis in self._cells())
        return {cell: number for cell, number in found if number is not None}

    def judged(self) -> Iterator[tuple[Cell, Basis]]:
        """Every cell with what its verdict rests on, to judge it again."""
        for _, line, keys in self._cells():
            legs = tuple(None if key is None else self._known(key) for key in keys["hops"])
            probes = {build: self._known(key) for build, key in keys["probes"].items()}
            basis = Basis(legs, probes, keys.get("key", ""), keys.get("reused"))
            yield CellResult.from_json(json.loads(line)).cell, basis

    def keyed(self) -> Iterator[tuple[CellResult, str, bool | None]]:
        """Every result with the key of its path's last leg, "" where it is not known, and whether all legs were reused."""
        for _, line, keys in self._cells():
            key = keys.get("key") or (keys["hops"] or [None])[-1] or ""
            yield CellResult.from_json(json.loads(line)), key, keys.get("reused")

    def _known(self, key: str) -> LegEvidence:
        evidence = self.evidence(key)
        if evidence is None:
            raise StoreError(f"the run in {str(self.directory)!r} lacks the evidence of leg {key[:16]}")
        return evidence

    def evidence(self, key: str) -> LegEvidence | None:
        """The evidence of one leg, if the run has it."""
        with _reading(self.directory):
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
        self._stack.close()


class _DamagedError(Exception):
    """What a run directory holds is not what its check sums say."""


class _DamagedRunError(UserError):
    """A run cannot be read, and never will be."""


@contextmanager
def _reading(directory: Path) -> Iterator[None]:
    """Translate what damaged files raise, and what a file raises that is in use or out of reach: UserError."""
    told = f"cannot read the run in {str(directory)!r}"
    try:
        yield
    except sqlite3.Error as err:
        code = getattr(err, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)  # a text that is none has no code
        kind = UserError if code & 0xFF in _NOT_NOW else _DamagedRunError
        raise kind(f"{told}: {err}") from err
    except (
        _DamagedError,
        zlib.error,
        ValueError,
        TypeError,
        AttributeError,
    ) as err:  # a bit makes NULL of a text
        raise _DamagedRunError(f"{told}: {err}") from err


def _summed(line: str, basis: Mapping[str, Any]) -> str:
    """A cell's basis as JSON, with the check sum of it and of the result."""
    return json.dumps({**basis, _SUM: _sum([line, basis])})


def _sum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
