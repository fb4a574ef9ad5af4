# SPDX-License-Identifier: Apache-2.0
"""The `globalstate` section: the run state that the guest had on the source.

Up to 8.2 its 100 bytes are a name and zeros; from 9.0 they tell as well whether the guest was suspended.
"""

from __future__ import annotations

import errno
from typing import Final

from migmatrix.emulator.migration.names import c_string
from migmatrix.vmstate.device import fields as f
from migmatrix.vmstate.device.description import Field, HookError, VMState

__all__ = ["RUN_STATES", "VMSTATE_GLOBALSTATE", "GlobalState"]

RUN_STATES: Final = frozenset(
    {
        "debug", "inmigrate", "internal-error", "io-error", "paused", "postmigrate", "prelaunch", "finish-migrate",
        "restore-vm", "running", "save-vm", "shutdown", "suspended", "watchdog", "guest-panicked", "colo",
        "preconfig",
    }
)  # fmt: skip
_SIZE: Final = 100
_SHORT: Final = 32  # of them for the name, from 9.0
_USUAL: Final = frozenset({"running", "paused"})
_EARLY: Final = frozenset({"prelaunch", "inmigrate"})


class GlobalState:
    """What is sent, and what came. `received` is the source's run state once a stream told it, "" before.

    Without `always` (property ``store-global-state``) the section is sent only for a state that is not usual.
    """

    def __init__(self) -> None:
        self.always = True
        self.size = 0
        self.runstate = bytes(_SIZE)
        self.has_vm_was_suspended = 0
        self.vm_was_suspended = 0
        self.unused = bytes(_SIZE - _SHORT - 2)
        self.received = ""

    def store(self, runstate: str) -> None:
        """Take the run state that the guest has now, before it is stopped for the migration."""
        self.runstate = runstate.encode().ljust(_SIZE, b"\0")
        self.has_vm_was_suspended, self.vm_was_suspended = 1, 0

    @property
    def starts_guest(self) -> bool:
        """Whether the guest goes on when it has come; a stream that does not say so means that it does."""
        return self.received in ("", "running")

    @property
    def runstate_after(self) -> str:
        """The run state of a guest that does not go on."""
        return "prelaunch" if self.received in _EARLY else self.received


def _needed(state: GlobalState) -> bool:
    return state.always or c_string(state.runstate.partition(b"\0")[0]) not in _USUAL


def _pre_save(state: GlobalState) -> None:
    state.size = len(state.runstate.split(b"\0", 1)[0]) + 1


def _pre_save_short(state: GlobalState) -> None:
    _pre_save(state)
    state.runstate = state.runstate[:_SHORT]


def _post_load(state: GlobalState, _version: int) -> None:
    text = c_string(state.runstate[:-1].partition(b"\0")[0])  # the last byte ends it, whatever it is
    if text not in RUN_STATES:
        raise HookError(f"invalid parameter value: {text}", errno.EINVAL)
    state.received = text


def _description(*fields: Field, short: bool) -> VMState:
    return VMState(
        "globalstate",
        (f.uint32("size"), *fields),
        version_id=1,
        minimum_version_id=1,
        needed=_needed,
        pre_save=_pre_save_short if short else _pre_save,
        post_load=_post_load,
    )


VMSTATE_GLOBALSTATE: Final = (
    _description(f.buffer("runstate", _SIZE), short=False),
    _description(
        f.buffer("runstate", _SHORT),
        f.uint8("has_vm_was_suspended"),
        f.uint8("vm_was_suspended"),
        f.buffer("unused", _SIZE - _SHORT - 2),
        short=True,
    ),
)
"""The section without and with the flags: index by `Traits.suspended_state`."""
