"""What the readers of all channels share: feed, close, next_event; a subclass says how to read.

Channels are the main one (`vmstate.wire.reader.StreamReader`), multifd channels, the return path and the postcopy-preempt
channel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.wire.ram import RamReader, RamState, Steps
from migmatrix.vmstate.wire.signal import Signal
from migmatrix.vmstate.wire.window import Window

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from migmatrix.vmstate.wire.events import Event

__all__ = ["ChannelReader", "PreemptReader"]


class ChannelReader(ABC):
    """Reader of one channel: fed in pieces of any size, it gives events, a `Signal`, or raises StreamError."""

    def __init__(self) -> None:
        self._window = Window()
        self._steps = self._read()
        self._error: StreamError | None = None

    @abstractmethod
    def _read(self) -> Steps: ...

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Add input. An immutable buffer that comes whole is not copied: events hold views of it."""
        self._window.feed(data)

    def close(self) -> None:
        """No more input will come."""
        self._window.closed = True

    @property
    def offset(self) -> int:
        """Channel offset of the next byte to be read."""
        return self._window.offset

    def next_event(self) -> Event | Signal:
        """The next event, NEED_DATA, or END; after a StreamError the same error again."""
        if self._error:
            raise self._error
        try:
            event = next(self._steps, Signal.END)
        except StreamError as error:
            self._error = error
            raise
        return Signal.NEED_DATA if event is None else event

    def events(self) -> Iterator[Event]:
        """All events that the input so far gives."""
        while not isinstance(event := self.next_event(), Signal):
            yield event

    def _ended(self) -> Generator[None, None, bool]:
        """True when the input ends here, between two elements."""
        while not self._window.available and not self._window.closed:
            yield
        return not self._window.available


class PreemptReader(ChannelReader):
    """The postcopy-preempt channel: bare page records, no header; it may end with an EOS word or without.

    `ram` is the RAM state of the main channel's reader (`StreamReader.ram`): block list and page size are
    shared, the block of the last page is the channel's own.
    """

    def __init__(self, ram: RamState | None = None) -> None:
        known = ram or RamState()
        self._ram = RamState(known.page_size, lengths=known.lengths)
        super().__init__()

    def _read(self) -> Steps:
        yield from RamReader(self._window, self._ram).payload(until_close=True)
        if not (yield from self._ended()):
            found = f"found {self._window.available} bytes"
            raise StreamError(self._window.offset, "preempt", "the end", found)
