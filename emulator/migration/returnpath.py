# SPDX-License-Identifier: Apache-2.0
"""Messages of the destination to the source: u16 type, u16 length, data.

`ReplyPath` is the destination's end: nothing is sent before the source opened it. `ReturnPath` is the source's end,
read by a thread of its own for as long as a migration lasts; it remembers what came and says when it is over.
Lengths and words of the messages: real 7.2.22, 10.0.13 and 11.1.3 as sources, to which a peer sent each mistake.
"""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.errors import bug
from migmatrix.emulator.migration.channel import ChannelError
from migmatrix.emulator.migration.names import c_string
from migmatrix.emulator.migration.streams import Input
from migmatrix.vmstate.wire.constants import PAGE_SIZE, ReturnCode

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from migmatrix.emulator.migration.channel import Channel
    from migmatrix.emulator.migration.traits import Traits

__all__ = ["LOADED", "ReplyPath", "ReturnPath"]

LOADED: Final = 0x42  # the PING that says that the package of a postcopy is loaded
_ANY: Final = -1
_LENGTHS: Final[dict[int, int]] = {
    ReturnCode.SHUT: 4,
    ReturnCode.PONG: 4,
    ReturnCode.REQ_PAGES_ID: _ANY,
    ReturnCode.REQ_PAGES: 12,
    ReturnCode.RECV_BITMAP: _ANY,
    ReturnCode.RESUME_ACK: 4,
    ReturnCode.SWITCHOVER_ACK: 0,
}
_LONGEST: Final = 512
_REQUEST: Final = struct.Struct(">QI")  # start and length


def _unasked(_block: str | None, _start: int, _length: int) -> None:
    """Outside of a postcopy nobody waits for a page: QEMU notes the request, and nothing comes of it."""


class _Wrong(Exception):
    """A message that no destination sends; the text is QEMU's."""


class ReplyPath:
    """Replies over a connection; on one that goes only one way they go nowhere, as QEMU's writes to a file do."""

    def __init__(self, channel: Channel | None) -> None:
        self._channel = channel if channel is not None and channel.two_way else None
        self._lock = threading.RLock()  # a guest's requests come from other threads
        self._last = ""  # the block of the last request
        self.is_open = False

    def open(self) -> bool:
        """The source asked for replies; False when it did before."""
        if self.is_open:
            return False
        self.is_open = True
        return True

    def pong(self, value: int) -> None:
        """Answer a PING."""
        self._send(ReturnCode.PONG, struct.pack(">I", value))

    def shut(self, *, failed: bool) -> None:
        """The load is over."""
        if self.is_open:
            self._send(ReturnCode.SHUT, struct.pack(">I", failed))

    def switchover_ack(self) -> None:
        """Nothing here keeps the source from switching over."""
        self._send(ReturnCode.SWITCHOVER_ACK, b"")

    def request(self, block: str, start: int, length: int) -> None:
        """Ask for bytes of a block; its name is sent when it is not that of the last request."""
        numbers = _REQUEST.pack(start, length)
        with self._lock:  # what is the last one is decided in the order in which they are sent
            if block == self._last:
                self._send(ReturnCode.REQ_PAGES, numbers)
                return
            self._last = block
            name = block.encode("latin-1")
            self._send(ReturnCode.REQ_PAGES_ID, numbers + bytes((len(name),)) + name)

    def _send(self, code: ReturnCode, data: bytes) -> None:
        with self._lock:
            if self._channel is None:
                return
            try:
                self._channel.write(struct.pack(">HH", code, len(data)) + data)
            except ChannelError:
                self._channel = None  # the source is gone: whether the load fails is for the stream to say


