# SPDX-License-Identifier: Apache-2.0
"""Commands of the dirty limit (from 7.1): `set-vcpu-dirty-limit` and its family. The limit is `emulator.dirtylimit`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.qmp.table import Arguments, Call, command
from migmatrix.emulator.qmp.types import INT, Array, Member, Struct, generic, unsigned

if TYPE_CHECKING:
    from migmatrix.emulator.dirtylimit import DirtyLimit

__all__: list[str] = []

_INFO = Struct("DirtyLimitInfo", Member("cpu-index", INT), Member("limit-rate", unsigned(64)),
               Member("current-rate", unsigned(64)))  # fmt: skip
_UNSIGNED: Final = (1 << 64) - 1
_NO_RING: Final = "dirty page limit feature requires KVM with accelerator property 'dirty-ring-size' set'"


@command(
    "set-vcpu-dirty-limit",
    Member("cpu-index", INT, optional=True),
    Member("dirty-rate", unsigned(64)),
    since="7.1",
)
def set_vcpu_dirty_limit(call: Call, arguments: Arguments) -> Any:
    """Limit a processor, or all; 0 is no limit."""
    limit = call.machine.dirty_limit
    if limit is None:
        raise generic(_NO_RING)
    index = _index(limit, arguments)
    _check_allowed(call, limit, "set")
    limit.set(arguments["dirty-rate"] & _UNSIGNED, index)
    return {}


@command("cancel-vcpu-dirty-limit", Member("cpu-index", INT, optional=True), since="7.1")
def cancel_vcpu_dirty_limit(call: Call, arguments: Arguments) -> Any:
    """Lift the limit of a processor, or of all; without dirty rings there is none, which is no error."""
    limit = call.machine.dirty_limit
    if limit is not None:
        index = _index(limit, arguments)
        _check_allowed(call, limit, "cancel")
        limit.set(0, index)
    return {}


@command("query-vcpu-dirty-limit", returns=Array(_INFO), since="7.1")
def query_vcpu_dirty_limit(call: Call, _: Arguments) -> Any:
    """Limits and rates of the last period, in MiB/s, of the processors that have a limit."""
    limit = call.machine.dirty_limit
    if limit is None:
        return []
    return [
        {"cpu-index": index, "limit-rate": quota, "current-rate": limit.rates[index]}
        for index, quota in sorted(limit.quotas.items())
    ]


def _index(limit: DirtyLimit, arguments: Arguments) -> int | None:
    index: int | None = arguments.get("cpu-index")
    if index is not None and not 0 <= index < len(limit.rings):
        raise generic("incorrect cpu index specified")
    return index


def _check_allowed(call: Call, limit: DirtyLimit, verb: str) -> None:
    """A migration that has limited the guest lets nobody else do so."""
    machine = call.machine
    if machine.migrating and limit.in_service and machine.migration.capabilities.get("dirty-limit"):
        raise generic(f"can't {verb} dirty page rate limit while migration is running")
