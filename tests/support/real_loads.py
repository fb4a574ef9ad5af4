# SPDX-License-Identifier: Apache-2.0
"""Guests that ran on real QEMU, saved, and loaded by other builds, with what `acceptance` says before.

Each build has one container for all of its emulators, which speak QMP by `docker exec`. A guest tells by its console how
far it is (`Plan.sign`); nothing waits for a time. All files are in `Builds.shared`, with one path inside and outside.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from guests import DEADLINE, Guest, QmpFailed, preloaded

from migmatrix.vmstate.check.accept import acceptance
from migmatrix.vmstate.check.schema import Schema, load_schema
from migmatrix.vmstate.view.stream import Stream, read_stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from migmatrix.vmstate.check.accept import Acceptance

__all__ = ["Builds", "Load", "Plan", "builds"]

SUITES: Final = {
    "5.2.0": "bullseye",
    "7.2.22": "bookworm",
    "10.0.2": "bookworm-backports",
    "10.0.13": "trixie",
    "11.1.3": "trixie-backports",
}
_LIFE: Final = "600"  # seconds after which an emulator that was forgotten ends
_LOOK: Final = 0.02


@dataclass(frozen=True)
class Plan:
    """One guest: what it is started with, and the `sign` on its console after which it is saved.

    `patience` is in seconds: a guest that gives no sign for so long is left out.
    """

    machine: str
    arguments: tuple[str, ...]
    sign: str
    name: str
    patience: float


@dataclass(frozen=True)
class Load:
    """One load: what `acceptance` said, and whether the emulator took it; `why` is what it wrote."""

    plan: Plan
    source: str
    destination: str
    said: Acceptance
    real: bool
    why: str

    def __str__(self) -> str:
        reasons = "; ".join(f"{r.section} {r.field}: {r.message}" for r in self.said.reasons[:3])
        real = "takes" if self.real else f"refuses ({self.why})"
        return (
            f"{self.plan.name} {self.source} > {self.destination}: said {self.said.answer}, {real}: {reasons}"
        )


@dataclass
class Builds:
    """The containers, and what was made with them. `owns` and `schemas` are kept, as many loads ask for the same.

    `left_out` are guests that a build has not, does not save, or that gave no sign.
    """

    shared: Path
    containers: dict[str, str]
    owns: dict[tuple[str, Plan], Stream | None] = field(default_factory=dict)
    schemas: dict[tuple[str, str], Schema] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    count: int = 0

    @contextmanager
    def start(self, build: str, plan: Plan, *more: str) -> Iterator[Guest]:
        """An emulator of a build; QMP's `quit` ends it."""
        console = ("-chardev", f"file,id=console,path={self.console}")
        argv = ["docker", "exec", "-i", self.containers[build], "timeout", _LIFE, "qemu-system-x86_64"]
        common = ("-display", "none", "-qmp", "stdio", "-accel", "tcg", "-M", plan.machine)
        guest = Guest([*argv, *common, *console, *plan.arguments, *more])
        try:
            yield guest
        finally:
            if guest.process.poll() is None:
                _quit(guest)
            guest.close()

    @property
    def console(self) -> Path:
        """The file that the guest's console is written to."""
        return self.shared / "console"

    def file(self) -> Path:
        """A name that was not given before."""
        self.count += 1
        return self.shared / str(self.count)

    def ran(self, build: str, plan: Plan) -> Path | None:
        """The stream of a guest that ran up to its sign; None when the build has not such a guest, or does not save it."""
        self.console.unlink(missing_ok=True)
        return self._saved(build, plan, running=True)

    def own(self, build: str, plan: Plan) -> Stream | None:
        """What a build itself saves of such a guest before it runs; None when it does not."""
        if (build, plan) not in self.owns:
            path = self._saved(build, plan, running=False)
            self.owns[build, plan] = None if path is None else read_stream(path.read_bytes())
            if path is not None:
                path.unlink()
        return self.owns[build, plan]

    def _saved(self, build: str, plan: Plan, *, running: bool) -> Path | None:
        path = self.file()
        try:
            with self.start(build, plan, *(() if running else ("-S",))) as guest:
                if running:
                    self._until(guest, plan)
                    guest.command("stop")
                guest.command("migrate", uri=f"exec:cat > {path}")
                return path if guest.status("completed", "failed")["status"] == "completed" else None
        except (EOFError, QmpFailed, BrokenPipeError, TimeoutError) as error:
            self.left_out.append(f"{plan.name} on {build}: {str(error).strip()[-120:]}")
            return None

    def _until(self, guest: Guest, plan: Plan) -> None:
        until = time.monotonic() + plan.patience
        while not self.console.exists() or plan.sign not in self.console.read_text("latin-1"):
            guest.command("query-status")  # EOFError when it has ended
            if time.monotonic() > until:
                raise TimeoutError(f"{plan.name}: no {plan.sign!r} after {plan.patience} s")
            time.sleep(_LOOK)

    def schema(self, build: str, machine: str) -> Schema:
        """What a build's `-dump-vmstate` says."""
        if (build, machine) not in self.schemas:
            path = self.file()
            options = ["-M", machine, "-nodefaults", "-display", "none", "-dump-vmstate", str(path)]
            argv = ["docker", "exec", self.containers[build], "qemu-system-x86_64", *options]
            subprocess.run(argv, check=True, capture_output=True)
            self.schemas[build, machine] = load_schema(path.read_bytes())
            path.unlink()
        return self.schemas[build, machine]

    def load(self, plan: Plan, source: str, path: Path, destination: str) -> Load | None:
        """Ask, then load; None where the destination has not such a guest."""
        own = self.own(destination, plan)
        if own is None:
            return None
        schema = self.schema(destination, plan.machine)
        said = acceptance(read_stream(path.read_bytes()), own, schema=schema, release=destination)
        return Load(plan, source, destination, said, *self._really(plan, path, destination))

    def _really(self, plan: Plan, path: Path, destination: str) -> tuple[bool, str]:
        try:
            with self.start(destination, plan, "-S", "-incoming", "defer") as guest:
                guest.command("migrate-incoming", uri=f"exec:cat {path}")
                return guest.status("completed", "failed")["status"] == "completed", ""
        except (EOFError, BrokenPipeError) as error:
            lines = [line for line in str(error).splitlines() if line]
            return False, " / ".join(lines[-2:])


def _quit(guest: Guest) -> None:
    try:
        guest.command("quit")
        guest.process.wait(DEADLINE)
    except (EOFError, BrokenPipeError):
        pass  # it has ended by itself, as one that refuses a stream does


@contextmanager
def builds(shared: Path) -> Iterator[Builds]:
    """All builds; their containers go at the end."""
    containers: dict[str, str] = {}
    try:
        for build, suite in SUITES.items():
            mount = ["--network", "none", "-v", f"{shared}:{shared}", *preloaded()]
            argv = [
                "docker",
                "run",
                "-d",
                "--rm",
                "--init",
                *mount,
                f"migmatrix/debian:{suite}",
                "sleep",
                "inf",
            ]
            run = subprocess.run(argv, capture_output=True, text=True, check=True)
            containers[build] = run.stdout.strip()
        yield Builds(shared, containers)
    finally:
        if containers:
            subprocess.run(["docker", "rm", "-f", *containers.values()], check=True, capture_output=True)
