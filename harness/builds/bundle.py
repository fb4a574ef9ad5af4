# SPDX-License-Identifier: Apache-2.0
"""The reference emulator's releases, as one bundle per state of its sources.

1. A bundle is named by the content of all that it is made from. It appears whole or not at all, never changes,
   and may be moved: nothing in it knows where it is.
2. The harness never imports the emulator: it copies its files, and calls it to freeze its data.
3. The digest of a release covers the code and the frozen data of that release and nothing else, so that another
   checkout, another interpreter or a container with the same content has the same leg keys.
4. A bundle that is not what its `seal` says is set aside and made again: what a damaged emulator does is no verdict.

A bundle is `code/` (the packages, with byte code that is not checked at start, so that it works on a read-only file
system), `releases/NAME` (frozen data), `bin/qemu-NAME` (what is started), `bin/forkserver` (starts many of them),
`manifest.json` (release -> digest) and `seal` (the digest of all the rest).
"""

from __future__ import annotations

import compileall
import hashlib
import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from importlib.util import MAGIC_NUMBER, find_spec
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import TYPE_CHECKING

from migmatrix.harness.builds.cachefiles import locked, new_directory
from migmatrix.harness.errors import BuildError
from migmatrix.harness.files import is_plain
from migmatrix.harness.releases import version_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["Bundle", "Bundles", "Sources", "launcher"]

_PACKAGE = "migmatrix"
_CODE = ("migmatrix/__init__.py", "migmatrix/emulator", "migmatrix/vmstate")
_DATA = ("migmatrix/data/machines", "migmatrix/data/compat")  # what the emulator freezes
_FREEZE_SECONDS = 120
_KEPT_SECONDS = 7 * 24 * 3600  # since its last use
_FORKSERVER = "forkserver"
_SEAL = "seal"
_PARTS = ("code", "releases", "start.py")
# No site module, no environment: the interpreter starts in half the time, and nothing of the user's gets in.
_FLAGS = "-I -S"
_START = """\
import marshal, os, sys

root = __file__.rpartition("/")[0]
sys.path.append(root + "/code")
try:
    fd = os.open(f"{root}/code.{sys.implementation.cache_tag}", os.O_RDONLY | os.O_CLOEXEC)
except FileNotFoundError:
    pass  # modules are found in `code`, one by one
else:
    size = int.from_bytes(os.read(fd, 8), "big")
    index = marshal.loads(os.read(fd, size))
    _, _, offset, length = index["migmatrix.emulator.start.packed"]
    names = {"__name__": "migmatrix.emulator.start.packed"}
    exec(marshal.loads(os.pread(fd, length, 8 + size + offset)), names)
    names["install"](fd, 8 + size, index, root + "/code")
from migmatrix.emulator.main import main

release, *arguments = sys.argv[1:]
if release == "forkserver":
    from migmatrix.emulator.start.forkserver import serve

    release, *arguments = serve(root, *arguments)
status = main(["-release", release, "-release-file", f"{root}/releases/{release}", *arguments])
sys.stdout.flush()
sys.stderr.flush()
os._exit(status)  # there is nothing left to take apart
"""


def launcher(interpreter: str, what: str) -> str:
    """The text of `bin/qemu-RELEASE`, or of `bin/forkserver`: a shell script that becomes the emulator."""
    return f'#!/bin/sh\nexec {shlex.quote(interpreter)} {_FLAGS} "${{0%/*}}/../start.py" {what} "$@"\n'


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the emulator's packages and data are; `root` is what has to be on the module search path."""

    root: Path

    @classmethod
    def installed(cls) -> Sources:
        """Those that this Python would import; BuildError when there are none."""
        found = find_spec(f"{_PACKAGE}.emulator")
        if found is None or found.origin is None:
            raise BuildError("the reference emulator is not installed beside the harness")
        return cls(Path(found.origin).parents[2])

    def code(self) -> Iterator[Path]:
        """The modules of the packages, relative to `root`, in order; their data is in what they freeze."""
        return (path for path in self._files(_CODE) if path.suffix == ".py")

    def digest(self) -> str:
        """Hex SHA-256 over all that a bundle is made from, the interpreter included."""
        interpreter = f"{_interpreter()} {sys.version} {MAGIC_NUMBER.hex()}\n{_FLAGS}\n{_START}"
        return _tree_digest(self.root, self._files((*_CODE, *_DATA)), interpreter)

    def _files(self, tops: Iterable[str]) -> Iterator[Path]:
        for top in (self.root / name for name in tops):
            for path in [top] if top.is_file() else sorted(top.rglob("*")):
                if path.is_file() and path.suffix != ".pyc":
                    yield path.relative_to(self.root)


def _tree_digest(root: Path, files: Iterable[Path], more: str) -> str:
    """Hex SHA-256 over names and contents of files, and `more`."""
    lines = (f"{hashlib.sha256((root / f).read_bytes()).hexdigest()}  {f.as_posix()}\n" for f in files)
    return hashlib.sha256(("".join(lines) + more).encode()).hexdigest()


def _interpreter() -> str:
    """The interpreter itself: one of a virtual environment first looks for its configuration."""
    return str(Path(sys.executable).resolve())


