# SPDX-License-Identifier: Apache-2.0
"""Commands of a monitor, called in this process: no socket, no loop that runs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from migmatrix.emulator.loop import Loop
from migmatrix.emulator.qmp.human import run
from migmatrix.emulator.qmp.monitor import Monitor
from migmatrix.emulator.qmp.server import Server
from migmatrix.emulator.qmp.table import Call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.emulator.machine import Machine

__all__ = ["call", "said"]


@contextmanager
def call(machine: Machine) -> Iterator[Call]:
    """What a command is called with, on a monitor of its own."""
    server = Server(Loop(), machine.release.name, {})
    server.machine = machine
    try:
        yield Call(machine, server, Monitor())
    finally:
        server.loop.close()


def said(machine: Machine, line: str) -> str:
    """What the human monitor says to a line."""
    with call(machine) as made:
        return run(made, line).replace("\r\n", "\n")
