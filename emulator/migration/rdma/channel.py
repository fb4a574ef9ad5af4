# SPDX-License-Identifier: Apache-2.0
"""`rdma:` channels: the stream as messages, and guest memory beside it.

1. The stream goes in messages of at most 32 KiB; the destination asks for each.
2. The return path has a connection of its own. The source opens it with the first; the destination takes it when it
   first answers.
3. Connections are the frames of `verbs` over TCP, if the emulator was told so (`-rdma tcp`); else an address is refused
   as by QEMU on a host without a device.
"""

from __future__ import annotations

import threading
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

    `later` gives the connection of a destination's return path, when it is wanted.
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


def connect_rdma(address: Address, settings: Settings) -> RdmaChannel:
    """Connect, twice for a return path; QmpError, also when nobody answers in time."""
    wake, raw = Wake(), list[Channel]()
    late = threading.Timer(_PATIENCE, lambda: _give_up(wake, raw))
    late.start()
    try:
        return _connected(address, settings, wake, raw)
    except ChannelError as error:
        for each in raw:
            each.close()
        words = "poll cm event timeout" if wake.is_set else "connecting to destination!"
        raise QmpError("GenericError", f"RDMA ERROR: {words}") from error
    finally:
        late.cancel()
        late.join()
        wake.close()


def _give_up(wake: Wake, raw: list[Channel]) -> None:
    wake.set()
    for each in raw:
        each.interrupt()


def _connected(address: Address, settings: Settings, wake: Wake, raw: list[Channel]) -> RdmaChannel:
    flags = PIN_ALL if settings.capabilities.get("rdma-pin-all") else 0
    frames = _frames(address, wake, raw, flags)
    answer = said_right(lambda: Capabilities.read(frames.answer()))
    receiver = (
        Receiver(_frames(address, wake, raw, flags)) if settings.capabilities.get("return-path") else None
    )
    sender = Sender(frames)
    channel = RdmaChannel(sender, receiver, raw)
    channel.source = SourceMemory(sender, frames, _chunk(settings), pinned=bool(answer.flags & flags))
    return channel


def _chunk(settings: Settings) -> int:
    return int(settings.parameters.get("x-rdma-chunk-size", _CHUNK))


def _frames(address: Address, wake: Wake, raw: list[Channel], flags: int) -> Frames:
    """A connection that was asked for."""
    made = connected(Address("tcp", inet=address.inet), wake)
    raw.append(made)
    frames = Frames(made, made)
    frames.ask(Capabilities(flags=flags).pack())
    return frames


class _Listener:
    """Waits for a source; its return path may come later, so it listens until the channel is closed."""

    ready: Channel | None = None

    def __init__(
        self,
        arrival: Arrival,
        settings: Settings,
        say: Callable[[str], object],
        link: Link,
        *,
        zero_only: bool,
    ) -> None:
        self._arrival = arrival
        self._settings = settings
        self._say = say
        self._link = link
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
            return self._channel(raw, frames, wake, pinned=pinned)
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

    def _channel(self, raw: Channel, frames: Frames, wake: Wake, *, pinned: bool) -> RdmaChannel:
        receiver = Receiver(frames)
        opened = [raw]

        def later() -> Sender:
            another = self._arrival.accept(wake)
            if another is None:
                raise ChannelError("RDMA control channel output is not set")
            opened.append(another)
            return said_right(lambda: Sender(self._accepted(another)[0]))

        channel = RdmaChannel(None, receiver, opened, later, self._arrival.close)
        chunk = _chunk(self._settings)
        self._link(
            lambda blocks: TargetMemory(
                receiver, frames, blocks, chunk, pinned=pinned, zero_only=self._zero_only
            )
        )
        return channel

    def close(self) -> None:
        """The stream is here, but its return path may still come."""

    def describe(self) -> list[dict[str, Any]]:
        """No address is told, as by QEMU."""
        return []


def listen_rdma(
    address: Address, settings: Settings, traits: Traits, say: Callable[[str], object], link: Link
) -> Arrival:
    """Wait for a source; QmpError. `link` gets what makes a machine's blocks writable, when one has come."""
    try:
        arrival = bound(Address("tcp", inet=address.inet))
    except QmpError as error:
        raise QmpError("GenericError", "RDMA ERROR: Error: could not rdma_bind_addr!") from error
    return _Listener(arrival, settings, say, link, zero_only=traits.strict_zero_fill)
