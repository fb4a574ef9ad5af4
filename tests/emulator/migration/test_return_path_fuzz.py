# SPDX-License-Identifier: Apache-2.0
"""Invariant: whatever a destination says on the return path, its source takes it or ends with words, in bounded memory.

The listener is the real one, in each status in which a postcopy can be; bitmaps of a recovery are among the messages.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING

from fuzzing import each, spoil
from migration_machines import enable, none

from migmatrix.emulator.memory import PAGE_SIZE
from migmatrix.emulator.migration.channel import Wake
from migmatrix.emulator.migration.figures import Figures
from migmatrix.emulator.migration.late import Late
from migmatrix.emulator.migration.returnpath import LOADED, ReturnPath
from migmatrix.emulator.migration.states import POSTCOPY, Progress, Status
from migmatrix.emulator.migration.streams import BytesChannel, BytesSink, Output
from migmatrix.vmstate.wire.constants import ReturnCode
from migmatrix.vmstate.wire.returnpath import ReceivedBitmap, RequestPages, ReturnMessage

if TYPE_CHECKING:
    import random

    from migration_machines import Box

STATUSES = (*sorted(POSTCOPY), Status.ACTIVE, *[Status.POSTCOPY_RECOVER] * 6)
PAGES = 256


def message(rng: random.Random) -> bytes:
    """What a destination may say."""
    start = rng.randrange(PAGES) * PAGE_SIZE
    made: list[ReturnMessage | RequestPages | ReceivedBitmap] = [
        ReturnMessage(ReturnCode.PONG, rng.choice((1, 3, LOADED))),
        ReturnMessage(ReturnCode.RESUME_ACK, 1),
        ReturnMessage(ReturnCode.SWITCHOVER_ACK),
        ReturnMessage(ReturnCode.SHUT, 0),
        RequestPages(start, PAGE_SIZE),
        RequestPages(start, PAGE_SIZE, "ram"),
        *[ReceivedBitmap("ram", rng.randbytes(PAGES // 8))] * 2,
    ]
    return rng.choice(made).encode()


def said(rng: random.Random) -> bytes:
    """Up to eight messages, of which one is damaged."""
    messages = [message(rng) for _ in range(rng.randrange(1, 9))]
    damaged = rng.randrange(len(messages) + 1)
    if damaged < len(messages):
        messages[damaged] = spoil(messages[damaged], rng)
    return b"".join(messages)


class RefusedError(Exception):
    """The source ended with words."""


@cache
def source(release: str) -> Box:
    """A source that is about to send its memory."""
    machine = none(release, "-S")
    enable(machine, "postcopy-ram")
    machine.migration.ram.save_setup(Output(BytesSink()))
    return machine


def test_what_a_source_reads() -> None:
    wake = Wake()

    def run(rng: random.Random) -> None:
        machine = source(rng.choice(("7.2", "10.0", "11.1")))
        migration = machine.migration
        migration.progress = Progress(lambda _: None, rng.choice(STATUSES))
        listener = Late(migration, Figures(), wake)
        path = ReturnPath(migration, BytesChannel(said(rng)), listener, asked=bool(rng.randrange(2)))
        path.finish()
        migration.ram.save_postcopy_resume()
        machine.said.clear()
        if path.error:
            raise RefusedError if not path.error.startswith("internal error") else AssertionError(path.error)

    assert each("return path", run, RefusedError).keys() == {"taken", "RefusedError"}


def test_a_bitmap_that_says_that_it_is_larger_takes_no_memory() -> None:
    machine = source("11.1")
    machine.migration.progress = Progress(lambda _: None, Status.POSTCOPY_RECOVER)
    raw = ReceivedBitmap("ram", bytes(PAGES // 8)).encode().replace(struct.pack(">Q", 32), b"\x7f" * 8)

    def run(_: random.Random) -> None:
        path = ReturnPath(machine.migration, BytesChannel(raw), Late(machine.migration, Figures(), Wake()))
        path.finish()
        assert path.error == "ramblock 'ram' bitmap size mismatch (0x7f7f7f7f7f7f7f7f != 0x20)"

    each("large bitmaps", run)
