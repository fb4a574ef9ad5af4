# SPDX-License-Identifier: Apache-2.0
"""Receiving guest memory, from a stream that may be hostile.

1. Nothing is written outside of a block's used length; a block is resized only within its own limit.
2. What is missing at the end of the stream reads as zero, as in QEMU, so that the same check fails with the same
   words; then the end itself is the error.
3. Runs of like pages are moved from the input's buffer straight into memory; everything else goes word by word.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.memory import PAGE_SIZE, aligned
from migmatrix.emulator.migration.faults import LoadFault
from migmatrix.emulator.migration.names import c_string
from migmatrix.emulator.migration.xbzrle import decode_page
from migmatrix.emulator.migration.zeros import MOST, RECORD, ZERO, zero_records
from migmatrix.vmstate.wire.constants import RAM_VERSION, RamFlag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.migration.multifd_receive import Receivers
    from migmatrix.emulator.migration.postcopy import Postcopy
    from migmatrix.emulator.migration.rdma.memory import TargetMemory
    from migmatrix.emulator.migration.streams import Input
    from migmatrix.emulator.migration.traits import Traits

__all__ = ["RamLoader"]

_FLAGS: Final = PAGE_SIZE - 1
# plain numbers: a flag enumeration costs more than loading the page
_CONTINUE: Final = int(RamFlag.CONTINUE)
_EOS: Final = int(RamFlag.EOS)
_BODY: Final = int(RamFlag.PAGE | RamFlag.ZERO | RamFlag.XBZRLE)
_COMPRESSED: Final = int(RamFlag.COMPRESS_PAGE)
_PAGE: Final = int(RamFlag.PAGE | RamFlag.CONTINUE)
_WORD: Final = (1 << 64) - 1
_ZERO_PAGE: Final = bytes(PAGE_SIZE)
_read_word = struct.Struct(">Q").unpack_from


def _number(source: Input, size: int) -> int:
    return int.from_bytes(source.take(size).ljust(size, b"\0"))


def _name(source: Input) -> str:
    return c_string(source.take(_number(source, 1)))


class RamLoader:
    """One incoming migration's memory; it remembers the last block from section to section."""

    def __init__(
        self,
        blocks: Mapping[str, RamBlock],
        traits: Traits,
        postcopy: Postcopy | None = None,
        receivers: Receivers | None = None,
        direct: TargetMemory | None = None,
        *,
        mapped: bool = False,
        leaves_shared: bool = False,
        channel: int = 0,
    ) -> None:
        self._channel = channel  # of a postcopy: 0, or 1 for what is urgent
        self._leaves_shared = leaves_shared
        self._blocks = blocks
        self._traits = traits
        self._postcopy = postcopy
        self._receivers = receivers
        self._direct = direct  # what the source writes into our memory by
        self._mapped = mapped
        self._last: RamBlock | None = None

    def load(self, source: Input, version: int) -> None:
        """One payload, up to its EOS word; LoadFault."""
        if version != RAM_VERSION:
            raise LoadFault
        if self._postcopy is not None and self._postcopy.listening:
            self.load_late(source, self._postcopy)
            return
        while not self._record(source):
            self._runs(source)

    # -- the fast way ----------------------------------------------------------------------------

    def _runs(self, source: Input) -> None:
        block = self._last
        while block is not None:
            view = source.window()
            used = _copy_pages(block, view) or _clear_pages(block, view)
            if not used:
                return
            source.skip(used)

    # -- in the postcopy phase -------------------------------------------------------------------

    def load_late(self, source: Input, postcopy: Postcopy) -> None:
        """Pages up to an EOS word; LoadFault."""
        while not self._late_record(source, postcopy):
            pass

    def _late_record(self, source: Input, postcopy: Postcopy) -> bool:
        """A record of a page that somebody may wait for; True when it was the end of the payload."""
        word = self._word(source)
        at, flags = word & ~_FLAGS, word & _FLAGS & ~_CONTINUE
        if flags == _EOS:
            if self._traits.multifd_syncs_late:
                self._end_part()
            return True
        if flags not in (RamFlag.PAGE, RamFlag.ZERO):
            text = f"Unknown combination of migration flags: {flags:#x} (postcopy mode)"
            raise LoadFault(said=(text,))
        block = self._target(source, at, word & _FLAGS)
        if flags == RamFlag.PAGE:
            page = source.take(PAGE_SIZE)
            _all_there(page, PAGE_SIZE)
        else:
            fill = source.take(1)
            _all_there(fill, 1)
            if fill[0]:
                raise LoadFault(said=(f"Found a zero page with value {fill[0]}",))
            page = _ZERO_PAGE
        if (whole := postcopy.host_pages[self._channel].add(block, at, page)) is not None:
            postcopy.place(block, *whole)
        return False

    # -- record by record ------------------------------------------------------------------------

    def _record(self, source: Input) -> bool:
        """Read one record; True when it was the end of the payload."""
        word = self._word(source)
        at, flags = word & ~_FLAGS, word & _FLAGS
        if flags & _COMPRESSED and self._traits.compressed_pages:
            raise LoadFault(said=("Received an unexpected compressed page",))
        if flags & _BODY:
            self._page(source, self._target(source, at, flags), at, flags)
        else:
            self._other(source, at, flags)
        return bool(flags & _EOS)

    def _word(self, source: Input) -> int:
        raw = source.take(8)
        if len(raw) < 8 and self._traits.checks_ram_word:  # noqa: PLR2004 - a word
            raise LoadFault(said=("Getting RAM address failed",), errno=errno.EIO)
        return int.from_bytes(raw.ljust(8, b"\0"))

    def _target(self, source: Input, at: int, flags: int) -> RamBlock:
        if not flags & _CONTINUE:
            name = _name(source)
            self._last = self._blocks.get(name)
            said = (f"Can't find block {name}",)
        else:
            said = ("Ack, bad migration stream!",)
        illegal = f"Illegal RAM offset {at:x}"
        if self._last is None:
            raise LoadFault(said=(*said, illegal))
        if at >= self._last.used_length:
            raise LoadFault(said=(illegal,))
        return self._last

    def _page(self, source: Input, block: RamBlock, at: int, word: int) -> None:
        flags = word & ~_CONTINUE
        if flags == RamFlag.PAGE:
            data = source.take(PAGE_SIZE)
            block.store(at, data)
            _all_there(data, PAGE_SIZE)
        elif flags == RamFlag.ZERO:
            self._fill(source, block, at)
        elif flags == RamFlag.XBZRLE:
            self._xbzrle(source, block, at)
        else:
            raise self._unknown(word)

    def _fill(self, source: Input, block: RamBlock, at: int) -> None:
        fill = source.take(1)
        _all_there(fill, 1)
        if fill[0] and self._traits.strict_zero_fill:
            raise LoadFault(said=(f"Found a zero page with value {fill[0]}",))
        page = fill * PAGE_SIZE
        block.came(at // PAGE_SIZE, at // PAGE_SIZE + 1)
        if block.data[at : at + PAGE_SIZE] != page:
            block.store(at, page)

    def _xbzrle(self, source: Input, block: RamBlock, at: int) -> None:
        tail = f"Failed to decompress XBZRLE page at {at:x}"
        kind, size = _number(source, 1), _number(source, 2)
        if kind != 1:
            raise LoadFault(said=("Failed to load XBZRLE page - wrong compression!", tail))
        if size > PAGE_SIZE:
            raise LoadFault(said=("Failed to load XBZRLE page - len overflow!", tail))
        encoded = source.take(size)
        _all_there(encoded, size)
        page = decode_page(encoded, block.data[at : at + PAGE_SIZE])
        if page is None:
            raise LoadFault(said=("Failed to load XBZRLE page - decode error!", tail))
        block.store(at, page)

    def _other(self, source: Input, at: int, word: int) -> None:
        flags = word & ~_CONTINUE
        if flags == RamFlag.MEM_SIZE:
            self._block_list(source, at)
        elif flags == RamFlag.EOS:
            self._end_part()
        elif flags == RamFlag.MULTIFD_FLUSH and self._traits.flush_word:
            if self._receivers is not None:
                self._receivers.sync()
        elif flags == RamFlag.HOOK and self._direct is not None:
            self._direct.serve(source.unlocked)
        elif not (flags == RamFlag.HOOK and self._traits.ignores_hook):
            raise self._unknown(word)

    def _end_part(self) -> None:
        if self._receivers is not None:
            self._receivers.end_part()

    def _unknown(self, flags: int) -> LoadFault:
        """Old releases ask the transport about any word with the RDMA bit, and say nothing when that knows none."""
        if flags & RamFlag.HOOK and not self._traits.ignores_hook:
            return LoadFault()
        return LoadFault(said=(f"Unknown combination of migration flags: {flags:#x}",))

    def _block_list(self, source: Input, total: int) -> None:
        while total:
            name = _name(source)
            length = _number(source, 8)
            block = self._blocks.get(name)
            if block is None:
                raise LoadFault(said=(f'Unknown ramblock "{name}", cannot accept migration',))
            _resize(block, length)
            self._check_page_size(source, block)
            if self._leaves_shared:
                _check_address(source, block)
            if self._direct is not None:
                self._direct.named(name)
            if self._mapped:
                from migmatrix.emulator.migration.mapped_ram import load_block  # noqa: PLC0415 - few streams are so

                load_block(source, block, self._traits)
            total = (total - length) & _WORD  # QEMU counts without a sign too
            if not length and source.ended:
                raise LoadFault(errno=errno.EIO)

    def _check_page_size(self, source: Input, block: RamBlock) -> None:
        """Before a postcopy the source tells those that are not usual ones."""
        if self._postcopy is None or not self._postcopy.state or block.page_size == PAGE_SIZE:
            return
        theirs = _number(source, 8)
        if theirs != block.page_size:
            text = f"Mismatched RAM page size {block.name} (local) {block.page_size} != {theirs}"
            raise LoadFault(said=(text,))


def _check_address(source: Input, block: RamBlock) -> None:
    """Shared memory, which does not come, must be at the same place: main memory, at 0."""
    address = _number(source, 8)
    if block.shared and address:
        raise LoadFault(said=(f"Mismatched GPAs for block {block.name} {address}!= 0",))


def _resize(block: RamBlock, length: int) -> None:
    length = aligned(length)
    try:
        block.resize(length)
    except ValueError:
        limit = (
            f"Size too large: {block.name}: {length:#x} > {block.max_size:#x}"
            if block.resizable
            else f"Size mismatch: {block.name}: {length:#x} != {block.used_length:#x}"
        )
        raise LoadFault(said=(f"{limit}: Invalid argument",)) from None


def _all_there(data: bytes, size: int) -> None:
    if len(data) < size:
        raise LoadFault(errno=errno.EIO)


def _copy_pages(block: RamBlock, view: memoryview) -> int:
    """Take pages with content from the start of `view`; the bytes that they were."""
    limit, at, data = block.used_length, 0, block.data
    first = last = 0  # those that follow each other are noted together
    for end in range(8 + PAGE_SIZE, len(view) + 1, 8 + PAGE_SIZE):
        word = _read_word(view, at)[0] ^ _PAGE
        if word & _FLAGS or word >= limit:
            break
        data[word : word + PAGE_SIZE] = view[at + 8 : end]
        if word != last:
            block.stored(first, last)
            first = word
        last = word + PAGE_SIZE
        at = end
    block.stored(first, last)
    return at


def _clear_pages(block: RamBlock, view: memoryview) -> int:
    """Take zero pages from the start of `view`; the bytes that they were."""
    limit, at = block.used_length, 0
    while len(view) - at >= RECORD:
        word = _read_word(view, at)[0] ^ ZERO
        if word & _FLAGS or word >= limit or view[at + 8]:
            break
        count = _zero_run(view, at, word, limit)
        block.clear(word, word + count * PAGE_SIZE)
        at += count * RECORD
    return at


def _zero_run(view: memoryview, at: int, start: int, limit: int) -> int:
    """Pages of the run of zero pages at `view[at:]`, of which there is one: as many as can be, a half of that, ..."""
    count = min((len(view) - at) // RECORD, (limit - start) // PAGE_SIZE, MOST)
    records = zero_records(start, count) if count > 1 else b""
    while count > 1 and view[at : at + count * RECORD] != records[: count * RECORD]:
        count //= 2
    return max(count, 1)
