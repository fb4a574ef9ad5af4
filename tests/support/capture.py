# SPDX-License-Identifier: Apache-2.0
"""Live migrations of real QEMU with everything that passes between the two sides on record.

The source connects to a socket of the test, which connects to the destination's: one `Channel` per connection, both
directions kept. `Wire.cut` breaks all connections, as a network does.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

from migmatrix.harness.engines import Needs, Role
from migmatrix.harness.hops.carry import StreamIn
from migmatrix.harness.hops.checks import let_run, release
from migmatrix.harness.hops.emulator import Emulator
from migmatrix.harness.hops.furnish import Furnishing
from migmatrix.harness.model import Guest, Mode
from migmatrix.vmstate.view.learned import LearnedDelimiter
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from real_matrix import Lab

__all__ = ["MACHINE", "Channel", "Sides", "Stopped", "Wire", "sides"]

MACHINE: Final = "pc-i440fx-5.2"
ARGUMENTS: Final = ("-nodefaults", "-m", "64")
RUNNING: Final = Guest("firmware", "firmware", seconds=0.3)
_OUT_OF_BAND = ("migrate-recover", "migrate-pause")
DEADLINE: Final = 60.0  # seconds for any step
_PIECE: Final = 1 << 16
_LOOK: Final = 0.02  # seconds between two looks at what no event tells


@dataclass(frozen=True)
class Stopped:
    """A firmware guest that was stopped somewhere: its `stream`, and the payload lengths of what it is saved as again.

    Postcopy sends no description, and what a guest that runs is made of is not the same twice. So postcopy begins with
    this one, loaded and not run; the destination runs it.
    """

    stream: bytes
    lengths: LearnedDelimiter

    @classmethod
    async def make(cls, lab: Lab, build: str, arguments: tuple[str, ...] = ARGUMENTS) -> Self:
        """Run a guest, save it, load it and save that."""
        _, ran = await lab.save(build, MACHINE, arguments, RUNNING)
        assert ran is not None
        _, again = await lab.save(build, MACHINE, arguments, incoming=ran)
        assert again is not None
        described = read_stream(again).vmdesc
        assert described is not None
        return cls(ran, LearnedDelimiter([described]))


@dataclass
class Channel:
    """One connection: what the source sent (`forth`) and what came back."""

    forth: bytearray = field(default_factory=bytearray)
    back: bytearray = field(default_factory=bytearray)


class Wire:
    """Listens at `front` and passes on to `back`; channels in the order in which they were opened."""

    def __init__(self, front: Path, back: Path) -> None:
        self.channels: list[Channel] = []
        self.front, self.back = front, back
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self._moving: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen; other users may connect."""
        self._server = await asyncio.start_unix_server(self._accept, self.front)
        self.front.chmod(0o666)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel = Channel()
        self.channels.append(channel)
        other_reader, other_writer = await asyncio.open_unix_connection(self.back)
        self._writers += [writer, other_writer]
        moves = _move(reader, other_writer, channel.forth), _move(other_reader, writer, channel.back)
        self._moving.update(asyncio.ensure_future(move) for move in moves)

    def cut(self) -> None:
        """Break all connections at once; what was not passed on is lost."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        """Wait until both sides have hung up, and stop listening."""
        if self._server is not None:
            self._server.close()
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(*self._moving)
        for writer in self._writers:
            writer.close()


async def _move(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: bytearray) -> None:
    """Pass on and keep what comes; recorded is what was passed on, and a cut is the end of it."""
    try:
        while data := await reader.read(_PIECE):
            record += data
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except (ConnectionError, OSError):
        return  # cut, or the other side has gone: all that came is in the record


class Sides:
    """A source and a destination with a wire between them."""

    def __init__(self, lab: Lab, name: str, source: Emulator, destination: Emulator) -> None:
        self.source, self.destination = source, destination
        self._lab, self._name, self._wires = lab, name, 0

    async def run(self) -> None:
        """Let the source's firmware run."""
        await release(self.source)
        await let_run(self.source, RUNNING, DEADLINE)

    async def command(self, side: Emulator, name: str, **arguments: Any) -> Any:
        """A QMP command; names with ``_`` for ``-``. Those that mend a postcopy go out of band, as QEMU says."""
        sent = {key.replace("_", "-"): value for key, value in arguments.items()}
        return await side.race(side.qmp.execute(name, sent, oob=name in _OUT_OF_BAND), DEADLINE)

    async def wire(self) -> Wire:
        """A new wire; nobody listens at its far end yet."""
        self._wires += 1
        links = self._lab.links
        wire = Wire(links / f"{self._name}-{self._wires}", links / f"{self._name}-{self._wires}-in")
        await wire.open()
        return wire

    def uris(self, wire: Wire) -> tuple[str, str]:
        """What the destination and the source are given."""
        inner = self.destination.sandbox.link(wire.back), self.source.sandbox.link(wire.front)
        return f"unix:{inner[0]}", f"unix:{inner[1]}"

    async def migrate(self) -> Wire:
        """Start the migration over a new wire."""
        wire = await self.wire()
        there, here = self.uris(wire)
        await self.command(self.destination, "migrate-incoming", uri=there)
        wire.back.chmod(0o666)
        await self.command(self.source, "migrate", uri=here)
        return wire

    async def compared(self, pages: int) -> None:
        """Wait until the source has sent so many pages as differences, by XBZRLE; it must not end before."""

        async def look() -> None:
            while (info := await self.source.qmp.execute("query-migrate"))["status"] != "active" or (
                info["xbzrle-cache"]["pages"] < pages
            ):
                assert info["status"] in {"setup", "active"}, f"it ended before: {info}"
                await asyncio.sleep(_LOOK)

        await self.source.race(look(), DEADLINE)

    async def resumed(self) -> None:
        """Wait until the guest runs on the destination: from then on postcopy can be broken and recovered."""
        await self.destination.race(_event(self.destination, "RESUME"), DEADLINE)

    async def asked(self) -> None:
        """Wait until the destination has asked for a page."""

        async def look() -> None:
            while not (await self.source.qmp.execute("query-migrate"))["ram"]["postcopy-requests"]:
                await asyncio.sleep(_LOOK)

        await self.source.race(look(), DEADLINE)

    async def until(self, side: Emulator, *statuses: str) -> str:
        """Wait for one of these migration statuses, or a final one."""
        return await side.race(side.migration_status(*statuses), DEADLINE)


