# SPDX-License-Identifier: Apache-2.0
"""Invariant: whatever a destination says on the return path, its source takes it or ends with words, in bounded memory.

The listener is the real one, in each status in which a postcopy can be; bitmaps of a recovery are among the messages.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from fuzzing import each
from hostile_migrations import PAGES, STATUSES, hear, said, source

from migmatrix.emulator.migration.states import Status
from migmatrix.vmstate.wire.returnpath import ReceivedBitmap

if TYPE_CHECKING:
    import random


class RefusedError(Exception):
    """The source ended with words."""


def test_what_a_source_reads() -> None:
    def run(rng: random.Random) -> None:
        machine, status = source(rng.choice(("7.2", "10.0", "11.1"))), rng.choice(STATUSES)
        if hear(machine, said(rng), status, asked=bool(rng.randrange(2))):
            raise RefusedError

    assert each("return path", run, RefusedError).keys() == {"taken", "RefusedError"}


def test_a_bitmap_that_says_that_it_is_larger_takes_no_memory() -> None:
    raw = ReceivedBitmap("ram", bytes(PAGES // 8)).encode().replace(struct.pack(">Q", 32), b"\x7f" * 8)

    def run(_: random.Random) -> None:
        words = "ramblock 'ram' bitmap size mismatch (0x7f7f7f7f7f7f7f7f != 0x20)"
        assert hear(source("11.1"), raw, Status.POSTCOPY_RECOVER) == words

    assert each("large bitmaps", run).keys() == {"taken"}
