# SPDX-License-Identifier: Apache-2.0
"""Messages of the RDMA control channel for tests: good ones, hostile ones from a seed, and a destination that reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.emulator.memory import RamBlock
from migmatrix.emulator.migration.rdma.exchange import Receiver
from migmatrix.emulator.migration.rdma.memory import TargetMemory
from migmatrix.emulator.migration.rdma.messages import (
    Block,
    Compress,
    Kind,
    Message,
    Register,
    Result,
    pack,
    pack_all,
)
from migmatrix.emulator.migration.rdma.verbs import pair

if TYPE_CHECKING:
    from random import Random

GOOD = (
    Message(Kind.READY),
    Message(Kind.ERROR),
    Message(Kind.QEMU_FILE, b"stream"),
    Message(Kind.RAM_BLOCKS_REQUEST),
    Message(Kind.RAM_BLOCKS_RESULT, pack_all([Block(1 << 40, 4096, 1 << 20, 7), Block(5, 6, 7)])),
    Message(Kind.COMPRESS, pack_all([Compress(0, 0, 0, 8192)])),
    Message(Kind.REGISTER_REQUEST, pack_all([Register(4096, 0, 0), Register(0, 1, 2)]), 2),
    Message(Kind.REGISTER_RESULT, pack_all([Result(3, 1 << 40)])),
    Message(Kind.REGISTER_FINISHED),
    Message(Kind.UNREGISTER_REQUEST, pack_all([Register(0, 0, 0)])),
    Message(Kind.UNREGISTER_FINISHED, b"", 0),
)


def hostile(random: Random) -> bytes:
    """A good message with some of its bytes changed, cut or added, now and then with the right length all the same."""
    raw = bytearray(pack(random.choice(GOOD)))
    for _ in range(random.randrange(4)):
        at = random.randrange(len(raw))
        raw[at] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
    if not random.randrange(3):
        del raw[random.randrange(len(raw)) :]
    if not random.randrange(3):
        raw += random.randbytes(random.randrange(64))
    if random.randrange(2) and len(raw) >= 16:
        raw[0:4] = (len(raw) - 16).to_bytes(4)
    return bytes(raw)


def blocks() -> list[RamBlock]:
    """Of the guest at the destination."""
    return [RamBlock("ram", 8 << 12), RamBlock("rom", 2 << 12)]


def served(raw: bytes) -> list[RamBlock]:
    """The blocks of a destination that was sent these bytes as a message, and then that the round is over."""
    one, two = pair()
    found = blocks()
    target = TargetMemory(Receiver(two), two, found, 1 << 14, pinned=False, zero_only=True)
    target.named("ram")
    one.send(raw)
    one.send(pack(Message(Kind.REGISTER_FINISHED)))
    target.serve(lambda wait: wait())
    return found
