# SPDX-License-Identifier: Apache-2.0
"""`ChannelReader`: the loop of every reader (feed, next_event, close), and the postcopy-preempt channel.

A subclass says how to read: `vmstate.wire.reader.StreamReader` the main channel, `vmstate.wire.multifd` a
multifd channel, `vmstate.wire.returnpath` the return path.
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
    """Reader of one channel: fed in pieces of any size, it gives events, a `Signal`, or raises StreamError.

    `base` is the stream offset of the first byte fed.
    """

    def __init__(self, base: int = 0) -> None:
        self._window = Window(base)
        self._steps = self._read()
        self._error: StreamError | None = None

    @abstractmethod
    def _read(self) -> Steps: ...

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Add input. An immutable buffer that comes whole is not copied: events hold views of it."""
        self._window.feed(data)

    def close(self) -> None:
        """Say that no more input comes."""
        self._window.closed = True

    @property
    def offset(self) -> int:
        """Offset of the next byte to read, in bytes from the start of the channel."""
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
        """All events of the input so far."""
        while not isinstance(event := self.next_event(), Signal):
            yield event

    def _ended(self) -> Generator[None, None, bool]:
        """True when the input ends here, between two elements."""
        while not self._window.available and not self._window.closed:
            yield
        return not self._window.available


class PreemptReader(ChannelReader):
    """The postcopy-preempt channel: bare page records without a header, with or without an EOS word at the end.

    `ram` is the RAM state of the main channel's reader (`StreamReader.ram`). Both share block list and page
    size; each keeps its own block of the last page.
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
