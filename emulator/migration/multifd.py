# SPDX-License-Identifier: Apache-2.0
"""multifd: memory over channels of its own, beside the main stream. What a release and its settings make of it.

`Multifd` is what both sides agree on without saying so: how many channels, how pages are packed, where zero pages go,
and when all channels wait for each other. The main stream tells of that point by a word of its own, or (machine types
up to 8.0) by the end of each part. Source: `multifd_send`; destination: `multifd_receive`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from migmatrix.emulator.migration.transports import connect
from migmatrix.vmstate.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.migration.address import Address
    from migmatrix.emulator.migration.channel import Channel, Wake
    from migmatrix.emulator.migration.multifd_receive import Receivers
    from migmatrix.emulator.migration.ram import RamSection
    from migmatrix.emulator.migration.settings import Settings
    from migmatrix.emulator.migration.streams import Input, Output
    from migmatrix.emulator.migration.traits import Traits

    Counted = Callable[[int, int, int], object]  # normal pages, zero pages, bytes

NO_CHANNELS: Final = "multifd is not supported by current protocol"
_MAIN: Final = b"QEVM"
# of `vmstate.wire.multifd`, which a migration without channels need not load
_MAGIC: Final = b"\x11\x22\x33\x44"

__all__ = [
    "NO_CHANNELS",
    "Connections",
    "Counted",
    "Multifd",
    "PacketError",
    "PageSink",
    "make_receivers",
    "multifd_of",
    "open_sink",
]


class PacketError(Exception):
    """A packet that is not taken; the text is QEMU's."""


class Multifd(Record):
    """One side's multifd. `uuid` is the machine's, zero if it has none; `level` is that of the compression.

    `zeros` says where zero pages go: `legacy`, into the main stream; `multifd`, into packets; `none`, like others.
    `per_section`: channels wait for each other at the end of each part, and no word says so.
    """

    traits: Traits
    channels: int
    uuid: bytes
    compression: str
    level: int
    zeros: str
    per_section: bool


def multifd_of(
    machine: Machine, settings: Settings, properties: Mapping[str, object], traits: Traits
) -> Multifd | None:
    """The multifd that the settings ask for; None when it is off. `properties` are the migration object's."""
    if not settings.capabilities.get("multifd"):
        return None
    parameters = settings.parameters
    compression = parameters["multifd-compression"]
    return Multifd(
        traits,
        parameters["multifd-channels"],
        bytes.fromhex((machine.options.uuid or "0" * 32).replace("-", "")),
        compression,
        parameters.get(f"multifd-{compression}-level", 0),
        parameters.get("zero-page-detection", "legacy"),
        bool(properties.get("multifd-flush-after-each-section", True)),
    )


class PageSink(Protocol):
    """Where an outgoing migration puts pages instead of into the main stream."""

    def describe(self, out: Output, block: RamBlock) -> None:
        """The main stream's list of blocks has reached the end of this block's entry."""

    def flush(self, out: Output) -> None:
        """The list of blocks ends."""

    def send(self, block: RamBlock, start: int, stop: int, zeros: Callable[[int, int], object]) -> None:
        """Send pages; `zeros` puts a run of zero pages into the main stream."""

    def end_round(self, out: Output) -> None:
        """All blocks were gone through."""

    def end_part(self, out: Output, *, done: bool) -> None:
        """A part ends; `done`: nothing is left to send."""

    def begin_postcopy(self) -> None:
        """From now on pages go into the main stream."""

    def check(self) -> None:
        """ChannelError if something failed meanwhile."""

    def interrupt(self) -> None:
        """End every wait, from any thread."""

    def close(self) -> None:
        """End what runs, and close what belongs to it."""


def open_sink(
    multifd: Multifd | None, ram: RamSection, address: Address, main: Channel, out: Output, wake: Wake
) -> PageSink | None:
    """What takes the pages of a migration over `main`; None for the main stream itself. ChannelError."""
    counted = _counter(ram, out, channels=multifd is not None)
    if ram.settings is not None and ram.settings.capabilities.get("mapped-ram"):
        from migmatrix.emulator.migration.mapped_ram import FileSaver, FileSenders  # noqa: PLC0415 - seldom

        finds_zeros = ram.settings.parameters.get("zero-page-detection") != "none"
        saver = FileSaver(main, counted, finds_zeros=finds_zeros)
        return saver if multifd is None else FileSenders(multifd, saver, counted)
    return None if multifd is None else _open_senders(multifd, address, wake, counted)


