# SPDX-License-Identifier: Apache-2.0
"""Messages of the destination to the source: u16 type, u16 length, data.

`ReplyPath` is the destination's end: nothing is sent before the source opened it. `ReturnPath` is the source's end,
read by a thread of its own for as long as its connection lasts; it remembers what came, tells a `Listener` what a
postcopy needs, and says when it is over.
Lengths and words of the messages: real 7.2.22, 10.0.13 and 11.1.3 as sources, to which a peer sent each mistake.
"""

from __future__ import annotations

import errno
import struct
import threading
from typing import TYPE_CHECKING, Final, Protocol

from migmatrix.emulator.errors import bug
from migmatrix.emulator.migration.channel import ChannelError
from migmatrix.emulator.migration.names import c_string
from migmatrix.emulator.migration.streams import Input
from migmatrix.vmstate.wire.constants import PAGE_SIZE, ReturnCode
from migmatrix.vmstate.wire.returnpath import END_MARK, ReceivedBitmap

if TYPE_CHECKING:
    from migmatrix.emulator.migration.channel import Channel
    from migmatrix.emulator.migration.control import Migration
    from migmatrix.emulator.migration.streams import Readable

__all__ = ["LOADED", "Listener", "ReplyPath", "ReturnPath"]

LOADED: Final = 0x42  # the PING that says that the package of a postcopy is loaded
_READY: Final = 1  # what a RESUME_ACK says
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


class Listener(Protocol):
    """What a source makes of messages that only a postcopy needs.

    Each method may raise ValueError with QEMU's words: the destination should not have said that.
    """

    def request(self, block: str | None, start: int, length: int) -> None:
        """A guest over there waits for bytes of a block; None is the last one's."""

    def loaded(self) -> None:
        """The package is loaded."""

    def bitmap_size(self, block: str) -> int:
        """Bytes of the bitmap of a block, which follows; ValueError with the status in which there should be none."""

    def bitmap(self, block: str, bits: bytes) -> None:
        """Which pages of a block came."""

    def ready(self) -> None:
        """The destination is ready to go on after a broken link."""

    def ended(self) -> None:
        """Nothing more comes."""


class _Wrong(Exception):
    """A message that no destination sends; the text is QEMU's."""


class ReplyPath:
    """Replies over a connection; on one that goes only one way they go nowhere, as QEMU's writes to a file do."""

    def __init__(self, channel: Channel | None) -> None:
        self._lock = threading.Lock()  # a guest's requests come from other threads
        self.is_open = False
        self.attach(channel)

    def attach(self, channel: Channel | None) -> None:
        """Reply over this connection from now on; None: over none."""
        with self._lock:
            self._channel = channel if channel is not None and channel.two_way else None
            self._last = ""  # the block of the last request

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
                self._write(ReturnCode.REQ_PAGES, numbers)
                return
            self._last = block
            name = block.encode("latin-1")
            self._write(ReturnCode.REQ_PAGES_ID, numbers + bytes((len(name),)) + name)

    def bitmap(self, block: str, bits: bytes) -> None:
        """Say which pages of a block came."""
        with self._lock:
            self._write_raw(ReceivedBitmap(block, bits).encode())

    def ready(self) -> None:
        """Pages may come again; the next request names its block."""
        with self._lock:
            self._last = ""
            self._write(ReturnCode.RESUME_ACK, struct.pack(">I", _READY))

    def _send(self, code: ReturnCode, data: bytes) -> None:
        with self._lock:
            self._write(code, data)

    def _write(self, code: ReturnCode, data: bytes) -> None:
        self._write_raw(struct.pack(">HH", code, len(data)) + data)

    def _write_raw(self, data: bytes) -> None:
        if self._channel is None:
            return
        try:
            self._channel.write(data)
        except ChannelError:
            self._channel = None  # the source is gone: whether the load fails is for the stream to say


