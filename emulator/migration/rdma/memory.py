# SPDX-License-Identifier: Apache-2.0
"""Guest memory over RDMA: the source writes into the destination's memory, chunk by chunk.

1. Before the first write to a chunk the source asks for a key of it (REGISTER_REQUEST), unless all memory is pinned.
2. A range that is zero, in a chunk without a key, is told and not written (COMPRESS).
3. No write crosses the end of a chunk. All writes of a round have arrived when its REGISTER_FINISHED has.
4. The blocks of both sides are in the order in which the RAM section names them.
5. The destination checks every number before it touches memory; what does not fit refuses the stream.
"""

from __future__ import annotations

import errno
from itertools import accumulate
from typing import TYPE_CHECKING, Final, TypeVar

from migmatrix.emulator.memory import PAGE_SIZE
from migmatrix.emulator.migration.channel import ChannelError
from migmatrix.emulator.migration.faults import LoadFault
from migmatrix.emulator.migration.rdma.messages import (
    Block,
    Compress,
    Kind,
    Message,
    MessageError,
    Register,
    Result,
    pack_all,
    read_all,
    size_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.migration.rdma.exchange import Receiver, Sender
    from migmatrix.emulator.migration.rdma.verbs import Key, Verbs

__all__ = ["SourceMemory", "TargetMemory", "said_right"]

_Said = TypeVar("_Said")
_BASE: Final = 0x7F00_0000_0000  # where the first block seems to be in the process
_APART: Final = 1 << 40


class SourceMemory:
    """The source's end. `blocks` in the order of the stream; `chunk` in bytes; `pinned`: the other side pins all it has."""

    def __init__(self, sender: Sender, verbs: Verbs, chunk: int, *, pinned: bool) -> None:
        self._sender = sender
        self._verbs = verbs
        self._chunk = chunk
        self._pinned = pinned
        self._index: dict[str, int] = {}
        self._there: list[Block] = []
        self._keys: dict[tuple[int, int], int] = {}  # by block and chunk

    def set_up(self, blocks: Sequence[RamBlock]) -> None:
        """Ask for the other side's blocks; ChannelError when they are not like these."""
        self._index = {block.name: number for number, block in enumerate(blocks)}
        answer = self._ask(Message(Kind.RAM_BLOCKS_REQUEST))
        count = len(answer.data) // size_of(Block)
        self._there = said_right(lambda: read_all(Block, answer, count))
        if len(self._there) != len(blocks):
            raise ChannelError(f"ram blocks mismatch (Number of blocks {len(blocks)} vs {len(self._there)})")
        for number, (block, there) in enumerate(zip(blocks, self._there, strict=True)):
            if there.length != block.used_length:
                text = f"has a different length {block.used_length}vs {there.length}"
                raise ChannelError(f"Block {block.name}/{number} {text}")
        self.finish()

    def finish(self) -> None:
        """The round is over."""
        self._tell(Message(Kind.REGISTER_FINISHED))

    def write(self, block: RamBlock, start: int, stop: int) -> bool:
        """Send bytes of a block, all in one chunk; whether they were told to be zero."""
        index = self._index[block.name]
        key = self._key(index, start)
        if not key and not block.data[start:stop].strip(b"\0"):
            told = Compress(0, index, self._there[index].offset + start, stop - start)
            self._tell(Message(Kind.COMPRESS, pack_all([told])))
            return True
        key = key or self._register(index, start)
        with memoryview(block.data)[start:stop] as view:
            self._verbs.write(self._there[index].address + start, key, view)
        return False

    def parts(self, start: int, stop: int) -> Iterable[tuple[int, int]]:
        """A range of a block, cut at the ends of chunks."""
        while start < stop:
            end = min(stop, (start // self._chunk + 1) * self._chunk)
            yield start, end
            start = end

    def _key(self, index: int, start: int) -> int:
        if self._pinned:
            return self._there[index].key
        return self._keys.get((index, start // self._chunk), 0)

    def _register(self, index: int, start: int) -> int:
        there = self._there[index]
        wish = Register(there.offset + start, index, 0)
        answer = self._ask(Message(Kind.REGISTER_REQUEST, pack_all([wish])))
        (result,) = said_right(lambda: read_all(Result, answer, 1))
        self._keys[index, start // self._chunk] = result.key
        self._there[index] = there._replace(address=result.address)
        return result.key

    def _ask(self, message: Message) -> Message:
        answer = said_right(lambda: self._sender.send(message))
        if answer is None:
            raise TypeError("a request has an answer")
        return answer

    def _tell(self, message: Message) -> None:
        said_right(lambda: self._sender.send(message))


def said_right(call: Callable[[], _Said]) -> _Said:
    """What the other side says wrong is the channel's error here."""
    try:
        return call()
    except MessageError as error:
        raise ChannelError(str(error)) from error


class TargetMemory:
    """The destination's end. `zero_only`: a range that is told must be zero. `pinned`: all memory gets a key at once."""

    def __init__(
        self,
        receiver: Receiver,
        verbs: Verbs,
        blocks: Iterable[RamBlock],
        chunk: int,
        *,
        pinned: bool,
        zero_only: bool,
    ) -> None:
        self._receiver = receiver
        self._verbs = verbs
        self._chunk = chunk
        self._pinned = pinned
        self._zero_only = zero_only
        self._blocks = list(blocks)
        # before the stream says others
        self._sizes = {block.name: block.used_length for block in self._blocks}
        ends = accumulate(block.max_size for block in self._blocks)
        self._offsets = {b.name: end - b.max_size for b, end in zip(self._blocks, ends, strict=True)}
        self._named: list[str] = []
        self._told = False  # the order of the blocks is fixed
        self._keys: dict[tuple[int, int], Key] = {}

    def named(self, name: str) -> None:
        """The source's next block has this name."""
        if name not in self._named:
            self._named.append(name)

    def serve(self, unlocked: Callable[[Callable[[], Message]], Message]) -> None:
        """Do what the source asks for until its round is over; LoadFault. `unlocked` calls what waits."""
        while True:
            try:
                message = unlocked(self._receiver.receive)
                if message.kind == Kind.REGISTER_FINISHED:
                    return
                self._do(message)
            except (MessageError, ChannelError) as error:
                raise LoadFault(said=(str(error),), errno=errno.EIO) from error

    def _do(self, message: Message) -> None:
        if message.kind == Kind.COMPRESS:
            self._fill(*read_all(Compress, message, 1)[0])
        elif message.kind == Kind.RAM_BLOCKS_REQUEST:
            self._tell_blocks()
        elif message.kind == Kind.REGISTER_REQUEST:
            results = [self._register(wish) for wish in read_all(Register, message)]
            self._receiver.answer(Message(Kind.REGISTER_RESULT, pack_all(results), message.repeat))
        elif message.kind == Kind.UNREGISTER_REQUEST:
            for wish in read_all(Register, message):
                self._unregister(wish)
            self._receiver.answer(Message(Kind.UNREGISTER_FINISHED, b"", message.repeat))
        else:
            raise MessageError(f"Unknown control message {message.word}")

    def _tell_blocks(self) -> None:
        if not self._told:
            order = {name: at for at, name in enumerate(self._named)}
            self._blocks.sort(key=lambda block: order.get(block.name, len(order)))
            self._told = True
        told = [self._described(index) for index in range(len(self._blocks))]
        self._receiver.answer(Message(Kind.RAM_BLOCKS_RESULT, pack_all(told)))

    def _described(self, index: int) -> Block:
        block = self._blocks[index]
        size = self._sizes[block.name]
        key = self._key_of(index, 0, size).number if self._pinned else 0
        return Block(self._address(index), self._offsets[block.name], size, key)

    def _key_of(self, index: int, first: int, end: int) -> Key:
        """The key of a block from a chunk on; there is one for each chunk, however often it is asked for."""
        if (index, first) not in self._keys:
            self._keys[index, first] = self._open(index, first * self._chunk, end)
        return self._keys[index, first]

    def _open(self, index: int, start: int, end: int) -> Key:
        """A key of these bytes of a block."""
        block = self._blocks[index]
        return self._verbs.regions.register(
            self._address(index) + start, end - start, lambda at, data: block.store(start + at, data)
        )

    @staticmethod
    def _address(index: int) -> int:
        return _BASE + index * _APART

    def _register(self, wish: Register) -> Result:
        block = self._block(wish.block, "register")
        start = wish.at - self._offsets[block.name]
        size = self._sizes[block.name]
        if not 0 <= start < size:
            offset = self._offsets[block.name]
            where = f"offset: {offset:x} current_addr: {wish.at:x}"
            raise MessageError(f"rdma: bad register address for block {block.name} {where}")
        first = start // self._chunk
        end = min(size, (first + wish.chunks + 1) * self._chunk)
        return Result(self._key_of(wish.block, first, end).number, self._address(wish.block))

    def _unregister(self, wish: Register) -> None:
        block = self._block(wish.block, "register")
        key = self._keys.pop((wish.block, wish.at), None)  # here it is the number of a chunk
        if key is None:
            raise MessageError(f"rdma: bad chunk for block {block.name} chunk: {wish.at:x}")
        self._verbs.regions.forget(key.number)

    def _block(self, index: int, what: str) -> RamBlock:
        if index >= len(self._blocks):
            raise MessageError(f"rdma: '{what}' bad block index {index} (vs {len(self._blocks)})")
        return self._blocks[index]

    def _fill(self, value: int, index: int, offset: int, length: int) -> None:
        block = self._block(index, "compress")
        start = offset - self._offsets[block.name]
        if value and self._zero_only:
            raise MessageError(f"rdma: Zero page with non-zero ({value}) value")
        if start < 0 or start + length > self._sizes[block.name]:
            raise MessageError(
                f"rdma: bad range for block {block.name} offset: {offset:x} length: {length:x}"
            )
        for at in range(start, start + length, PAGE_SIZE):
            end = min(at + PAGE_SIZE, start + length)
            block.came(at // PAGE_SIZE, at // PAGE_SIZE + 1)
            content = bytes((value & 0xFF,)) * (end - at)
            if block.data[at:end] != content:
                block.store(at, content)
