# SPDX-License-Identifier: Apache-2.0
"""Messages of the RDMA control channel: values <-> bytes. Pure.

1. A message is a header of 16 bytes (length, type, repeat, padding) and data; all numbers are big endian.
2. `read` takes the bytes of one SEND, which may be hostile, and gives a message or `MessageError` in QEMU's words. It
   looks at no more bytes than `MOST`, and makes at most `MOST_REPEATS` records of them.
3. Only a record that a type names is read; what follows the records of a message is not looked at, as in QEMU.

Format: `docs/rdma.txt` of QEMU 5.2 to 11.1; the sizes are those of `migration/rdma.c`.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "MOST",
    "MOST_REPEATS",
    "PIN_ALL",
    "Block",
    "Capabilities",
    "Compress",
    "Kind",
    "Message",
    "MessageError",
    "Register",
    "Result",
    "pack",
    "pack_all",
    "read",
    "read_all",
    "size_of",
]

MOST: Final = 512 << 10  # bytes of a message, its header included
MOST_REPEATS: Final = 4096
PIN_ALL: Final = 1
_VERSION: Final = 1
_HEAD: Final = struct.Struct(">IIII")


class MessageError(Exception):
    """A message that QEMU refuses; the text is QEMU's."""


class Kind(IntEnum):
    """Types of messages, with QEMU's words for them in `word`."""

    NONE = 0
    ERROR = 1
    READY = 2
    QEMU_FILE = 3
    RAM_BLOCKS_REQUEST = 4
    RAM_BLOCKS_RESULT = 5
    COMPRESS = 6
    REGISTER_REQUEST = 7
    REGISTER_RESULT = 8
    REGISTER_FINISHED = 9
    UNREGISTER_REQUEST = 10
    UNREGISTER_FINISHED = 11

    @property
    def word(self) -> str:
        """QEMU's name."""
        return self.name.replace("_", " ")


_KINDS: Final = frozenset(Kind)


class Message(NamedTuple):
    """One SEND. `kind` is a number, as one may come that is no `Kind`."""

    kind: int
    data: bytes = b""
    repeat: int = 1

    @property
    def word(self) -> str:
        """QEMU's name of its type."""
        return Kind(self.kind).word if self.kind in _KINDS else "??BAD CONTROL VALUE??"


def pack(message: Message) -> bytes:
    """The bytes of a SEND; ValueError for one that is too long."""
    if len(message.data) > MOST - _HEAD.size:
        raise ValueError(f"{len(message.data)} bytes do not fit a message")
    return _HEAD.pack(len(message.data), message.kind, message.repeat, 0) + message.data


def read(raw: bytes) -> Message:
    """The message of a SEND; MessageError."""
    if len(raw) < _HEAD.size:
        raise MessageError(f"Malformed length: 0 byte_len {len(raw)}")
    length, kind, repeat, _ = _HEAD.unpack_from(raw)
    if length > MOST - _HEAD.size:
        raise MessageError(f"too long length: {length}")
    if length + _HEAD.size != len(raw):
        raise MessageError(f"Malformed length: {length} byte_len {len(raw)}")
    if repeat > MOST_REPEATS:
        raise MessageError(f"rdma: Too many requests in this message ({repeat}).Bailing.")
    return Message(kind, raw[_HEAD.size :], repeat)


class Capabilities(NamedTuple):
    """Private data of a connection, both ways."""

    version: int = _VERSION
    flags: int = 0

    def pack(self) -> bytes:
        """Its bytes."""
        return struct.pack(">II", *self)

    @classmethod
    def read(cls, raw: bytes) -> Capabilities:
        """What a source asks for; what is missing is 0. MessageError for a version that nobody knows."""
        found = cls(*struct.unpack_from(">II", raw.ljust(8, b"\0")))
        if found.version != _VERSION:
            raise MessageError(f"Unknown source RDMA version: {found.version}, bailing...")
        return found


class Block(NamedTuple):
    """A block of the destination's memory: where it is, its offset in the guest, bytes, and a key when all is pinned."""

    address: int
    offset: int
    length: int
    key: int = 0


class Register(NamedTuple):
    """A wish to write to chunks of a block: the offset in the guest of the first byte, block, and chunks after the first."""

    at: int
    block: int
    chunks: int


class Result(NamedTuple):
    """The answer: a key, and where the block is."""

    key: int
    address: int


class Compress(NamedTuple):
    """Bytes of a block that are all `value`; `offset` is in the guest."""

    value: int
    block: int
    offset: int
    length: int


_FORMS: Final[dict[type, struct.Struct]] = {
    Block: struct.Struct(">QQQI4x"),
    Register: struct.Struct(">QI4xQ"),
    Result: struct.Struct(">I4xQ"),
    Compress: struct.Struct(">IIQQ"),
}
_Each = TypeVar("_Each", Block, Register, Result, Compress)


def pack_all(records: Sequence[_Each]) -> bytes:
    """Their bytes, one after another."""
    return b"".join(_FORMS[type(record)].pack(*record) for record in records)


def read_all(kind: type[_Each], message: Message, count: int = -1) -> list[_Each]:
    """`count` records of a message, by default as many as it repeats; MessageError when it has not so many."""
    form = _FORMS[kind]
    count = message.repeat if count < 0 else count
    if len(message.data) < count * form.size:
        length = len(message.data)
        raise MessageError(f"Malformed length: {length} byte_len {length + _HEAD.size}")
    return [kind(*form.unpack_from(message.data, n * form.size)) for n in range(count)]


def size_of(kind: type) -> int:
    """Bytes of a record."""
    return _FORMS[kind].size