def _counter(ram: RamSection, out: Output, *, channels: bool) -> Counted:
    def counted(normal: int, zero: int, size: int) -> None:
        out.beside += size
        if ram.stats is not None:
            ram.stats.normal += normal
            ram.stats.duplicate += zero
            ram.stats.multifd_bytes = out.beside if channels else 0

    return counted


def _open_senders(multifd: Multifd, address: Address, wake: Wake, counted: Counted) -> PageSink:
    """Connect all channels, beside a main one that is connected already; ChannelError.

    QEMU reads the first packet of an encrypted channel before it shakes hands on the next one.
    """
    from migmatrix.emulator.migration.multifd_packets import initial  # noqa: PLC0415 - few migrations have channels
    from migmatrix.emulator.migration.multifd_send import Senders  # noqa: PLC0415 - as above

    channels: list[Channel] = []
    try:
        for number in range(multifd.channels):
            channels.append(connect(address, wake))
            channels[-1].write(initial(multifd.uuid, number))
    except BaseException:
        for channel in channels:
            channel.close()
        raise
    return Senders(multifd, channels, counted)


def make_receivers(multifd: Multifd, machine: Machine) -> Receivers:
    """What takes the channels in, and puts pages into the machine's memory."""
    from migmatrix.emulator.migration.multifd_receive import Receivers  # noqa: PLC0415 - as above

    return Receivers(multifd, machine.ram_blocks, machine.bql)


class Connections:
    """The connections of one incoming migration, as they come: the main one, and those of multifd.

    `preempts`: after them comes one for what is urgent in a postcopy, before anything begins.
    """

    def __init__(self, receivers: Receivers | None, traits: Traits, *, preempts: bool = False) -> None:
        self._preempts = preempts
        self.urgent: Channel | None = None
        self._receivers = receivers
        self._traits = traits
        self._main: tuple[Channel, Input] | None = None
        self._all: list[Channel] = []

    @property
    def main(self) -> tuple[Channel, Input]:
        """The main connection, once it is there."""
        if self._main is None:
            raise AssertionError("there is no main connection yet")
        return self._main

    @property
    def complete(self) -> bool:
        """Whether all are there."""
        return self._has_main and (self.urgent is not None or not self._preempts)

    @property
    def _has_main(self) -> bool:
        """Whether the main one, and those of multifd, are there."""
        return self._main is not None and (self._receivers is None or self._receivers.complete)

    def take_urgent(self, channel: Channel) -> bool:
        """Take a new connection, if it is that for what is urgent, which says nothing before the postcopy."""
        if not self._has_main:
            return False
        self._all.append(channel)
        self.urgent = channel
        return True

    @property
    def error(self) -> str:
        """What a channel of multifd failed of; "" for none."""
        return self._receivers.error if self._receivers is not None else ""

    def add(self, channel: Channel, source: Input) -> None:
        """A new connection, of which at least one byte came; PacketError."""
        self._all.append(channel)
        if self._receivers is None:
            self._main = channel, source
        elif self._is_main(channel, source):
            self._main = channel, source
            self._receivers.on_error(channel.interrupt)
        else:
            self._receivers.add(channel, source)

    def _is_main(self, channel: Channel, source: Input) -> bool:
        """The first one is the main one; later releases look at the first bytes.

        So does each of ours where connections are encrypted: what a source sent last of a handshake may arrive after all of
        the next one's, and a guest of real QEMU up to 7.2 is then lost.
        """
        if not self._traits.channels_by_magic and not channel.secured:
            return self._main is None
        magic = source.peek(4)
        if self._traits.unknown_magic and magic not in (_MAIN, _MAGIC):
            raise PacketError(f"unknown channel magic: {int.from_bytes(magic):x}")
        return self._main is None and magic != _MAGIC

    def close(self) -> None:
        """End and close all."""
        if self._receivers is not None:
            self._receivers.close()
        for channel in self._all:
            channel.close()
