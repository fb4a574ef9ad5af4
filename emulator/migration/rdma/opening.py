# SPDX-License-Identifier: Apache-2.0
"""What a migration does with an `rdma:` address. Light: the transport is loaded when there is one to open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.emulator.errors import QmpError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.migration.address import Address
    from migmatrix.emulator.migration.channel import Channel
    from migmatrix.emulator.migration.control import Migration
    from migmatrix.emulator.migration.rdma.memory import TargetMemory
    from migmatrix.emulator.migration.transports import Arrival

__all__ = ["arriving_rdma", "opened_rdma"]


def opened_rdma(migration: Migration, address: Address) -> Channel | None:
    """The channel of an outgoing migration, with memory beside it; None for another address. QmpError."""
    migration.ram.out_direct = None
    if address.kind != "rdma":
        return None
    _check(migration, "RDMA ERROR: could not create CM channel")
    from migmatrix.emulator.migration.rdma.channel import connect_rdma  # noqa: PLC0415 - few migrations go there

    channel = connect_rdma(address, migration.settings, two_way=_two_way(migration))
    migration.ram.out_direct = channel.source
    return channel


def arriving_rdma(migration: Migration, address: Address) -> Arrival | None:
    """Who waits for an incoming migration; None for another address. QmpError."""
    migration.ram.in_direct = None
    if address.kind != "rdma":
        return None
    _check(migration, "RDMA ERROR: could not create rdma event channel")
    from migmatrix.emulator.migration.rdma.channel import listen_rdma  # noqa: PLC0415 - as above

    def link(target: Callable[[Iterable[RamBlock]], TargetMemory]) -> None:
        migration.ram.in_direct = target(migration.machine.ram_blocks.values())

    traits, settings = migration.traits, migration.settings
    return listen_rdma(address, settings, traits, migration.say, link, two_way=_two_way(migration))


def _two_way(migration: Migration) -> bool:
    """Whether there is a second connection, for the way back; both sides must think so."""
    return bool(migration.capabilities.get("return-path")) and migration.traits.rdma_return_path


def _check(migration: Migration, absent: str) -> None:
    """QmpError without a stand-in for a device, and for what only real QEMU can do."""
    if not migration.machine.options.rdma:
        raise QmpError("GenericError", absent)
    if migration.capabilities["postcopy-ram"]:
        raise QmpError("GenericError", "RDMA with 'postcopy-ram' is not supported by this emulator")
