# SPDX-License-Identifier: Apache-2.0
"""File descriptors that come over the socket: named ones of a monitor, and sets of the whole process."""

from __future__ import annotations

import os
from typing import Any

from migmatrix.emulator.qmp.table import Arguments, Call, command
from migmatrix.emulator.qmp.types import INT, STR, Member, generic

__all__: list[str] = []


@command("getfd", Member("fdname", STR))
def getfd(call: Call, arguments: Arguments) -> Any:
    """Give the descriptor that came along a name; one that had it before is closed."""
    fd = call.session.take_fd()
    name = arguments["fdname"]
    if name[:1].isdigit():
        os.close(fd)
        raise generic("Parameter 'fdname' expects a name not starting with a digit")
    if (old := call.session.named_fds.pop(name, None)) is not None:
        os.close(old)
    call.session.named_fds[name] = fd
    return {}


@command("closefd", Member("fdname", STR))
def closefd(call: Call, arguments: Arguments) -> Any:
    """Close a named descriptor."""
    fd = call.session.named_fds.pop(arguments["fdname"], None)
    if fd is None:
        raise generic(f"File descriptor named '{arguments['fdname']}' not found")
    os.close(fd)
    return {}


@command("add-fd", Member("fdset-id", INT, optional=True), Member("opaque", STR, optional=True))
def add_fd(call: Call, arguments: Arguments) -> Any:
    """Put the descriptor that came along into a set, a new one when none is named."""
    fd = call.session.take_fd()
    sets = call.machine.fdsets
    fresh = next(n for n in range(len(sets) + 1) if n not in sets)
    number = arguments.get("fdset-id", fresh)
    if number < 0:
        os.close(fd)
        raise generic("Parameter 'fdset-id' expects a non-negative value")
    sets.setdefault(number, []).append((fd, arguments.get("opaque", "")))
    return {"fdset-id": number, "fd": fd}


@command("remove-fd", Member("fdset-id", INT), Member("fd", INT, optional=True))
def remove_fd(call: Call, arguments: Arguments) -> Any:
    """Close a set, or one descriptor of it."""
    number, wanted = arguments["fdset-id"], arguments.get("fd")
    held = call.machine.fdsets.get(number, [])
    gone = [entry for entry in held if wanted in (None, entry[0])]
    if not gone:
        named = f"fdset-id:{number}" if wanted is None else f"fdset-id:{number}, fd:{wanted}"
        raise generic(f"File descriptor named '{named}' not found")
    for entry in gone:
        os.close(entry[0])
        held.remove(entry)
    if not held:
        del call.machine.fdsets[number]
    return {}


@command("query-fdsets")
def query_fdsets(call: Call, _: Arguments) -> Any:
    """All sets."""
    return [
        {"fdset-id": number, "fds": [{"fd": fd, **({"opaque": text} if text else {})} for fd, text in held]}
        for number, held in call.machine.fdsets.items()
    ]
