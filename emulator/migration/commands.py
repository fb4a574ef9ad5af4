# SPDX-License-Identifier: Apache-2.0
"""Commands of the source inside a stream (type 0x08), and what the destination does with each.

It checks lengths and states as QEMU does. It does not do COLO: it refuses its command by name and ignores none.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, NamedTuple

from migmatrix.emulator.migration.faults import LoadFault
from migmatrix.emulator.migration.names import c_string
from migmatrix.emulator.migration.streams import BytesChannel, Input
from migmatrix.vmstate.wire.constants import MAX_PACKAGED, CommandCode

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from migmatrix.emulator.migration.postcopy import Postcopy
    from migmatrix.emulator.migration.returnpath import ReplyPath
    from migmatrix.emulator.migration.traits import Traits

__all__ = ["CommandHandler"]

_ANY: Final = -1
_LENGTHS: Final = {
    CommandCode.OPEN_RETURN_PATH: 0,
    CommandCode.PING: 4,
    CommandCode.POSTCOPY_ADVISE: _ANY,
    CommandCode.POSTCOPY_LISTEN: 0,
    CommandCode.POSTCOPY_RUN: 0,
    CommandCode.POSTCOPY_RAM_DISCARD: _ANY,
    CommandCode.PACKAGED: 4,
    CommandCode.ENABLE_COLO: 0,
    CommandCode.POSTCOPY_RESUME: 0,
    CommandCode.RECV_BITMAP: _ANY,
    CommandCode.SWITCHOVER_START: 0,
}


class _Command(NamedTuple):
    code: CommandCode
    data: bytes
    source: Input
    nested: Callable[[Input], object]
    on_listen: Callable[[], object]


class CommandHandler:
    """What a destination knows while it reads commands.

    `say` prints a line that is no error; `acks`: the source is told at once that it may switch over.
    """

    def __init__(
        self,
        traits: Traits,
        replies: ReplyPath,
        blocks: Collection[str],
        say: Callable[[str], object],
        postcopy: Postcopy,
        *,
        acks: bool = False,
    ) -> None:
        self._traits = traits
        self._replies = replies
        self._blocks = blocks
        self._say = say
        self._acks = acks
        self._in_package = False
        self.postcopy = postcopy

    def handle(
        self, source: Input, nested: Callable[[Input], object], on_listen: Callable[[], object]
    ) -> None:
        """Read one command after its type byte and do it; LoadFault.

        `nested` loads what a package holds, `on_listen` makes somebody read what comes after it.
        """
        raw = source.take(4)
        if len(raw) < 4:  # noqa: PLR2004 - code and length
            new = f"Failed to load VM process command: stream error: -{errno.EIO}"
            raise LoadFault(errno=errno.EIO, new=new)
        number, length = int.from_bytes(raw[:2]), int.from_bytes(raw[2:])
        code = self._known(number, length)
        wanted = _LENGTHS[code]
        if wanted not in (_ANY, length):
            name = "(null)" if code is CommandCode.ENABLE_COLO else code.name  # QEMU's table has none for it
            text = f"{name} received with bad length - expecting {wanted}, got {length}"
            raise LoadFault(text, errno=errno.ERANGE)
        data = source.take(length)
        if len(data) < length:
            raise LoadFault(errno=errno.EIO)
        self._do(_Command(code, data, source, nested, on_listen))

    def _known(self, number: int, length: int) -> CommandCode:
        newest = CommandCode.SWITCHOVER_START if self._traits.switchover_start else CommandCode.RECV_BITMAP
        if not 0 < number <= newest:
            raise LoadFault(f"MIG_CMD {number:#x} unknown (len {length:#x})")
        return CommandCode(number)

    def _do(self, command: _Command) -> None:
        {
            CommandCode.OPEN_RETURN_PATH: self._open_return_path,
            CommandCode.PING: self._ping,
            CommandCode.POSTCOPY_ADVISE: lambda command: self.postcopy.advise(command.data),
            CommandCode.POSTCOPY_LISTEN: self._listen,
            CommandCode.POSTCOPY_RUN: lambda _: self.postcopy.run(),
            CommandCode.POSTCOPY_RAM_DISCARD: lambda command: self.postcopy.discard(command.data),
            CommandCode.PACKAGED: self._packaged,
            CommandCode.ENABLE_COLO: self._colo,
            CommandCode.POSTCOPY_RESUME: self._resume,
            CommandCode.RECV_BITMAP: self._bitmap,
            CommandCode.SWITCHOVER_START: self._switchover,
        }[command.code](command)

    def _open_return_path(self, _: _Command) -> None:
        if not self._replies.open():
            self._say("CMD_OPEN_RETURN_PATH called when RP already open")
            return
        if self._acks:
            self._replies.switchover_ack()

    def _ping(self, command: _Command) -> None:
        value = int.from_bytes(command.data)
        if not self._replies.is_open:
            raise LoadFault(f"CMD_PING ({value:#x}) received with no return path", errno=errno.EPERM)
        self._replies.pong(value)

    def _listen(self, command: _Command) -> None:
        self.postcopy.listen()
        command.on_listen()

    def _packaged(self, command: _Command) -> None:
        length = int.from_bytes(command.data)
        if length > MAX_PACKAGED:
            raise LoadFault(f"Unreasonably large packaged state: {length}", errno=errno.EPERM)
        if self._in_package:  # QEMU looks for its bytes outside, where they are not
            raise LoadFault(f"CMD_PACKAGED: Buffer receive fail ret=0 length={length}", errno=errno.EAGAIN)
        package = command.source.take(length)
        if len(package) < length:
            text = f"CMD_PACKAGED: Buffer receive fail ret={len(package)} length={length}"
            raise LoadFault(text, errno=errno.EAGAIN)
        self._in_package = True
        try:
            command.nested(Input(BytesChannel(package)))
        finally:
            self._in_package = False

    def _colo(self, _: _Command) -> None:
        if self._traits.colo_is_gone:
            raise LoadFault("MIG_CMD 0x8 deprecated (len 0x0)")
        raise LoadFault("ENABLE_COLO command come in migration stream, but x-colo capability is not set")

    def _resume(self, _: _Command) -> None:
        if self.postcopy.resume():
            return
        line = "loadvm_postcopy_handle_resume: illegal resume received"
        self._say(f"warning: {line}" if self._traits.joined_errors else line)

    def _bitmap(self, command: _Command) -> None:
        length = len(command.data)
        if not length or command.data[0] != length - 1:
            text = f"invalid payload length ({length})"
            raise LoadFault(f"loadvm_handle_recv_bitmap: {text}", new=text)
        name = c_string(command.data[1:])
        if name not in self._blocks:
            text = f"block '{name}' not found"
            raise LoadFault(f"loadvm_handle_recv_bitmap: {text}", new=text)
        if not self.postcopy.tell(name):
            self._say("migrate_send_rp_recv_bitmap: MSG_RP_RECV_BITMAP only used for recovery")

    def _switchover(self, _: _Command) -> None:
        """The last part begins: nothing to do, as nothing here has to be asked first."""
