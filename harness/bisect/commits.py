# SPDX-License-Identifier: Apache-2.0
"""Points that are commits: their order, checkouts, builds and the conventions of `git bisect run`.

1. The user's repository is only read. Checkouts are at most three clones that share its objects and keep build products,
   so that the next build is incremental.
2. A build installs into `$MIGMATRIX_OUT`, which is kept by commit and command and reused if both are the same.
3. Exit codes are those of `git bisect run` (git-bisect(1)): 0 is good, 125 untestable, any other up to 127 bad; anything
   else, also death by a signal, stops the search. A point whose build is bad is untestable.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from migmatrix.harness.bisect.cells import Unbuildable
from migmatrix.harness.bisect.records import Run, Shown
from migmatrix.harness.builds import prepare
from migmatrix.harness.builds.binary import BinarySpec
from migmatrix.harness.builds.cachefiles import new_directory, write_atomically
from migmatrix.harness.errors import BuildError, UserError
from migmatrix.harness.store.legs import Claim

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from migmatrix.harness.builds import PreparedBuild

__all__ = ["CommandProber", "Commit", "CommitBuilds", "history"]

_CHECKOUTS = 3  # the point that is run and the two that may come next
_UNTESTABLE = 125
_LAST_BAD = 127


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit, by its full hash, and the first line of its message."""

    sha: str
    subject: str


def history(repository: Path, one: str, other: str) -> tuple[tuple[Commit, ...], bool]:
    """The commits from the older to the newer of two, along first parents; and whether `one` is the older.

    UserError when a name is unknown or none is the other's ancestor along first parents.
    """
    names = [
        _git(repository, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}") for name in (one, other)
    ]
    for in_order in (True, False):
        old, new = names if in_order else reversed(names)
        line = _git(repository, "rev-list", "--reverse", "--first-parent", f"{old}..{new}").split()
        if line and _git(repository, "rev-parse", f"{line[0]}^1") == old:
            return tuple(_commit(repository, sha) for sha in (old, *line)), in_order
    raise UserError(f"neither of {one!r} and {other!r} leads to the other along first parents")


def _commit(repository: Path, sha: str) -> Commit:
    return Commit(sha, _git(repository, "log", "-1", "--format=%s", sha))


def _git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip() or "it is unknown").splitlines()[-1]
        raise UserError(f"git {arguments[0]} {arguments[-1]!r}: {said}")
    return done.stdout.strip()


