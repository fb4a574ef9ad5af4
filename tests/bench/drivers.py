# SPDX-License-Identifier: Apache-2.0
"""The least that does the same saves and loads: plain threads and sockets, no evidence, no store.

The launcher is all that differs: `chroot` gives the floor (bare processes of the very same emulators), `docker run`
per emulator is what people do today.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.model import Profile

_DEADLINE = 60.0


@dataclass(frozen=True)
class Launcher:
    """How an emulator is started: argv prefix, and the shared directory on the host and as the emulator sees it."""

    prefix: Callable[[PreparedBuild], list[str]]
    host: Callable[[PreparedBuild], Path]
    inner: str


@dataclass(frozen=True)
class Work:
    """All pairs of `builds` for one machine and each profile, as the matrix does them."""

    machine: str
    builds: tuple[PreparedBuild, ...]
    profiles: tuple[Profile, ...]
    arguments: tuple[str, ...]

    @property
    def legs(self) -> int:
        """Emulators that are started."""
        return len(self.profiles) * (len(self.builds) + len(self.builds) ** 2)


class Qmp:
    """A session without ceremony."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(_DEADLINE)
        self._file = connection.makefile("rw")
        self._file.readline()
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> None:
        """Send a command and wait for its answer."""
        self._file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._file.flush()
        while "return" not in (answer := json.loads(self._file.readline())):
            if "error" in answer:
                raise RuntimeError(answer["error"]["desc"])

    def completed(self) -> None:
        """Wait for the end of a migration."""
        while True:
            event = json.loads(self._file.readline())
            if event.get("event") == "MIGRATION" and event["data"]["status"] in ("completed", "failed"):
                if event["data"]["status"] == "failed":
                    raise RuntimeError("the migration failed")
                return


def emulate(
    launcher: Launcher, work: Work, build: PreparedBuild, profile: Profile, name: str, load: str
) -> None:
    """Start one emulator, save to `name` or load from `load`, end it."""
    host = launcher.host(build)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(host / f"{name}.qmp"))
    server.listen(1)
    server.settimeout(_DEADLINE)
    argv = [*launcher.prefix(build), build.binary, "-machine", work.machine, "-no-user-config"]
    argv += ["-display", "none", "-S", *work.arguments, *profile.args]
    argv += ["-qmp", f"unix:{launcher.inner}/{name}.qmp", *(["-incoming", "defer"] if load else [])]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process, server:
        qmp = Qmp(server.accept()[0])
        qmp.execute("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        if load:
            qmp.execute("migrate-incoming", uri=f"exec:cat {launcher.inner}/{load}")
        else:
            qmp.execute("migrate", uri=f"exec:cat >{launcher.inner}/{name}")
        try:
            qmp.completed()
        except RuntimeError as err:
            raise RuntimeError(f"{profile.name}: {err}") from err
        qmp.execute("quit")
        process.wait(_DEADLINE)


def drive(launcher: Launcher, work: Work, jobs: int) -> float:
    """Do all of it with `jobs` emulators at once; seconds."""
    began = time.perf_counter()
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda one: _profile(launcher, work, *one), enumerate(work.profiles)))
    return time.perf_counter() - began


def _profile(launcher: Launcher, work: Work, index: int, profile: Profile) -> None:
    for a, source in enumerate(work.builds):
        saved = f"s{index}-{a}"
        emulate(launcher, work, source, profile, saved, "")
        for b, destination in enumerate(work.builds):
            here, there = launcher.host(source) / saved, launcher.host(destination) / f"{saved}-{b}.in"
            if here.parent != there.parent:
                there.hardlink_to(here)
            load = there.name if here.parent != there.parent else saved
            emulate(launcher, work, destination, profile, f"{saved}-{b}", load)


def export_root(image: str, target: Path) -> None:
    """Unpack an image's files."""
    made = subprocess.run(["docker", "create", image, "true"], check=True, capture_output=True, text=True)
    container = made.stdout.strip()
    try:
        with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export:
            subprocess.run(["tar", "-x", "-C", str(target)], stdin=export.stdout, check=True)
    finally:
        subprocess.run(["docker", "rm", container], check=True, capture_output=True)


def chroots(roots: Sequence[Path], builds: Sequence[PreparedBuild]) -> Launcher:
    """The floor: a bare process in the unpacked image."""
    by_build = {build.id: root for build, root in zip(builds, roots, strict=True)}
    for root in roots:
        (root / "bench").mkdir()
    return Launcher(
        lambda build: ["chroot", str(by_build[build.id])],
        lambda build: by_build[build.id] / "bench",
        "/bench",
    )


def containers(shared: Path) -> Launcher:
    """What people do today: a container for every emulator."""
    shared.mkdir()

    def prefix(build: PreparedBuild) -> list[str]:
        volume = f"{shared}:/bench"
        return ["docker", "run", "--rm", "--network", "none", "-v", volume, build.image]

    return Launcher(prefix, lambda _: shared, "/bench")
