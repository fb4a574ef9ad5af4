# SPDX-License-Identifier: Apache-2.0
"""The docker engine: one hardened container per build, role and need, up for the whole run.

Works with any engine that speaks Docker's API (Podman through DOCKER_HOST). Containers have a read-only root, no
capabilities, no new privileges, an unprivileged user, bounded memory and processes, and no network unless the mode
needs one; streams come and go over QMP (`hops/carry.py`). Those for postcopy are root inside with SYS_PTRACE and
userfaultfd: QEMU cannot do it with less. A container ends when its
supervisor does, which is when the harness does; what a killed harness still left is removed by `leftovers.clean_up`,
and what came to be even later, with the engine of another run.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker.errors
import requests
from docker.models.containers import Container
from docker.types import Mount

from migmatrix.harness.builds.client import new_client
from migmatrix.harness.engines.base import Needs, OwnsStack, Role, to_its_end
from migmatrix.harness.engines.mounted import EnginePaths
from migmatrix.harness.engines.supervised import SUPERVISOR, SupervisedSandbox
from migmatrix.harness.engines.workspace import ROOT_ID, SANDBOX_ID, alive, base_name
from migmatrix.harness.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from types import TracebackType

    from docker.models.networks import Network

    from migmatrix.harness.builds.facts import PreparedBuild
    from migmatrix.harness.engines.workspace import Workspace

__all__ = ["DockerEngine", "engine_errors", "remove_left"]

LABEL = "migmatrix.run"
BASE_LABEL = "migmatrix.base"
USERFAULT_DEVICE = "/dev/userfaultfd"
_SECCOMP_POSTCOPY = Path(__file__).with_name("seccomp-postcopy.json")

_START_DEADLINE = 60.0
_MEMORY_LIMIT = "4g"
_PIDS_LIMIT = 1024
_INNER_JOBS, _INNER_LINK = "/migmatrix/jobs", "/migmatrix/link"
_INNER_SUPERVISOR = "/migmatrix/supervisor.sh"

# Docker's and Podman's words for a bind mount of what the engine's own host does not have.
_NOT_SEEN = ("bind source path does not exist", "no such file or directory")
_ELSEWHERE = (
    "the container engine does not see {!r}, a directory of this harness: it runs in another container or on another"
    " host; set TMPDIR to a volume or a directory that is mounted here (docs/how-to/containers.md)"
)


class engine_errors:  # noqa: N801 - a context manager, named like contextlib's
    """Translate what the SDK raises into EngineError; the one border for it."""

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, docker.errors.APIError):
            raise EngineError(f"cannot {self._doing}: {error.explanation or error}") from error
        if isinstance(error, docker.errors.DockerException | requests.RequestException):
            raise EngineError(f"cannot {self._doing}: {error}") from error


class _DockerSandbox(SupervisedSandbox):
    """A supervisor as process 1 of a container."""

    _container: Container | None = None

    def __init__(
        self,
        workspace: Workspace,
        name: str,
        client: docker.DockerClient,
        log: Callable[[str], None],
        user: int,
    ) -> None:
        super().__init__(workspace, name, _INNER_JOBS, user)
        self._client = client
        self._log = log

    def link(self, path: Path) -> str:
        return f"{_INNER_LINK}/{path.name}"

    async def open(self, options: dict[str, Any], network: str) -> None:
        await to_its_end(asyncio.to_thread(self._run, options))
        try:
            await self.ready(_START_DEADLINE)
        except EngineError as err:
            raise EngineError(f"{err}: {await asyncio.to_thread(self._logs)}") from err
        if network:
            self.address = await asyncio.to_thread(self._address, network)

    def _run(self, options: dict[str, Any]) -> None:
        try:
            with engine_errors("start a container"):
                self._container = self._client.containers.run(detach=True, **options)
        except EngineError as err:
            if any(words in str(err) for words in _NOT_SEEN):
                raise EngineError(_ELSEWHERE.format(str(self.root))) from err
            raise

    def _logs(self) -> str:
        assert self._container is not None  # noqa: S101 - open() set it
        try:
            return self._container.logs(tail=5).decode("utf-8", "replace").strip()
        except docker.errors.DockerException as err:
            return f"no logs ({err})"

    def _address(self, network: str) -> str:
        assert self._container is not None  # noqa: S101 - open() set it
        with engine_errors("ask for a container's address"):
            self._container.reload()
        networks: dict[str, dict[str, str]] = self._container.attrs["NetworkSettings"]["Networks"]
        return networks[network]["IPAddress"]

    async def close(self) -> None:
        self.close_pipes()
        if self._container is None:
            return
        try:
            await asyncio.to_thread(_remove, self._container)
        except EngineError as err:
            # It ends by itself, with its command FIFO, and the engine removes it when it is up again.
            self._log(f"{self._container.name}: {err}")


def _remove(thing: Container | Network) -> None:
    """Remove it, or wait until its own removal is through; what is gone is gone."""
    with engine_errors("remove a container or a network"):
        try:
            if isinstance(thing, Container):
                _remove_container(thing)
            else:
                thing.remove()
        except docker.errors.NotFound:
            pass  # it saw the end of its command FIFO and removed itself


def _remove_container(container: Container) -> None:
    try:
        container.remove(force=True)
    except docker.errors.APIError as err:
        if err.status_code != requests.codes.conflict:  # conflict: its own removal is in progress
            raise
        container.wait(condition="removed")


class DockerEngine(OwnsStack):
    """Runs emulators in long-lived hardened containers."""

    def __init__(self, workspace: Workspace, log: Callable[[str], None]) -> None:
        super().__init__()
        self._stack.push_async_callback(self._close)
        self._workspace = workspace
        self._log = log
        # From the workspace, so that it is all that an engine elsewhere has to see of the harness's files.
        self._supervisor = Path(shutil.copy(SUPERVISOR, workspace.root))
        self._supervisor.chmod(0o644)
        self._client = new_client()
        with engine_errors("ask the engine about itself"):
            said = self._client.version()
            self._paths = EnginePaths.of(self._client)
        self._version = said["Version"]
        self._podman = any("Podman" in part["Name"] for part in said.get("Components") or ())
        self._sandboxes: dict[tuple[str, Role, Needs], _DockerSandbox] = {}
        self._opening: defaultdict[tuple[str, Role, Needs], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._labels = {LABEL: workspace.run_id, BASE_LABEL: base_name()}
        self._remove_orphans()
        self._networking = asyncio.Lock()
        self._all: list[_DockerSandbox] = []
        self._network: Network | None = None
        self._opened = 0

    async def sandbox(self, build: PreparedBuild, role: Role, needs: Needs) -> _DockerSandbox:
        """The open container for these, started if need be; EngineError when that fails."""
        if not build.image:
            raise EngineError(f"build {build.id!r} is a local binary; it needs the process engine")
        key = (build.image, role, needs)
        async with self._opening[key]:
            sandbox = self._sandboxes.get(key)
            if sandbox is None or sandbox.dead:
                sandbox = await self._open(build, needs)
                self._sandboxes[key] = sandbox
            return sandbox

    async def _open(self, build: PreparedBuild, needs: Needs) -> _DockerSandbox:
        self._opened += 1
        sandbox = _DockerSandbox(self._workspace, f"c{self._opened}", self._client, self._log, _user(needs))
        self._all.append(sandbox)
        async with self._networking:
            network = await to_its_end(asyncio.to_thread(self._private_network)) if needs.network else ""
        await sandbox.open(self._options(sandbox, build, needs, network), network)
        return sandbox

    def _options(
        self, sandbox: _DockerSandbox, build: PreparedBuild, needs: Needs, network: str
    ) -> dict[str, Any]:
        """Arguments of `docker run`."""
        return {
            "image": build.image,
            "command": [_INNER_SUPERVISOR, _INNER_JOBS],
            "entrypoint": ["/bin/sh"],
            "name": f"migmatrix-{self._workspace.run_id}-{sandbox.name}",
            "labels": self._labels,
            "mounts": list(self._mounts(sandbox)),
            "user": f"{sandbox.user}:{sandbox.user}" if os.getuid() == 0 else f"{os.getuid()}:{os.getgid()}",
            "environment": {"HOME": "/tmp"},  # noqa: S108 - the container's own tmpfs
            "working_dir": "/",
            "read_only": True,
            "tmpfs": {"/tmp": "", "/var/tmp": ""},  # noqa: S108
            "cap_drop": ["ALL"],
            "cap_add": ["SYS_PTRACE"] if needs.userfault else [],
            "security_opt": list(self._security(needs)),
            "devices": [f"{USERFAULT_DEVICE}:{USERFAULT_DEVICE}:rw"] if needs.userfault else [],
            "mem_limit": _MEMORY_LIMIT,
            "pids_limit": _PIDS_LIMIT,
            "auto_remove": True,
            **({"network": network} if network else {"network_mode": "none"}),
        }

    def _mounts(self, sandbox: _DockerSandbox) -> Iterator[Mount]:
        """Bind mounts; unlike with `volumes`, the engine refuses a directory that it does not have, and makes none."""
        yield Mount(_INNER_JOBS, self._paths(sandbox.root), type="bind")
        yield Mount(_INNER_LINK, self._paths(self._workspace.link), type="bind")
        yield Mount(_INNER_SUPERVISOR, self._paths(self._supervisor), type="bind", read_only=True)

    def _security(self, needs: Needs) -> Iterator[str]:
        """Docker wants the text of a seccomp profile, Podman the path of a file that it can see."""
        yield "no-new-privileges"
        if needs.userfault and self._podman:
            yield f"seccomp={self._paths(Path(shutil.copy(_SECCOMP_POSTCOPY, self._workspace.root)))}"
        elif needs.userfault:
            yield f"seccomp={_SECCOMP_POSTCOPY.read_text()}"

    def _private_network(self) -> str:
        """The run's network: its containers reach each other and nothing else."""
        if self._network is None:
            name = f"migmatrix-{self._workspace.run_id}"
            with engine_errors("make a network"):
                self._network = self._client.networks.create(
                    name, driver="bridge", internal=True, labels=self._labels
                )
        return str(self._network.name)

    def describe(self) -> dict[str, Any]:
        """Facts for the report."""
        return {"engine": "docker", "engine_version": self._version, "kernel": platform.release()}

    def _remove_orphans(self) -> None:
        """Remove what the engine made for a harness that was killed, after its workspace had been removed."""
        for run_id in remove_left(self._client, f"{BASE_LABEL}={self._labels[BASE_LABEL]}", alive):
            self._log(f"removed containers and networks of the killed run {run_id}")

    async def _close(self) -> None:
        # At once: the engine takes its time for each container, and none waits for another.
        await asyncio.gather(*(sandbox.close() for sandbox in self._all))
        await asyncio.to_thread(self._remove_own)
        await asyncio.to_thread(self._remove_orphans)

    def _remove_own(self) -> None:
        """Remove the network, and what was made and not started."""
        try:
            remove_left(self._client, f"{LABEL}={self._workspace.run_id}")
        except EngineError as err:
            self._log(f"{self._workspace.run_id}: {err}")


def _user(needs: Needs) -> int:
    """Postcopy opens a device node of root's, or, before QEMU 8.1, needs a capability; so only there it is root."""
    return ROOT_ID if needs.userfault else SANDBOX_ID


def remove_left(
    client: docker.DockerClient, label: str, alive: Callable[[], Collection[str]] = tuple
) -> set[str]:
    """Remove containers and networks that carry `label`, but for those of runs that are `alive`; their run ids.

    `alive` is asked when all are listed: a run that had a container by then had locked its workspace before.
    """
    with engine_errors("remove what a killed run left"):
        containers = client.containers.list(all=True, sparse=True, filters={"label": label})
        networks = client.networks.list(filters={"label": label})
        living = alive()
        found: list[Container | Network] = [*containers, *networks]
        dead = [thing for thing in found if thing.attrs["Labels"][LABEL] not in living]
        for thing in dead:
            _remove(thing)
    return {thing.attrs["Labels"][LABEL] for thing in dead}
