# SPDX-License-Identifier: Apache-2.0
"""How the two sides of a live leg reach each other: a URI for each, and what has to exist before.

`tcp` needs a network; the destination picks its port and tells it. `unix` and `exec` go through files of the
directory that all sandboxes of a run share; a `unix` link that is to break goes through a socket of the harness's own.
`fd` hands both sides one end of a socket pair over QMP. `file` is written whole before it is read, and needs a build
that has it (8.2 and later).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import socket
from typing import TYPE_CHECKING

from migmatrix.harness.beneath import Beneath
from migmatrix.harness.engines.base import Needs, Role
from migmatrix.harness.errors import EngineError
from migmatrix.harness.hops.carry import FD_NAME
from migmatrix.harness.hops.proxy import Proxy
from migmatrix.harness.hops.task import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from migmatrix.harness.hops.emulator import Emulator
    from migmatrix.harness.model import Mode

__all__ = ["TRANSPORTS", "Link", "needs_of"]

TRANSPORTS = ("tcp", "unix", "exec", "fd", "file")
# Of what an emulator may have put in the place of a link.
_MOST_ENTRIES = 10_000


def needs_of(mode: Mode) -> Needs:
    """What sandboxes must offer for this mode."""
    userfault = mode.postcopy or "background-snapshot" in mode.side(Role.SOURCE).capabilities
    return Needs(network=mode.transport == "tcp", userfault=userfault)


class Link:
    """The connection of one live leg; a context manager that removes its files.

    Its name is known to the two sides only: all emulators of a run can write to the directory, and none can list it.
    """

    def __init__(self, mode: Mode, directory: Path) -> None:
        self._transport = mode.transport
        self._path = directory / secrets.token_hex(12)
        self._files = Beneath.open(directory)  # where every emulator of the run can put things
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._proxies: list[Proxy] = []  # the last is the one in use
        self._names: list[str] = []  # of sockets that were made before
        self._breakable = bool(mode.cut_within)

    @property
    def sequential(self) -> bool:
        """Whether the source must be done before the destination starts to load."""
        return self._transport == "file"

    async def listen(self, destination: Emulator) -> None:
        """Make the destination take the stream in."""
        await self._prepare(destination, 0)
        uri = self._destination_uri(destination.sandbox.link)
        await destination.qmp.execute("migrate-incoming", {"uri": uri})

    async def send(self, source: Emulator, destination: Emulator) -> None:
        """Make the source send; for `tcp` asks the destination for its port."""
        await self._prepare(source, 1)
        if self._breakable:
            await self._lead()
        uri = await self._tcp_uri(destination) if self._transport == "tcp" else self._source_uri(source)
        await source.qmp.execute("migrate", {"uri": uri})

    def break_after(self, count: int) -> None:
        """Break a link that goes through the harness after `count` more bytes to the destination."""
        self._proxies[-1].break_after(count)

    async def listen_again(self, destination: Emulator) -> None:
        """Make a destination whose link broke wait at another socket; out of band, as it may wait for memory."""
        self._path = self._path.with_name(secrets.token_hex(12))
        uri = self._destination_uri(destination.sandbox.link)
        await destination.qmp.execute("migrate-recover", {"uri": uri}, oob=True)

    async def send_again(self, source: Emulator) -> None:
        """Make a source whose link broke go on over a new one."""
        await self._lead()
        await source.qmp.execute("migrate", {"uri": self._source_uri(source), "resume": True})

    async def _lead(self) -> None:
        """Lead the next connections through the harness: what the source is told is the harness's socket."""
        target, self._path = self._path.name, self._path.with_name(secrets.token_hex(12))
        self._names += [target, self._path.name]
        self._proxies.append(Proxy(self._files))
        await self._proxies[-1].listen(self._path.name, target)

    def _destination_uri(self, inner: Callable[[Path], str]) -> str:
        match self._transport:
            case "tcp":
                return "tcp:0.0.0.0:0"
            case "fd":
                return f"fd:{FD_NAME}"
            case "exec":
                return f"exec:cat {shlex.quote(inner(self._path))}"
            case transport:
                return f"{transport}:{inner(self._path)}"

    def _source_uri(self, source: Emulator) -> str:
        path = source.sandbox.link(self._path)
        match self._transport:
            case "fd":
                return f"fd:{FD_NAME}"
            case "exec":
                return f"exec:cat >{shlex.quote(path)}"
            case transport:
                return f"{transport}:{path}"

    async def _tcp_uri(self, destination: Emulator) -> str:
        addresses = (await destination.qmp.execute("query-migrate")).get("socket-address")
        if not addresses:
            raise Problem("wrong-status", "the destination does not say where it listens", "destination")
        return f"tcp:{destination.sandbox.address}:{addresses[0]['port']}"

    async def _prepare(self, emulator: Emulator, end: int) -> None:
        if self._ends is not None:
            await emulator.qmp.give_fd(self._ends[end].fileno(), FD_NAME)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Link]:
        """Create what the transport needs, and remove it after the leg."""
        try:
            if self._transport == "fd":
                self._ends = socket.socketpair()
            if self._transport == "exec":
                # For emulators of any user; the directory is private.
                self._files.make_fifo(self._path.name, os.getuid(), 0o666)
            yield self
        except OSError as err:
            raise EngineError(f"cannot make a link between emulators: {err}") from err
        finally:
            for proxy in self._proxies:
                await proxy.close()
            self._close()

    def _close(self) -> None:
        for end in self._ends or ():
            end.close()
        for name in {*self._names, self._path.name}:
            with contextlib.suppress(OSError):  # what somebody still adds to goes with the workspace
                self._files.remove(name, _MOST_ENTRIES)
        self._files.close()