class ReturnPath:
    """The source's end. `error` is set when the destination failed or talked nonsense.

    Up to 8.1 the thread prints such an error itself (`say`), and the migration fails by its next write, or at its end
    without a text. `asked`: whether the switchover waits for an acknowledgement.
    """

    def __init__(
        self,
        migration: Migration,
        channel: Readable,
        listener: Listener,
        *,
        asked: bool = False,
    ) -> None:
        self._input = Input(channel)
        self._traits = migration.traits
        self._say = migration.say
        self._blocks = migration.machine.ram_blocks
        self._asked = asked
        self._listener = listener
        self._acked = False
        self._ponged = False
        self._heard = threading.Event()  # a PONG came, or nothing more comes
        self.error = ""
        self.shut = False
        self.over = False  # nothing more comes
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
        finally:
            self.over = True
            self._heard.set()
            self._listener.ended()

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
            self._ponged = True
            self._heard.set()
            if int.from_bytes(data) == LOADED:
                self._listener.loaded()
        elif code is ReturnCode.SWITCHOVER_ACK:
            self._acknowledge()
        elif code is ReturnCode.SHUT:
            self.shut = True
            if value := int.from_bytes(data):
                raise self._wrong(f"Sibling indicated error {value}")
        elif code is ReturnCode.RESUME_ACK:
            self._resume(int.from_bytes(data))
        elif code is ReturnCode.RECV_BITMAP:
            self._bitmap(data)
        else:
            self._asked_for(code, data)
        return code is not ReturnCode.SHUT

    def _acknowledge(self) -> None:
        if self._traits.counts_switchover_acks and (self._acked or not self._asked):
            raise _Wrong("Switchover ack pending num underflowed")
        self._acked = True

    def _asked_for(self, code: ReturnCode, data: bytes) -> None:
        """A page that a guest waits for, checked as QEMU does."""
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
            self._listener.request(
                c_string(data[13:]) if code is ReturnCode.REQ_PAGES_ID else None, start, length
            )
        except ValueError as error:
            raise _Wrong(f"{'MIG_RP_MSG_REQ_PAGES' if new else 'ram_save_queue_pages'} {error}") from error

    # -- after a broken link -----------------------------------------------------------------------

    def _resume(self, value: int) -> None:
        if value != _READY:
            opening = "" if self._traits.return_path_errors else "migrate_handle_rp_resume_ack: "
            raise _Wrong(f"{opening}illegal resume_ack value {value}")
        self._listener.ready()

    def _bitmap(self, data: bytes) -> None:
        """The header names a block; size, bits and an end mark follow it."""
        name = self._block(data)
        try:
            size = self._listener.bitmap_size(name)
        except ValueError as error:
            text = f"Reload bitmap in incorrect state {error}"
            raise self._bad_bitmap(text, f"incorrect state {error}") from error
        found = int.from_bytes(self._input.take(8).ljust(8, b"\0"))
        if found != size:
            raise self._bad_bitmap(f"ramblock '{name}' bitmap size mismatch ({found:#x} != {size:#x})")
        bits, mark = self._input.take(size), self._input.take(8)
        if len(mark) < 8:  # noqa: PLR2004 - a word
            opening, sizes = (
                f"read bitmap failed for ramblock '{name}':",
                f"(size {size:#x}, got: {len(bits):#x})",
            )
            raise self._bad_bitmap(f"{opening} {sizes}", f"{opening} -{errno.EIO} {sizes}")
        if int.from_bytes(mark) != END_MARK:
            raise self._bad_bitmap(f"ramblock '{name}' end mark incorrect: {int.from_bytes(mark):#x}")
        self._listener.bitmap(name, bits)

    def _bad_bitmap(self, text: str, old: str = "") -> _Wrong:
        return _Wrong(text if self._traits.return_path_errors else f"ram_dirty_bitmap_reload: {old or text}")

    def _block(self, data: bytes) -> str:
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
        return name

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

    def wait_for_pong(self) -> bool:
        """Wait for a first PONG, which proves that the destination has this connection; False when none comes."""
        self._heard.wait()
        return self._ponged

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