async def _event(side: Emulator, name: str) -> None:
    """Wait for an event."""
    while (event := await side.qmp.event())["event"] != name:
        assert event.get("data", {}).get("status") not in {"completed", "failed"}, f"it ended before {name}"


@asynccontextmanager
async def sides(
    lab: Lab,
    builds: Sequence[str],
    capabilities: Sequence[str],
    arguments: tuple[str, ...] = ARGUMENTS,
    stopped: Stopped | None = None,
    *,
    tls: bool = False,
    **parameters: Any,
) -> AsyncIterator[Sides]:
    """Both sides, set up: a source that has yet to run, or that has loaded a `stopped` guest; its destination lets it run."""
    mode = Mode("live", capabilities=tuple(capabilities), tls=tls)
    needs = Needs(userfault="postcopy-ram" in capabilities)
    async with AsyncExitStack() as stack:
        both = []
        furnishing = stack.enter_context(Furnishing(mode, lab.links))
        for build, role in zip(builds, (Role.SOURCE, Role.DESTINATION), strict=True):
            loads = stopped if role is Role.SOURCE else None
            prepared, needed = lab.real.builds[build], Role.DESTINATION if loads else role
            sandbox = await lab.engine.sandbox(prepared, needed, needs)
            emulator = Emulator(sandbox, prepared, needed, RUNNING, lambda: 0.0)
            stack.push_async_callback(emulator.end)
            incoming = needed is Role.DESTINATION
            given = (*arguments, *furnishing.arguments(emulator, arguments))
            await emulator.race(emulator.start(MACHINE, given, incoming=incoming), DEADLINE)
            if loads:
                await emulator.race(_load(emulator, lab.keep(loads.stream)), DEADLINE)
            await emulator.race(emulator.set_up(mode), DEADLINE)
            both.append(emulator)
        found = Sides(lab, f"wire-{lab.serial()}", *both)
        for side in both:
            if parameters:
                await found.command(side, "migrate-set-parameters", **parameters)
        await release(found.destination)
        yield found


async def _load(emulator: Emulator, path: Path) -> None:
    """Load a stream file; the guest stays stopped, and is a source from then on."""
    await emulator.set_up(Mode("snapshot"))
    with StreamIn(path) as stream:
        uri = await stream.give(emulator.qmp)
        await emulator.qmp.execute("migrate-incoming", {"uri": uri})
        await emulator.migration_status()
    emulator.become_source()
