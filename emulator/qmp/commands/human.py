# SPDX-License-Identifier: Apache-2.0
"""`human-monitor-command`: the human monitor's commands over QMP."""

from __future__ import annotations

from typing import Any

from migmatrix.emulator.qmp.human import run
from migmatrix.emulator.qmp.table import Arguments, Call, command
from migmatrix.emulator.qmp.types import INT, STR, Member

__all__: list[str] = []


@command("human-monitor-command", Member("command-line", STR), Member("cpu-index", INT, optional=True))
def human_monitor_command(call: Call, arguments: Arguments) -> Any:
    """Execute a command of the human monitor and return what it prints."""
    return run(call, arguments["command-line"])
