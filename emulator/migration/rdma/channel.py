# SPDX-License-Identifier: Apache-2.0
"""`rdma:` channels: the stream as messages, and guest memory beside it.

1. The stream goes in messages of at most 32 KiB; the destination asks for each.
2. The return path has a connection of its own, right after the first, if both sides have the capability.
3. Connections are the frames of `verbs` over TCP, if the emulator was told so (`-rdma tcp`); else an address is refused
   as by QEMU on a host without a device.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.address import Address
from migmatrix.emulator.migration.channel import Channel, ChannelError, Wake
from migmatrix.emulator.migration.rdma.exchange import Receiver, Sender
from migmatrix.emulator.migration.rdma.memory import SourceMemory, TargetMemory, said_right
from migmatrix.emulator.migration.rdma.messages import PIN_ALL, Capabilities, Kind, Message, MessageError
from migmatrix.emulator.migration.rdma.verbs import Frames
from migmatrix.emulator.migration.sockets import bound, connected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.migration.settings import Settings
    from migmatrix.emulator.migration.traits import Traits
    from migmatrix.emulator.migration.transports import Arrival

    Link = Callable[[Callable[[Iterable[RamBlock]], TargetMemory]], None]

__all__ = ["RdmaChannel", "connect_rdma", "listen_rdma"]

_PIECE: Final = 32 << 10
_PATIENCE: Final = 5.0  # seconds for an answer
_CHUNK: Final = 1 << 20  # of releases without a parameter for it


class RdmaChannel(Channel):
    """The stream of a source, or of a destination. `raw` are its connections, which end with it.

    `later` waits for the connection of a destination's return path.
    """

    def __init__(
        self,
        sender: Sender | None,
        receiver: Receiver | None,
        raw: list[Channel],
        later: Callable[[], Sender] | None = None,
        finish: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(-1, "rdma", finish=finish)
        self._sender = sender
        self._receiver = receiver
        self._raw = raw
        self._later = later
        self._kept = memoryview(b"")
        self.source: SourceMemory | None = None

    @property
    def two_way(self) -> bool:
        """See Channel."""
        return self._receiver is not None and (self._sender is not None or self._later is not None)

    def write(self, data: bytes | memoryview) -> None:
        """See Channel."""
        if self._sender is None and self._later is not None:
            self._sender = self._later()
        if self._sender is None:
            raise ChannelError("RDMA control channel output is not set")
        view = memoryview(data)
        for at in range(0, len(view), _PIECE):
            self._send(self._sender, Message(Kind.QEMU_FILE, bytes(view[at : at + _PIECE])))

    @staticmethod
    def _send(sender: Sender, message: Message) -> None:
        said_right(lambda: sender.send(message))

    def read_into(self, view: memoryview) -> int:
        """See Channel; what is left of a message comes first."""
        if self._receiver is None:
            raise ChannelError("RDMA control channel input is not set")
        while not self._kept:
            self._kept = memoryview(self._next(self._receiver).data)
        count = min(len(view), len(self._kept))
        view[:count] = self._kept[:count]
        self._kept = self._kept[count:]
        return count

    @staticmethod
    def _next(receiver: Receiver) -> Message:
        return said_right(lambda: receiver.receive(Kind.QEMU_FILE))

    def interrupt(self) -> None:
        """See Channel."""
        super().interrupt()
        for raw in self._raw:
            raw.interrupt()

    def close(self) -> None:
        """See Channel."""
        super().close()
        for raw in self._raw:
            raw.close()


def connect_rdma(address: Address, settings: Settings, *, two_way: bool) -> RdmaChannel:
    """Connect, twice for a return path; QmpError, also when nobody answers in time."""
    wake, raw = Wake(), list[Channel]()
    late = threading.Timer(_PATIENCE, lambda: _give_up(wake, raw))
    late.start()
    try:
        channel = _connected(address, settings, wake, raw, two_way=two_way)
    except ChannelError as error:
        _stop(late)
        for each in raw:
            each.close()
        words = "poll cm event timeout" if wake.is_set else "connecting to destination!"
        raise QmpError("GenericError", f"RDMA ERROR: {words}") from error
    else:
        _stop(late)
        return channel
    finally:
        wake.close()


def _stop(timer: threading.Timer) -> None:
    timer.cancel()
    timer.join()


def _give_up(wake: Wake, raw: list[Channel]) -> None:
    """End all waits; a channel that was made in the same moment fails at its first use."""
    wake.set()
    for each in raw:
        each.interrupt()


def _connected(
    address: Address, settings: Settings, wake: Wake, raw: list[Channel], *, two_way: bool
) -> RdmaChannel:
    flags = PIN_ALL if settings.capabilities.get("rdma-pin-all") else 0
    frames, pinned = _frames(address, wake, raw, flags)
    receiver = Receiver(_frames(address, wake, raw, flags)[0]) if two_way else None
    sender = Sender(frames)
    channel = RdmaChannel(sender, receiver, raw)
    channel.source = SourceMemory(sender, frames, _chunk(settings), pinned=pinned)
    return channel


def _chunk(settings: Settings) -> int:
    return int(settings.parameters.get("x-rdma-chunk-size", _CHUNK))


def _frames(address: Address, wake: Wake, raw: list[Channel], flags: int) -> tuple[Frames, bool]:
    """A connection, and whether the other side does as the flags ask."""
    made = connected(Address("tcp", inet=address.inet), wake)
    raw.append(made)
    frames = Frames(made, made)
    asked = Capabilities(flags=flags).pack()
    answer = said_right(lambda: Capabilities.read(frames.connect(asked)))
    return frames, bool(answer.flags & flags)


class _WayBack:
    """A thread that takes the source's second connection: the source waits for that before it sends anything.

    `take` gets a connection, and ends when the thread's `Wake` is set.
    """

    def __init__(self, take: Callable[[Wake], Sender | None]) -> None:
        self._take = take
        self._wake = Wake()
        self._sender: Sender | None = None
        self._thread = threading.Thread(target=self._run, name="rdma way back", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress(ChannelError, MessageError):  # there is no way back then, says `sender`
            self._sender = self._take(self._wake)

    def sender(self) -> Sender:
        """The connection, when it is there; ChannelError when there is none."""
        self._thread.join()
        if self._sender is None:
            raise ChannelError("RDMA control channel output is not set")
        return self._sender

    def end(self) -> None:
        """Wait no more for it."""
        self._wake.set()
        self._thread.join()
        self._wake.close()


class _Listener:
    """Waits for a source, and on for its way back."""

    ready: Channel | None = None

    def __init__(
        self,
        arrival: Arrival,
        settings: Settings,
        say: Callable[[str], object],
        link: Link,
        *,
        two_way: bool,
        zero_only: bool,
    ) -> None:
        self._arrival = arrival
        self._settings = settings
        self._say = say
        self._link = link
        self._two_way = two_way
        self._taken = False
        self._zero_only = zero_only

    def accept(self, wake: Wake) -> Channel | None:
        """Wait for a source that speaks our version; others are told off."""
        while (raw := self._arrival.accept(wake)) is not None:
            try:
                frames, pinned = self._accepted(raw)
            except (ChannelError, MessageError) as error:
                self._say(str(error))
                raw.close()
                continue
            return self._channel(raw, frames, pinned=pinned)
        return None

    def _accepted(self, raw: Channel) -> tuple[Frames, bool]:
        frames = Frames(raw, raw)
        try:
            asked = Capabilities.read(frames.requested())
        except MessageError:
            frames.reject()
            raise
        frames.accept(Capabilities(flags=asked.flags & PIN_ALL).pack())
        return frames, bool(asked.flags & PIN_ALL)

    def _channel(self, raw: Channel, frames: Frames, *, pinned: bool) -> RdmaChannel:
        receiver = Receiver(frames)
        opened = [raw]
        back = _WayBack(lambda wake: self._second(opened, wake)) if self._two_way else None

        def finish() -> None:
            for each in opened:
                each.interrupt()
            if back is not None:
                back.end()
            if self._taken:
                self._arrival.close()

        chunk, zero_only = _chunk(self._settings), self._zero_only
        self._link(
            lambda blocks: TargetMemory(receiver, frames, blocks, chunk, pinned=pinned, zero_only=zero_only)
        )
        return RdmaChannel(None, receiver, opened, back.sender if back is not None else None, finish)

    def _second(self, opened: list[Channel], wake: Wake) -> Sender | None:
        raw = self._arrival.accept(wake)
        if raw is None:
            return None
        opened.append(raw)
        return Sender(self._accepted(raw)[0])

    def close(self) -> None:
        """The stream is here, but its way back may still come: the channel closes all when it is closed."""
        self._taken = True

    def describe(self) -> list[dict[str, Any]]:
        """No address is told, as by QEMU."""
        return []


def listen_rdma(
    address: Address,
    settings: Settings,
    traits: Traits,
    say: Callable[[str], object],
    link: Link,
    *,
    two_way: bool,
) -> Arrival:
    """Wait for a source; QmpError. `link` gets what makes a machine's blocks writable, when one has come."""
    try:
        arrival = bound(Address("tcp", inet=address.inet))
    except QmpError as error:
        raise QmpError("GenericError", "RDMA ERROR: Error: could not rdma_bind_addr!") from error
    return _Listener(arrival, settings, say, link, two_way=two_way, zero_only=traits.strict_zero_fill)
