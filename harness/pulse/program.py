# SPDX-License-Identifier: Apache-2.0
"""The files of the program, the arguments that start it, and where it cannot run.

1. SeaBIOS takes the loader from fw_cfg, and the loader the program. That adds no device and no RAM block, so the
   stream is that of the profile (measured on 5.2 to 11.1, `pc-q35-*` and `pc-i440fx-*` of 5.2 on).
2. The debug port is not SeaBIOS's: of a log nobody reads, each character would take time.
3. What the program is told to do are words in a file of fw_cfg.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from migmatrix.harness.model import Guest

__all__ = ["cannot_run", "program_arguments", "program_digest", "program_files"]

_FILES: Final = ("loader.rom", "pulse.bin")
_PORT: Final = "0xe9"
_BOARDS: Final = re.compile(r"(?:pc|q35)(?:-.*)?")
_OWN_FIRMWARE: Final = re.compile(r"--?(?:bios|pflash|L)")
_OWN_FIRMWARE_VALUE: Final = re.compile(r"(?:^|[,{\"'\s])(?:if=pflash|pflash[01]|firmware|igvm-cfg)\b")
# Another debug port at ours: `isa-debugcon` is at 0xe9 when nothing else is said.
_DEBUG_PORT: Final = re.compile(r"(?:^|driver[\"':=\s]+)isa-debugcon\b(?!.*iobase[\"'=:\s]+0x(?!e9\b))")
_FORMAT: Final = 1  # of what a leg with this guest does and records; see `LEG_FORMAT`


def program_files() -> Mapping[str, bytes]:
    """The files that an emulator is given, by name."""
    return _read(Path(__file__).parents[2] / "data" / "pulse")


@cache
def _read(directory: Path) -> Mapping[str, bytes]:
    return {name: (directory / name).read_bytes() for name in _FILES}


@cache
def program_digest() -> str:
    """Hex SHA-256 over the files, and over what the harness makes of their output."""
    hasher = hashlib.sha256(str(_FORMAT).encode())
    for name, data in sorted(program_files().items()):
        hasher.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(data).digest())
    return hasher.hexdigest()


def program_arguments(console: str, inner: Callable[[str], str], tasks: Sequence[str]) -> list[str]:
    """Arguments that start the program; `inner` gives its files' paths, `console` is a UNIX socket, as the emulator sees them."""
    return [
        *("-option-rom", inner(_FILES[0])),
        *("-fw_cfg", f"name=opt/migmatrix/pulse,file={inner(_FILES[1])}"),
        *(("-fw_cfg", f"name=opt/migmatrix/tasks,string={' '.join(tasks)}") if tasks else ()),
        *("-chardev", f"socket,id=migmatrix-console,path={console}"),
        *("-device", f"isa-debugcon,iobase={_PORT},chardev=migmatrix-console"),
    ]


def cannot_run(guest: Guest, machine: str, arguments: Iterable[str]) -> str:
    """Why this guest cannot run on a machine with these arguments, or empty; only of `pulse` it is known before."""
    if guest.kind != "pulse":
        return ""
    if _BOARDS.fullmatch(machine) is None:
        return "pulse is a program for the boards pc and q35"
    words = list(arguments)
    own = (w for w in words if _OWN_FIRMWARE.fullmatch(w) or _OWN_FIRMWARE_VALUE.search(w))
    if word := next(own, ""):
        return f"pulse is started by the board's own firmware, and {word!r} brings another"
    debug = (w for w in words if w in ("-debugcon", "--debugcon") or _DEBUG_PORT.search(w))
    if word := next(debug, ""):
        return f"pulse talks to the debug port {_PORT}, which is that of {word!r}"
    return ""
