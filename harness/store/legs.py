# SPDX-License-Identifier: Apache-2.0
"""The leg store: what every leg left, under the leg's key, shared by runs, workers and machines.

    <root>/hops/<2 hex>/<key>/evidence.json    written once, by rename
                             /stream.zst       the stream out, if one was saved and not yet evicted
                             /lock             held by the process that does the leg
    <root>/again/            a store of its own: the same legs, done a second time by `migmatrix explore`

Rules:
1. Evidence is complete or absent; a stream without evidence does not exist.
2. Evidence is checked against the SHA-256 that its file begins with, a stream against the one in its evidence.
   Entries of before there were check sums have none.
3. An entry that cannot be read is moved to <root>/bad/ and counts as absent: nothing is trusted, nothing deleted.
   So is what is no plain file, or no directory, where one should be: no link is followed, no FIFO waited for.
4. Eviction takes streams, least recently used first; evidence stays.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import zstandard
from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from migmatrix.harness.errors import StoreError, UserError
from migmatrix.harness.files import is_plain, is_text, plain, replacing, sealed, unsealed, write_whole
from migmatrix.harness.model import LegEvidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["EVIDENCE", "LegStore", "default_store"]

EVIDENCE: TypeAdapter[LegEvidence] = TypeAdapter(LegEvidence)

_UNSEALED = b'{"key":"'
_ZSTD_LEVEL = 1
_CHUNK = 1 << 20
_CLAIM_POLL = 0.05  # seconds


def default_store() -> Path:
    """`$XDG_CACHE_HOME/migmatrix`, by the XDG base directory specification."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "migmatrix"


