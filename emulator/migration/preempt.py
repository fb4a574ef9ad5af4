# SPDX-License-Identifier: Apache-2.0
"""The channel of postcopy-preempt on the source: pages that a guest waits for, past all that is sent in the background.

1. Bare page records, without header or magic; it has its own notion of the last block.
2. Whoever reads the request sends the page, at once and on this channel; the background goes on meanwhile. Before 8.0
   one thread sends both, and names the block again each time it turns to the other channel.
3. Releases before 8.0, and later ones for machine types of before (`x-preempt-pre-7-2`), open it together with the
   main channel, and end it by an EOS word. Others open it when the postcopy begins, as soon as a PONG has proved that
   the destination has the main one; the destination ends it.

Format and order: real QEMU 7.2.22, 10.0.13 and 11.1.3, and "Postcopy preempt" in QEMU's `docs/devel/migration/postcopy.rst`.
Destination: `preempt_receive`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.memory import PAGE_SIZE, ZERO_PAGE
from migmatrix.emulator.migration.transports import connect
from migmatrix.vmstate.wire.constants import RamFlag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.migration.address import Address
    from migmatrix.emulator.migration.channel import Channel, Wake
    from migmatrix.emulator.migration.link import Link
    from migmatrix.emulator.migration.streams import Output
    from migmatrix.emulator.migration.traits import Traits

__all__ = ["NO_URGENT_CHANNEL", "Urgent", "open_urgent", "opens_early", "preempts"]

NO_URGENT_CHANNEL: Final = (
    "Postcopy preempt is not supported as current migration stream does not support multi-channels."
)
_PAGE: Final = int(RamFlag.PAGE)
_ZERO: Final = int(RamFlag.ZERO)
_CONTINUE: Final = int(RamFlag.CONTINUE)
_EOS: Final = struct.pack(">Q", RamFlag.EOS)


def preempts(capabilities: Mapping[str, bool]) -> bool:
    """Whether there is such a channel."""
    return bool(capabilities.get("postcopy-preempt"))


def opens_early(properties: Mapping[str, Any]) -> bool:
    """Whether it is opened with the main one; `properties` are the migration object's. Old releases know no other way."""
    return bool(properties.get("x-preempt-pre-7-2", True))


def open_urgent(link: Link, address: Address, wake: Wake, traits: Traits) -> None:
    """Connect it beside the main channel of `link`, unless that is done; ChannelError."""
    if link.urgent is None:
        link.urgent = Urgent(connect(address, wake), link.out, traits)


class Urgent:
    """The channel, beside the main stream `out`; its users see to it that only one of them writes.

    `at_once`: whoever reads a request sends the page. `leads`: the background goes on behind the first one since it last
    looked.
    """

    def __init__(self, channel: Channel, out: Output, traits: Traits) -> None:
        self._channel = channel
        self._out = out
        self.at_once = traits.urgent_at_once
        self.leads = traits.follows_urgent
        self._last: RamBlock | None = None

    def send(self, block: RamBlock, pages: Iterable[int], *, finds_zeros: bool) -> int:
        """Write pages at once; how many of them were zero. ChannelError."""
        parts = []
        zeros = 0
        for page in pages:
            content = block.data[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]
            is_zero = finds_zeros and content == ZERO_PAGE
            zeros += is_zero
            head = self._head(block, page * PAGE_SIZE | (_ZERO if is_zero else _PAGE))
            parts.append(head + (b"\0" if is_zero else content))
        self._write(b"".join(parts))
        return zeros

    def _head(self, block: RamBlock, word: int) -> bytes:
        if self._last is block:
            return struct.pack(">Q", word | _CONTINUE)
        self._last = block
        name = block.name.encode("latin-1")
        return struct.pack(">QB", word, len(name)) + name

    def _write(self, data: bytes) -> None:
        self._channel.write(data)
        self._out.beside += len(data)

    def turn(self) -> None:
        """The thread that sends was at the other channel: name the block again."""
        self._last = None

    def end(self) -> None:
        """Nothing more is urgent; ChannelError."""
        self._write(_EOS)

    def interrupt(self) -> None:
        """End every wait, from any thread."""
        self._channel.interrupt()

    def close(self) -> None:
        """Close it."""
        self._channel.close()
