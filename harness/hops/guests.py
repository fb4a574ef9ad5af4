# SPDX-License-Identifier: Apache-2.0
"""What runs inside the emulator, and how the harness sees that it goes on.

`paused` never runs. `firmware` runs the machine's own firmware: SeaBIOS writes its log to the debug port 0x402,
and with nothing to boot and a reboot time-out it starts over for ever, so that its output never ends on a machine
that works. `strict` keeps it from trying disks and network cards: a boot ROM waits long and writes elsewhere.

Such a guest *beats*. One on another board, or with firmware, a kernel or a boot order of its own, need not: nobody
promises that it writes there. Of it the harness asks only that it is running, and after a while still is.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migmatrix.harness.model import Guest

__all__ = ["Console", "can_beat", "firmware_arguments"]

_DEBUG_PORT = "0x402"  # SeaBIOS, CONFIG_DEBUG_IO
_REBOOT_TIMEOUT_MS = 10
# Boards with an ISA bus whose own firmware is SeaBIOS.
_SEABIOS = re.compile(r"(?:pc|q35|isapc)(?:-.*)?")
_OWN_BOOT = re.compile(r"--?(?:bios|pflash|kernel|L|option-rom|boot)")
_OWN_BOOT_VALUE = re.compile(r"(?:^|[,{\"'\s])(?:if=pflash|pflash[01]|firmware|kernel|bootindex)\b")


def can_beat(guest: Guest, machine: str, arguments: Iterable[str]) -> bool:
    """Whether this guest writes to the debug port for ever, as long as the machine works."""
    words = list(arguments)
    own = any(_OWN_BOOT.fullmatch(word) or _OWN_BOOT_VALUE.search(word) for word in words)
    return guest.kind == "firmware" and _SEABIOS.fullmatch(machine) is not None and not own


def firmware_arguments(console: str) -> list[str]:
    """Arguments that make the firmware talk to the UNIX socket `console`, and start over for ever."""
    return [
        "-chardev",
        f"socket,id=migmatrix-console,path={console}",
        "-device",
        f"isa-debugcon,iobase={_DEBUG_PORT},chardev=migmatrix-console",
        "-boot",
        f"strict=on,reboot-timeout={_REBOOT_TIMEOUT_MS}",
    ]


class Console:
    """Counts what the guest writes."""

    def __init__(self) -> None:
        self.received = 0
        self._more = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(self, path: str) -> None:
        """Make the socket that the emulator will connect to."""
        self._server = await asyncio.start_unix_server(self._read, path)

    async def output_after(self, received: int) -> None:
        """Wait until more than `received` bytes have come in all."""
        while self.received <= received:
            self._more.clear()
            await self._more.wait()

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while data := await reader.read(65536):
                self.received += len(data)
                self._more.set()
        except ConnectionResetError:
            pass  # the emulator ended with output unread
        finally:
            self._writers.discard(writer)
            writer.close()