@dataclass
class CommitBuilds:
    """Checks commits out and builds them; `cache` holds what is built, `checkouts` the clones.

    `command` is a shell command that installs into `$MIGMATRIX_OUT`, in which `binary` then is the emulator.
    """

    repository: Path
    commits: Sequence[Commit]
    command: str
    binary: str
    cache: Path
    checkouts: Path
    log: Callable[[str], None]
    _free: asyncio.Queue[int] = field(init=False)

    def __post_init__(self) -> None:
        self._free = asyncio.Queue()
        for number in range(_CHECKOUTS):
            self._free.put_nowait(number)

    async def build(self, point: int) -> PreparedBuild:
        """The build of a commit; Unbuildable when the command says so or leaves no emulator."""
        emulator = await self.emulator(point)
        name = self.commits[point].sha[:12]
        spec = BinarySpec(id=name, path=str(emulator))
        found = await asyncio.to_thread(prepare, {name: spec}, cache=self.cache, log=self.log)
        return _of_commit(found[name], self.home(point).name)

    def home(self, point: int) -> Path:
        """Where a commit's build is kept: by commit, command and binary."""
        key = json.dumps([self.commits[point].sha, self.command, self.binary])
        return self.cache / "commits" / hashlib.sha256(key.encode()).hexdigest()

    async def emulator(self, point: int) -> Path:
        """The emulator of a commit, built unless it is kept."""
        home = self.home(point)
        await asyncio.to_thread(home.mkdir, parents=True, exist_ok=True)
        async with Claim(home / "lock"):
            if not (home / "built").exists():
                await self._make(point, home)
        return home / "out" / self.binary

    async def _make(self, point: int, home: Path) -> None:
        commit = self.commits[point]
        shutil.rmtree(home / "out", ignore_errors=True)
        (home / "out").mkdir()
        self.log(f"building {commit.sha[:12]} {commit.subject}")
        async with self.checked_out(point) as tree:
            status = await _shell(self.command, tree, self._environment(point), home / "log")
        if _outcome(status, f"the build of {commit.sha[:12]}") is not Shown.PASS:
            raise Unbuildable(f"does not build: exit {status}, {_last_line(home / 'log')}")
        if not os.access(home / "out" / self.binary, os.X_OK):
            raise Unbuildable(f"the build leaves no {self.binary!r} in $MIGMATRIX_OUT")
        write_atomically(home / "built", b"")

    @contextlib.asynccontextmanager
    async def checked_out(self, point: int) -> AsyncIterator[Path]:
        """A checkout of a commit that nobody else uses meanwhile."""
        number = await self._free.get()
        tree = self.checkouts / str(number)
        checking = asyncio.ensure_future(asyncio.to_thread(self._check_out, tree, self.commits[point].sha))
        try:
            await asyncio.shield(checking)
            yield tree
        finally:
            await asyncio.wait([checking])  # a thread cannot be stopped, and until it ends the tree is in use
            self._free.put_nowait(number)

    def _check_out(self, tree: Path, sha: str) -> None:
        try:
            if not tree.exists():
                with new_directory(tree) as made:
                    _git(made, "clone", "--quiet", "--shared", "--no-checkout", str(self.repository), ".")
            _git(tree, "checkout", "--quiet", "--force", "--detach", sha)
        except UserError as err:  # the commit is known to be there: it is the host's failure
            raise BuildError(f"cannot check {sha[:12]} out: {err}") from err

    def _environment(self, point: int) -> dict[str, str]:
        return {"MIGMATRIX_COMMIT": self.commits[point].sha, "MIGMATRIX_OUT": str(self.home(point) / "out")}

    async def run_command(self, point: int, command: str, log: Path) -> int:
        """Exit status of a command in a checkout; `$MIGMATRIX_EMULATOR` is the build when there is one."""
        environment = self._environment(point)
        if self.command:
            environment["MIGMATRIX_EMULATOR"] = str(self.home(point) / "out" / self.binary)
        async with self.checked_out(point) as tree:
            return await _shell(command, tree, environment, log)


@dataclass
class CommandProber:
    """Points are commits, and a command of the user's tells good from bad; `CommitBuilds.command` may be empty."""

    builds: CommitBuilds
    command: str
    log: Path

    async def prepare(self, point: int) -> str:
        """Build, if there is something to build."""
        try:
            if self.builds.command:
                await self.builds.emulator(point)
        except Unbuildable as err:
            return str(err)
        return ""

    async def run(self, point: int) -> Run:
        """Run the command; every bad exit is the same failure."""
        status = await self.builds.run_command(point, self.command, self.log)
        shown = _outcome(status, f"the command for {self.builds.commits[point].sha[:12]}")
        return Run(point, shown, "the command fails" if shown is Shown.FAIL else "", f"exit {status}")


def _of_commit(build: PreparedBuild, key: str) -> PreparedBuild:
    """A launcher script may be the same in every commit, so the commit is part of the digest."""
    digest = hashlib.sha256(f"{build.facts.digest} {key}".encode()).hexdigest()
    return replace(build, facts=replace(build.facts, digest=digest))


def _outcome(status: int, what: str) -> Shown:
    """Rule 3."""
    if status == 0:
        return Shown.PASS
    if status == _UNTESTABLE:
        return Shown.UNTESTABLE
    if 0 < status <= _LAST_BAD:
        return Shown.FAIL
    raise BuildError(f"{what} was stopped: exit status {status}")


async def _shell(command: str, directory: Path, environment: dict[str, str], log: Path) -> int:
    """Exit status of a shell command, negative for a signal; its output goes to `log`. Dies with whoever waits."""
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", command, cwd=directory, env={**os.environ, **environment},
            stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        return await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):  # it and all it started have ended
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
