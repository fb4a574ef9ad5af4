# SPDX-License-Identifier: Apache-2.0
"""User networking (libslirp), whose state is a section of its own; the document's example of a field with a version.

1. The section is an old-style one: functions over raw bytes. libslirp writes them with its own copy of VMState, so
   here too the bytes are a mark per forwarded socket, the end of the marks, then a description.
2. Only sockets of ``guestfwd=`` are sent. The emulator has none, so it refuses a stream that has: as QEMU does when
   the destination was started without the same ``guestfwd=``.

Source: libslirp `src/state.c`, QEMU `net/slirp.c`; versions as sent by QEMU 5.2.0 to 11.1.3.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.devices.isa.base import StatefulDevice
from migmatrix.emulator.devices.state import clear
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.errors import Kind
from migmatrix.vmstate.device.fields import buffer, struct, uint16
from migmatrix.vmstate.device.registry import LegacyHandlers

if TYPE_CHECKING:
    from migmatrix.vmstate.device.protocols import Reading, Writing

__all__ = ["SLIRP_HANDLERS", "VMSTATE_SLIRP", "Slirp"]

_VERSION: Final = 4
_CLIENTS: Final = 16
_SOCKET_MARK: Final = 42

VMSTATE_CLIENT = VMState("bootp_client", (uint16("allocated"), buffer("macaddr", 6)))

VMSTATE_SLIRP = VMState(
    "slirp",
    (
        uint16("ip_id", version=2),
        struct("bootp_clients", VMSTATE_CLIENT, count=_CLIENTS, version=3),
    ),
    version_id=_VERSION,
    minimum_version_id=0,
)


def _save(writing: Writing, state: Any) -> None:
    writing.put(b"\0")
    writing.save(VMSTATE_SLIRP, state)


def _load(reading: Reading, state: Any, version: int) -> None:
    mark = reading.number(1)
    if mark:
        raise reading.error(
            Kind.CUSTOM, "no forwarded sockets", f"a socket (mark {mark})", type="slirp", errno=errno.EINVAL
        )
    reading.load(VMSTATE_SLIRP, state, version)


SLIRP_HANDLERS = LegacyHandlers("slirp", _VERSION, _save, _load)


class Slirp(StatefulDevice):
    """One ``-netdev user``: addresses that it gave away, and the next IP id."""

    type_name = "slirp"
    user_creatable = False
    in_tree = False
    instance_id = 0  # all of them: what is loaded goes to the first, as in QEMU (seen on 7.2.22)
    vmstate = SLIRP_HANDLERS

    def reset(self) -> None:
        """The network outlives a reset of the machine; before the first it is empty."""
        super().reset()
        if not vars(self.state):
            clear(VMSTATE_SLIRP, self.state)
