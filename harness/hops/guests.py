# SPDX-License-Identifier: Apache-2.0
"""What runs inside the emulator, and how the harness sees that it goes on.

`paused` never runs. `firmware` runs the machine's own firmware: SeaBIOS writes its log to the debug port 0x402,
and with nothing to boot and a reboot time-out it starts over for ever, so that its output never ends on a machine
that works. `strict` keeps it from trying disks and network cards: a boot ROM waits long and writes elsewhere.

`pulse` is a program of ours (`harness/pulse/`), which beats and tells what it sees.

Such a guest *beats*. Firmware on another board, or with firmware, a kernel or a boot order of its own, need not: nobody
promises that it writes there. Of it the harness asks only that it is running, and after a while still is.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from migmatrix.harness.pulse.heard import Heard
from migmatrix.harness.pulse.program import cannot_run, program_arguments, program_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from migmatrix.harness.engines.base import Job
    from migmatrix.harness.model import Guest

__all__ = ["Console", "can_beat", "guest_arguments", "guest_files"]

_DEBUG_PORT = "0x402"  # SeaBIOS, CONFIG_DEBUG_IO
_REBOOT_TIMEOUT_MS = 10
# Boards with an ISA bus whose own firmware is SeaBIOS.
_SEABIOS = re.compile(r"(?:pc|q35|isapc)(?:-.*)?")
_OWN_BOOT = re.compile(r"--?(?:bios|pflash|kernel|L|option-rom|boot)")
_OWN_BOOT_VALUE = re.compile(r"(?:^|[,{\"'\s])(?:if=pflash|pflash[01]|firmware|kernel|bootindex)\b")


def can_beat(guest: Guest, machine: str, arguments: Iterable[str]) -> bool:
    """Whether this guest writes to the debug port for ever, as long as the machine works."""
    words = list(arguments)
    if guest.kind == "pulse":
        return not cannot_run(guest, machine, words)
    own = any(_OWN_BOOT.fullmatch(word) or _OWN_BOOT_VALUE.search(word) for word in words)
    return guest.kind == "firmware" and _SEABIOS.fullmatch(machine) is not None and not own


def guest_files(guest: Guest, job: Job) -> None:
    """Put what the guest is started from into the directory of an emulator's job."""
    if guest.kind == "pulse":
        for name, data in program_files().items():
            job.files.write_new(name, data)


def guest_arguments(guest: Guest, job: Job) -> list[str]:
    """Arguments that make the guest talk to the UNIX socket `console` of the job, for ever."""
    console = job.inner("console")
    if guest.kind == "pulse":
        return program_arguments(console, job.inner, guest.tasks)
    return [
        "-chardev",
        f"socket,id=migmatrix-console,path={console}",
        "-device",
        f"isa-debugcon,iobase={_DEBUG_PORT},chardev=migmatrix-console",
        "-boot",
        f"strict=on,reboot-timeout={_REBOOT_TIMEOUT_MS}",
    ]


class Console:
    """Counts what the guest writes; `heard` understands it, where the guest is `pulse`."""

    def __init__(self, guest: Guest) -> None:
        self.received = 0
        self.heard = Heard() if guest.kind == "pulse" else None
        self._more = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(self, path: str) -> None:
        """Make the socket that the emulator will connect to."""
        self._server = await asyncio.start_unix_server(self._read, path)

    async def output_after(self, received: int) -> None:
        """Wait until more than `received` bytes have come in all."""
        await self.until(lambda: self.received > received)

    async def until(self, enough: Callable[[], bool]) -> None:
        """Wait until there has been output with which `enough` is true."""
        while not enough():
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
                if self.heard is not None:
                    self.heard.feed(data)
                self._more.set()
        except ConnectionResetError:
            pass  # the emulator ended with output unread
        finally:
            self._writers.discard(writer)
            writer.close()
