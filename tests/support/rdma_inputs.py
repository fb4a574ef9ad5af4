# SPDX-License-Identifier: Apache-2.0
"""Messages of the RDMA control channel for tests: good ones, and hostile ones from a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
