# SPDX-License-Identifier: Apache-2.0
"""The run state: stop, cont, reset, the end."""

from __future__ import annotations

from functools import partial
from typing import Any

from migmatrix.emulator.qmp.table import Arguments, Call, command
from migmatrix.emulator.qmp.types import generic
from migmatrix.vmstate.device.lifetime import lives

__all__: list[str] = []

# States out of which a guest goes only by a reset (QEMU: runstate_needs_reset).
_NEEDS_RESET = ("internal-error", "shutdown")


@command("query-status")
def query_status(call: Call, _: Arguments) -> Any:
    """The run state; `singlestep` went with 9.0."""
    machine = call.machine
    extra = {"singlestep": False} if lives("", "9.0", call.release) else {}
    return {"status": machine.runstate, **extra, "running": machine.running}


@command("stop")
def stop(call: Call, _: Arguments) -> Any:
    """Stop the guest; one that is being loaded will not start."""
    machine = call.machine
    if machine.runstate == "inmigrate":
        machine.autostart = False
    elif machine.running:
        machine.vm_stop("paused")
    return {}


@command("cont")
def cont(call: Call, _: Arguments) -> Any:
    """Let the guest run; one that is being loaded will start afterwards."""
    machine = call.machine
    if machine.runstate == "inmigrate":
        machine.autostart = True
    elif machine.runstate in _NEEDS_RESET:
        raise generic("Resetting the Virtual Machine is required")
    elif machine.runstate == "finish-migrate":
        raise generic("Migration is not finalized yet")
    else:
        machine.vm_start()
    return {}


@command("quit")
def quit_(call: Call, _: Arguments) -> Any:
    """End the process; seen: 5.2 answers first, 7.2 and later send the event first."""
    end = partial(call.server.shut_down, "host-qmp-quit")
    if lives("", "7.2", call.release):
        call.server.loop.call(end)
    else:
        end()
    return {}


@command("system_reset")
def system_reset(call: Call, _: Arguments) -> Any:
    """Reset the guest; one that does not run is as before its first start."""
    call.server.reset("host-qmp-system-reset")
    return {}


@command("system_powerdown")
def system_powerdown(call: Call, _: Arguments) -> Any:
    """Press the power button; no guest program here listens to it."""
    call.server.emit("POWERDOWN")
    return {}


@command("system_wakeup")
def system_wakeup(_: Call, __: Arguments) -> Any:
    """No guest program here ever sleeps."""
    raise generic("wake-up from suspend is not supported by this guest")
