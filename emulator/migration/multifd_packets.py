# SPDX-License-Identifier: Apache-2.0
"""Packets of multifd channels, made and read as the release does: what a sender fills in, what a receiver refuses.

1. Nothing here has a channel or a thread: bytes and values only.
2. A packet is checked in QEMU's order, so that the first complaint is QEMU's; `PacketError` has its words.
3. A packet that was read has at most `PAGES` pages, all of them within one block that is here.

Format: `vmstate.wire.multifd`; texts: strings of QEMU 7.2.22, 10.0.13 and 11.1.3.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from migmatrix.emulator.memory import PAGE_SIZE
from migmatrix.emulator.migration.multifd import PacketError
from migmatrix.emulator.migration.names import c_string
from migmatrix.vmstate.wire.multifd import (
    HEAD,
    INIT,
    MAGIC,
    PACKET,
    VERSION,
    MultifdFlag,
    MultifdInit,
    MultifdPacket,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.migration.traits import Traits

__all__ = [
    "HEADER",
    "INITIAL",
    "PAGES",
    "Packet",
    "PacketError",
    "initial",
    "packet",
    "read_initial",
    "read_packet",
    "runs",
]

PAGES: Final = PACKET // PAGE_SIZE  # of a full packet
INITIAL: Final = INIT.size
HEADER: Final = HEAD.size + 8 * PAGES  # bytes of a packet before its data
_NAME: Final = 256
_FIRST: Final = struct.Struct(">III")


class Packet(NamedTuple):
    """A packet without its data. Offsets are in bytes; `length` is that of the data that follows.

    `block` is None without pages.
    """

    flags: int
    block: RamBlock | None
    normal: tuple[int, ...]
    zero: tuple[int, ...]
    length: int
    number: int

    @property
    def sync(self) -> bool:
        """Whether the receiver waits for all channels here."""
        return bool(self.flags & MultifdFlag.SYNC)


def packet(
    flags: int,
    number: int,
    block: RamBlock | None = None,
    normal: Sequence[int] = (),
    zero: Sequence[int] = (),
    *,
    length: int = 0,
    allocated: int = PAGES,
) -> bytes:
    """The bytes of a packet before its data. `normal` and `zero` are offsets in `block`."""
    offsets = (*normal, *zero)
    table = struct.pack(f">{len(offsets)}Q", *offsets).ljust(8 * PAGES, b"\0")
    name = (b"" if block is None else block.name.encode("latin-1")).ljust(_NAME, b"\0")
    return MultifdPacket(flags, allocated, len(normal), len(zero), length, number, name, table, b"").encode()


def runs(offsets: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Pages that follow each other, by their places in the list: that of the first, and the one after the last."""
    first = 0
    for i in range(1, len(offsets) + 1):
        if i == len(offsets) or offsets[i] != offsets[i - 1] + PAGE_SIZE:
            yield first, i
            first = i


def initial(uuid: bytes, channel: int) -> bytes:
    """The first bytes of a channel."""
    return MultifdInit(uuid, channel).encode()


# -- reading -------------------------------------------------------------------------------------


def read_initial(raw: bytes, uuid: bytes, channels: int, traits: Traits) -> int:
    """The number of a channel that begins with `raw`; PacketError. `uuid` is this side's, zero if it has none."""
    magic, version, theirs, channel, _ = INIT.unpack(raw)
    if magic != MAGIC:
        raise PacketError(f"multifd: received packet magic {magic:x} expected {MAGIC:x}")
    if version != VERSION:
        raise PacketError(f"multifd: received packet version {version} expected {VERSION}")
    if theirs != uuid:
        texts = [_uuid_text(each) for each in (theirs, uuid)]
        number = channel - 256 if channel > 127 else channel  # noqa: PLR2004 - QEMU prints a signed byte
        raise PacketError(
            "multifd: received uuid '{}' and expected uuid '{}' for channel {}".format(*texts, number)
        )
    # QEMU takes one too many, up to 10.x, and uses memory that it does not have.
    if channel >= channels:
        raise PacketError(_too_many(channel, channels, traits))
    return int(channel)


def _too_many(channel: int, channels: int, traits: Traits) -> str:
    if traits.multifd_exceeds:
        return f"multifd: received channel id {channel} exceeds channel count {channels}"
    if traits.multifd_words:
        return f"multifd: received channel id {channel} is greater than number of channels {channels}"
    return f"multifd: received channel version {VERSION} expected {VERSION}"


def _uuid_text(raw: bytes) -> str:
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def read_packet(raw: bytes, blocks: Mapping[str, RamBlock], traits: Traits) -> Packet:
    """What `raw`, of `HEADER` bytes, says; PacketError."""
    _check_first(raw, traits)
    _, _, flags, allocated, normal, length, number, zero, _, _, name = HEAD.unpack_from(raw)
    if not traits.multifd_zero_pages:
        zero = 0  # unused space
    if flags & MultifdFlag.SYNC and traits.multifd_sync_alone:
        return Packet(flags, None, (), (), 0, number)
    _check_counts(allocated, normal, zero, traits)
    if not normal + zero:
        return Packet(flags, None, (), (), 0, number)
    block = _block(c_string(name[: _NAME - 1]), blocks)
    offsets = struct.unpack_from(f">{normal + zero}Q", raw, HEAD.size)
    for offset in offsets:
        if offset + PAGE_SIZE > block.used_length:
            raise PacketError(f"multifd: offset too long {offset} (max {block.used_length:x})")
    return Packet(flags, block, offsets[:normal], offsets[normal:], length, number)


def _check_first(raw: bytes, traits: Traits) -> None:
    magic, version, _ = _FIRST.unpack_from(raw)
    link = "," if traits.multifd_words else " and"
    last = "" if traits.multifd_words else "{} "
    if magic != MAGIC:
        raise PacketError(
            f"multifd: received packet magic {magic:x}{link} expected {last.format('magic')}{MAGIC:x}"
        )
    if version != VERSION:
        raise PacketError(
            f"multifd: received packet version {version}{link} expected {last.format('version')}{VERSION}"
        )


def _check_counts(allocated: int, normal: int, zero: int, traits: Traits) -> None:
    start = "multifd: received packet with"
    new = traits.multifd_words
    if allocated > PAGES:
        text = f"{allocated} pages, expected {PAGES}"
        raise PacketError(f"{start} {text if new else f'size {allocated} and expected a size of {PAGES}'}")
    if normal > allocated:
        text = f"{normal} non-zero pages, which exceeds maximum expected pages {allocated}"
        old = f"{normal} pages and expected maximum pages are {allocated}"
        raise PacketError(f"{start} {text if new else old}")
    if zero > allocated - normal:
        raise PacketError(f"{start} {zero} zero pages, expected maximum {allocated - normal}")


def _block(name: str, blocks: Mapping[str, RamBlock]) -> RamBlock:
    try:
        return blocks[name]
    except KeyError:
        raise PacketError(f"multifd: unknown ram block {name}") from None