class ReturnPath:
    """The source's end. `error` is set when the destination failed or talked nonsense.

    Up to 8.1 the thread prints such an error itself (`say`), and the migration fails by its next write, or at its end
    without a text. `asked`: whether the switchover waits for an acknowledgement. `blocks` are names of RAM blocks.
    `request` is called with what a guest over there waits for: block (None: the last one's), start and length in bytes;
    it may raise ValueError. `loaded` is called when the package of a postcopy is loaded.
    """

    def __init__(
        self,
        channel: Channel,
        traits: Traits,
        say: Callable[[str], object],
        blocks: Collection[str] = (),
        *,
        asked: bool = False,
        request: Callable[[str | None, int, int], object] = _unasked,
        loaded: Callable[[], object] = lambda: None,
    ) -> None:
        self._input = Input(channel)
        self._traits = traits
        self._say = say
        self._blocks = blocks
        self._asked = asked
        self._request = request
        self._loaded = loaded
        self._acked = False
        self.error = ""
        self.shut = False
        self._thread = threading.Thread(target=self._run, name="return path", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while self._message():
                pass
        except _Wrong as wrong:
            self.error = str(wrong)
            if not self._traits.return_path_errors:
                self._say(self.error)
        except Exception as error:  # noqa: BLE001 - the last resort: the source must not wait for ever
            self.error = bug(error)

    def _message(self) -> bool:
        head = self._input.take(4)
        if len(head) < 4:  # noqa: PLR2004 - code and length
            self.error = self.error or self._input.error
            return False
        number, length = struct.unpack(">HH", head)
        code = self._checked(number, length)
        data = self._input.take(length)
        return len(data) == length and self._take(code, data)

    def _checked(self, number: int, length: int) -> ReturnCode:
        known = _LENGTHS.get(number)
        if known is None or (number == ReturnCode.SWITCHOVER_ACK and not self._traits.switchover_ack_known):
            raise self._wrong(f"Received invalid message {number:#06x} length {length:#06x}")
        code = ReturnCode(number)
        if known not in (_ANY, length) or length > _LONGEST:
            raise self._wrong(
                f"Received '{code.name}' message ({number:#06x}) withincorrect length {length} expecting {known}"
            )
        return code

    def _wrong(self, words: str) -> _Wrong:
        return _Wrong(words if self._traits.return_path_errors else f"RP: {words}")

    def _take(self, code: ReturnCode, data: bytes) -> bool:
        if code is ReturnCode.PONG:
            if int.from_bytes(data) == LOADED:
                self._loaded()
        elif code is ReturnCode.SWITCHOVER_ACK:
            self._acknowledge()
        elif code is ReturnCode.SHUT:
            self.shut = True
            if value := int.from_bytes(data):
                raise self._wrong(f"Sibling indicated error {value}")
        elif code is not ReturnCode.RESUME_ACK:
            self._asked_for(code, data)
        return code is not ReturnCode.SHUT

    def _acknowledge(self) -> None:
        if self._traits.counts_switchover_acks and (self._acked or not self._asked):
            raise _Wrong("Switchover ack pending num underflowed")
        self._acked = True

    def _asked_for(self, code: ReturnCode, data: bytes) -> None:
        """What only postcopy and its recovery need, checked as QEMU does."""
        if code is ReturnCode.RECV_BITMAP:
            self._check_bitmap(data)
            return
        wanted = 13 + data[12] if code is ReturnCode.REQ_PAGES_ID and len(data) > _REQUEST.size else 13
        if code is ReturnCode.REQ_PAGES_ID and len(data) != wanted:
            raise self._wrong(f"Req_Page_id with length {len(data)} expecting {wanted}")
        start, length = _REQUEST.unpack_from(data)
        new = self._traits.return_path_errors
        if start % PAGE_SIZE or length % PAGE_SIZE:
            opening = "MIG_RP_MSG_REQ_PAGES" if new else "migrate_handle_rp_req_pages"
            raise _Wrong(
                f"{opening}: Misaligned page request, start:{'' if new else ' '}{start:x} len: {length}"
            )
        try:
            self._request(c_string(data[13:]) if code is ReturnCode.REQ_PAGES_ID else None, start, length)
        except ValueError as error:
            raise _Wrong(f"{'MIG_RP_MSG_REQ_PAGES' if new else 'ram_save_queue_pages'} {error}") from error

    def _check_bitmap(self, data: bytes) -> None:
        new = self._traits.return_path_errors
        if not data:
            raise _Wrong(
                "MIG_RP_MSG_RECV_BITMAP missing block name"
                if new
                else "source_return_path_thread: missing block name"
            )
        name = data[1 : 1 + data[0]].decode("utf-8", "surrogateescape")
        if name not in self._blocks:
            opening = "MIG_RP_MSG_RECV_BITMAP has" if new else "migrate_handle_rp_recv_bitmap:"
            raise _Wrong(f"{opening} invalid block name '{name}'")

    @property
    def failed(self) -> str:
        """Why the migration cannot go on, "" if it can: up to 8.1 its connection is shut down when this thread ends."""
        if self._traits.return_path_errors:
            return self.error
        ended = self.error or self.shut
        return "Unable to write to socket: Bad file descriptor" if ended else ""

    @property
    def acked(self) -> bool:
        """Whether the destination agreed to the switchover."""
        return self._acked

    def finish(self) -> str | None:
        """Wait until the destination has said how it ended, or is gone; the error, None for none, "" for one without words.

        The wait ends with the connection, which a cancel interrupts.
        """
        self._thread.join()
        if self.shut and not self.error:
            return None
        if not self._traits.return_path_errors:
            return ""
        return self.error or "Channel error: Input/output error"
