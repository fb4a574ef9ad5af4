# SPDX-License-Identifier: Apache-2.0
"""Why this host cannot execute a file: asked after a probe failed, for a shell says "not found" of all of these.

Numbers of architectures and the layout of program headers as in the System V ABI (elf(5)). Reads the first bytes of
the file and runs nothing.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import NamedTuple

__all__ = ["why_not"]

_READ = 4096
_MAGIC = b"\x7fELF"
_IDENT, _CLASS_64, _LITTLE = 16, 2, 1
_PT_INTERP = 3
_MACHINES = {
    2: "sparc", 3: "i386", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 43: "sparc64", 62: "x86_64",
    183: "aarch64", 243: "riscv", 258: "loongarch64",
}  # fmt: skip


class _Header(NamedTuple):
    machine: int
    interpreter: (
        str  # the dynamic loader; empty when the file needs none, or names it further behind than was read
    )


def why_not(path: Path) -> str:
    """The reason, empty when none is found."""
    with path.open("rb") as file:
        head = file.read(_READ)
    if head.startswith(b"#!"):
        return _missing(head[2:].partition(b"\n")[0].split(maxsplit=1)[:1])
    if not head.startswith(_MAGIC):
        return ""
    header, own = _header(head), _header(_own())
    if header is None or own is None:
        return "it is cut short"
    if header.machine != own.machine and (_name(header.machine), _name(own.machine)) != ("i386", "x86_64"):
        return f"it is for {_name(header.machine)}, this host is {_name(own.machine)}"
    return _missing([header.interpreter.encode()] if header.interpreter else [])


def _own() -> bytes:
    with Path(sys.executable).resolve().open("rb") as file:
        return file.read(_READ)


def _name(machine: int) -> str:
    return _MACHINES.get(machine, f"another architecture (ELF {machine})")


def _missing(interpreter: list[bytes]) -> str:
    names = [name.decode(errors="replace") for name in interpreter]
    return next(
        (f"its interpreter {name!r} is not on this host" for name in names if not Path(name).exists()), ""
    )


def _header(head: bytes) -> _Header | None:
    """Machine and loader; None for a file that ends within its header."""
    if len(head) < _IDENT + 48:
        return None
    order = "<" if head[5] == _LITTLE else ">"
    wide = head[4] == _CLASS_64
    (machine,) = struct.unpack_from(f"{order}H", head, _IDENT + 2)
    (table,) = struct.unpack_from(f"{order}{'Q' if wide else 'I'}", head, 32 if wide else 28)
    size, count = struct.unpack_from(f"{order}HH", head, 54 if wide else 42)
    for offset in (table + size * index for index in range(count)):
        if offset + size > len(head) or size < (56 if wide else 32):
            break
        kind, *_, place, length = _program(head, offset, order, wide=wide)
        if kind == _PT_INTERP:
            return _Header(machine, head[place : place + length].rstrip(b"\0").decode(errors="replace"))
    return _Header(machine, "")


def _program(head: bytes, offset: int, order: str, *, wide: bool) -> tuple[int, int, int]:
    """Type, offset and size in the file of a program header."""
    if wide:
        kind, _, place, _, _, length = struct.unpack_from(f"{order}IIQQQQ", head, offset)
    else:
        kind, place, _, _, length = struct.unpack_from(f"{order}IIIII", head, offset)
    return kind, place, length