@dataclass(frozen=True)
class Bundle:
    """A finished bundle; `root` is named by the digest of its sources."""

    root: Path

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """Release -> hex SHA-256 of what it is made of; releases from old to new."""
        manifest: dict[str, str] = json.loads((self.root / "manifest.json").read_bytes())
        return manifest

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of what all releases are made of."""
        return hashlib.sha256(" ".join(self.digests.values()).encode()).hexdigest()

    def binary(self, release: str) -> Path:
        """What is started for a release."""
        return self.root / "bin" / f"qemu-{release}"

    @property
    def forkserver(self) -> Path:
        """What starts emulators of all releases by fork; a supervisor, see `emulator.start.forkserver`."""
        return self.root / "bin" / _FORKSERVER

    def is_whole(self) -> bool:
        """Whether every file is as it was made, and there is no other; no link is followed, and no FIFO waited for."""
        seal = self.root / _SEAL
        entries = list(self.root.rglob("*"))
        plain = all(is_plain(path) or (path.is_dir() and not path.is_symlink()) for path in entries)
        return plain and seal.is_file() and seal.read_bytes() == _seal(self.root)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of what a copy for another interpreter needs: all but byte code and launchers."""
        for part in _PARTS:
            top = self.root / part
            for path in [top] if top.is_file() else sorted(top.rglob("*")):
                if path.is_file() and path.suffix != ".pyc":
                    yield path.relative_to(self.root).as_posix(), path.read_bytes()


@dataclass(frozen=True, slots=True)
class Bundles:
    """The bundles below `cache`."""

    cache: Path
    sources: Sources
    log: Callable[[str], None] = print

    def find(self) -> Bundle | None:
        """The bundle of the sources as they are now, or None."""
        bundle = Bundle(self._root())
        return bundle if bundle.root.is_dir() and bundle.is_whole() else None

    def get(self) -> Bundle:
        """The same, made if need be; BuildError when the emulator does not freeze its releases."""
        with locked(self.cache / "locks" / "emulators.lock"):
            root = self._root()
            if os.path.lexists(root) and not (root.is_dir() and Bundle(root).is_whole()):
                root.rename(root.with_name(f".damaged-{secrets.token_hex(4)}"))
                self.log(f"the reference emulator in {str(root)!r} is damaged: set aside and made again")
            if not root.is_dir():
                self._remove_unused()
                with new_directory(root) as made:
                    _fill(made, self.sources)
            os.utime(root)
            return Bundle(root)

    def _root(self) -> Path:
        return self._all / self.sources.digest()

    @property
    def _all(self) -> Path:
        # absolute: emulators are started in directories of their own
        return self.cache.absolute() / "emulators"

    def _remove_unused(self) -> None:
        """Sources change often where people work on them, so old bundles go by themselves."""
        before = time.time() - _KEPT_SECONDS
        for root in self._all.glob("*"):
            if root.stat().st_mtime < before:
                shutil.rmtree(root)


def _fill(root: Path, sources: Sources) -> None:
    for file in sources.code():
        target = root / "code" / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sources.root / file, target)
    _compile(root / "code")
    _pack(root)
    (root / "start.py").write_text(_START)
    (root / "releases").mkdir()
    _freeze(sources, root / "releases")
    digests = dict(_digests(root, list(sources.code())))
    (root / "bin").mkdir()
    for name, what in [(_FORKSERVER, _FORKSERVER), *((f"qemu-{release}", release) for release in digests)]:
        path = root / "bin" / name
        path.write_text(launcher(_interpreter(), what))
        path.chmod(0o755)
    (root / "manifest.json").write_text(json.dumps(digests, indent=1))
    (root / _SEAL).write_bytes(_seal(root))


def _seal(root: Path) -> bytes:
    """Hex SHA-256 over names and contents of all files of a bundle but the seal, and over which can be executed."""
    files = sorted(path.relative_to(root) for path in root.rglob("*") if not path.is_dir())
    able = " ".join(f.as_posix() for f in files if (root / f).stat().st_mode & 0o100)
    return _tree_digest(root, (f for f in files if f != Path(_SEAL)), able).encode()


def _compile(code: Path) -> None:
    mode = PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(code, quiet=2, invalidation_mode=mode, stripdir=code):
        raise BuildError("the reference emulator does not compile")


def _pack(root: Path) -> None:
    """Let the emulator write its modules into one file, for the Python that the launchers name."""
    _run_emulator(root / "code", "packing", str(root), what="pack its modules")


def _freeze(sources: Sources, directory: Path) -> None:
    """Let the emulator write one file per release, named by it."""
    _run_emulator(sources.root, "freezing", str(directory), what="freeze its releases")


def _run_emulator(path: Path, module: str, *arguments: str, what: str) -> None:
    """Run one of the emulator's tools; BuildError when it does not do `what` it is for."""
    argv = [sys.executable, "-P", "-m", f"{_PACKAGE}.emulator.start.{module}", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            argv, env=environment, capture_output=True, text=True, timeout=_FREEZE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as err:
        raise BuildError(f"the reference emulator did not {what} in time") from err
    if done.returncode:
        words = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise BuildError(f"the reference emulator does not {what}: {words!r}")


def _digests(root: Path, code: list[Path]) -> Iterator[tuple[str, str]]:
    common = _tree_digest(root / "code", code, _FLAGS + _START)
    for path in sorted((root / "releases").iterdir(), key=lambda p: version_key(p.name)):
        data = hashlib.sha256(path.read_bytes()).hexdigest()
        yield path.name, hashlib.sha256(f"{common}{data}".encode()).hexdigest()