class LegStore:
    """The store below `root`; `log` gets a line for each thing that a person should know."""

    def __init__(self, root: Path, log: Callable[[str], None]) -> None:
        self._root = root
        self._legs = root / "hops"
        self._bad = root / "bad"
        self._log = log
        if not is_text(root.absolute()):
            raise UserError(f"cannot write to the store {str(root)!r}: its path is not UTF-8")
        try:
            self._legs.mkdir(parents=True, exist_ok=True)
            self._bad.mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=self._legs):
                pass
        except OSError as err:
            raise UserError(f"cannot write to the store {str(root)!r}: {err.strerror}") from err

    def second(self) -> LegStore:
        """The store of legs that were done again, below this one."""
        return LegStore(self._root / "again", self._log)

    def _entry(self, key: str) -> Path:
        return self._legs / key[:2] / key

    def claim(self, key: str) -> Claim:
        """The right to do a leg, not yet taken."""
        with _store_errors("claim a leg"):
            self._make_entry(key)
        return Claim(self._entry(key) / "lock")

    def _make_entry(self, key: str) -> None:
        """Make the directory of an entry; what is in its way, or in that of its lock, is set aside."""
        entry = self._entry(key)
        for path in (entry.parent, entry):
            if path.is_symlink() or not path.is_dir():
                self._move_aside([path], key, "it is not a directory")
            path.mkdir(exist_ok=True)
        if not is_plain(entry / "lock"):
            self._move_aside([entry / "lock"], key, "its lock is not a plain file")

    def get(self, key: str) -> LegEvidence | None:
        """The evidence of a finished leg, or None."""
        try:
            with plain(self._entry(key) / "evidence.json") as file:
                evidence = _evidence(file.read())
        except FileNotFoundError:
            return None
        except (OSError, _Damaged) as err:
            self._set_aside(key, str(err))
            return None
        if evidence.key != key:
            self._set_aside(key, "evidence belongs to another leg")
            return None
        return evidence

    def put(self, evidence: LegEvidence, stream: Path | None) -> None:
        """Store what a leg left; StoreError when that fails, and then nothing is left of it."""
        entry = self._entry(evidence.key)
        with _store_errors("store a leg"):
            self._make_entry(evidence.key)
            for path in (entry / "stream.zst", entry / "evidence.json"):
                if path.is_dir() and not path.is_symlink():  # nothing else is in the way of a rename
                    self._move_aside([path], evidence.key, f"{path.name} is a directory")
            if stream is not None:
                with replacing(entry / "stream.zst") as new:
                    _compress(stream, new)
            write_whole(entry / "evidence.json", sealed(EVIDENCE.dump_json(evidence)))

    def has_stream(self, key: str) -> bool:
        """Whether the leg's stream out is still there."""
        return is_plain(self._entry(key) / "stream.zst")

    def fetch_stream(self, evidence: LegEvidence, target: Path) -> bool:
        """Write the leg's stream, uncompressed, to `target`; False when it is gone or damaged."""
        source = self._entry(evidence.key) / "stream.zst"
        if evidence.stream is None or not is_plain(source):
            return False
        sha256 = evidence.stream.sha256
        try:
            with _store_errors("fetch a stream"):
                with replacing(target) as new:
                    _decompress(source, new, sha256)
                os.utime(source)  # eviction goes by last use
        except _Damaged as err:
            self._set_aside(evidence.key, str(err))
            return False
        return True

    def export_stream(self, key: str, target: Path) -> None:
        """Give `target` the compressed stream of a leg: a link where that can be, else a copy."""
        source = self._entry(key) / "stream.zst"
        if target.exists() or not is_plain(source):
            return
        with _store_errors("keep a stream"):
            target.parent.mkdir(exist_ok=True)
            try:
                target.hardlink_to(source)
            except OSError:  # another file system
                with replacing(target) as new:
                    shutil.copyfile(source, new)

    def evict(self, limit: int) -> int:
        """Remove streams, least recently used first, until all take at most `limit` bytes; bytes removed."""
        streams = sorted((s.st_mtime_ns, s.st_size, p) for p, s in self._streams())
        excess = sum(size for _, size, _ in streams) - limit
        removed = 0
        for _, size, path in streams:
            if removed >= excess:
                break
            path.unlink(missing_ok=True)
            removed += size
        return removed

    def _streams(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self._legs.glob("*/*/stream.zst"):
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue  # another process evicts as well
            if stat.S_ISREG(status.st_mode):
                yield path, status

    def _set_aside(self, key: str, why: str) -> None:
        """Move an unreadable entry out of the way; its lock stays, as another process may hold it."""
        self._move_aside([self._entry(key) / name for name in ("evidence.json", "stream.zst")], key, why)

    def _move_aside(self, paths: Sequence[Path], key: str, why: str) -> None:
        """Move what there is of `paths` to <root>/bad/; nothing is told when there is nothing."""
        there = [path for path in paths if os.path.lexists(path)]
        if not there:
            return
        with _store_errors("set a damaged entry aside"):
            grave = Path(tempfile.mkdtemp(prefix=f"{key[:16]}-", dir=self._bad))
            for path in there:
                path.rename(grave / path.name)
        self._log(f"store: set a damaged entry aside, the leg is done again: {key[:16]}: {why}")


class Claim:
    """The right to do one leg, among all processes that share a store."""

    def __init__(self, path: Path) -> None:
        # A soft lock would outlive a killed holder; not asking for one also saves a probe of the directory per leg.
        self._lock = FileLock(path, blocking=False, is_singleton=False, fallback_to_soft=False)

    async def __aenter__(self) -> None:
        # flock(2) has no asynchronous form; this polls as filelock itself does, without a thread per wait.
        while not self._try():  # noqa: ASYNC110
            await asyncio.sleep(_CLAIM_POLL)

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()

    def _try(self) -> bool:
        with _store_errors("claim a leg"):
            try:
                self._lock.acquire()
            except Timeout:  # an OSError, but no failure
                return False
        return True


class _Damaged(Exception):
    """A file is not what its check sum says, or cannot be read."""


@contextmanager
def _store_errors(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise StoreError(f"cannot {doing}: {err.strerror or err}: {err.filename or ''}".rstrip(": ")) from err


def _evidence(data: bytes) -> LegEvidence:
    try:
        return EVIDENCE.validate_json(unsealed(data, _UNSEALED))
    except ValidationError as err:
        raise _Damaged(f"evidence is damaged ({err.error_count()} errors)") from err
    except ValueError as err:
        raise _Damaged(f"evidence is damaged ({err})") from err


def _compress(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        zstandard.ZstdCompressor(level=_ZSTD_LEVEL).copy_stream(reader, writer)


def _decompress(source: Path, target: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    try:
        with plain(source) as file, target.open("wb") as writer:
            for chunk in zstandard.ZstdDecompressor().read_to_iter(file, write_size=_CHUNK):
                digest.update(chunk)
                writer.write(chunk)
    except zstandard.ZstdError as err:
        raise _Damaged(f"stream is damaged ({err})") from err
    if digest.hexdigest() != sha256:
        raise _Damaged("stream is damaged (its checksum differs)")
