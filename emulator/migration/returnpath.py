# SPDX-License-Identifier: Apache-2.0
"""Messages of the destination to the source: u16 type, u16 length, data.

`ReplyPath` is the destination's end: nothing is sent before the source opened it. `ReturnPath` is the source's end,
read by a thread of its own for as long as a migration lasts; it remembers what came and says when it is over.
"""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.errors import bug
from migmatrix.emulator.migration.channel import ChannelError
from migmatrix.emulator.migration.streams import Input
from migmatrix.vmstate.wire.constants import ReturnCode

if TYPE_CHECKING:
    from migmatrix.emulator.migration.channel import Channel

__all__ = ["ReplyPath", "ReturnPath"]

_LENGTHS: Final = {
    ReturnCode.SHUT: 4,
    ReturnCode.PONG: 4,
    ReturnCode.RESUME_ACK: 4,
    ReturnCode.SWITCHOVER_ACK: 0,
}


class ReplyPath:
    """Replies over a connection; on one that goes only one way they go nowhere, as QEMU's writes to a file do."""

    def __init__(self, channel: Channel | None) -> None:
        self._channel = channel if channel is not None and channel.two_way else None
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

    def _send(self, code: ReturnCode, data: bytes) -> None:
        if self._channel is None:
            return
        try:
            self._channel.write(struct.pack(">HH", code, len(data)) + data)
        except ChannelError:
            self._channel = None  # the source is gone: whether the load fails is for the stream to say


class ReturnPath:
    """The source's end. `error` is set when the destination failed or talked nonsense."""

    def __init__(self, channel: Channel) -> None:
        self._input = Input(channel)
        self._pongs: list[int] = []
        self._acked = False
        self.error = ""
        self.shut = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="return path", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while self._message():
                pass
        except Exception as error:  # noqa: BLE001 - the last resort: the source must not wait for ever
            self.error = bug(error)
        with self._change:
            self._change.notify_all()

    def _message(self) -> bool:
        head = self._input.take(4)
        if len(head) < 4:  # noqa: PLR2004 - code and length
            self.error = self.error or self._input.error
            return False
        number, length = struct.unpack(">HH", head)
        if _LENGTHS.get(number) != length:
            self.error = f"RP: Received invalid message {number:#06x} length {length:#06x}"
            return False
        data = self._input.take(length)
        return len(data) == length and self._take(ReturnCode(number), int.from_bytes(data))

    def _take(self, code: ReturnCode, value: int) -> bool:
        with self._change:
            if code is ReturnCode.PONG:
                self._pongs = [*self._pongs[-7:], value]
            elif code is ReturnCode.SWITCHOVER_ACK:
                self._acked = True
            elif code is ReturnCode.SHUT:
                self.shut = True
                if value:
                    self.error = f"RP: Sibling indicated error {value}"
            self._change.notify_all()
        return code is not ReturnCode.SHUT

    @property
    def failed(self) -> bool:
        """Whether the destination is known to have failed."""
        return bool(self.error)

    @property
    def acked(self) -> bool:
        """Whether the destination agreed to the switchover."""
        return self._acked

    def finish(self) -> str:
        """Wait until the destination has said how it ended, or is gone; the error, "" for none.

        The wait ends with the connection, which a cancel interrupts.
        """
        self._thread.join()
        if not self.shut and not self.error:
            return "Unable to read from socket: Connection reset by peer"
        return self.error
