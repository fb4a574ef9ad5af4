# SPDX-License-Identifier: Apache-2.0
"""Invariant: whatever a source sends to a destination of a postcopy, before its package, in it, behind it, over another
link or over the channel for what is urgent, is taken or refused with LoadError, in bounded memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuzzing import each
from hostile_migrations import (
    BEGIN,
    KINDS,
    SIZE,
    destination,
    load,
    load_urgent,
    main_channel,
    recovered,
    urgent_channel,
)
from made_streams import command

from migmatrix.emulator.migration.faults import LoadError, LoadFault
from migmatrix.vmstate.wire.constants import CommandCode

if TYPE_CHECKING:
    import random


def test_what_a_destination_reads() -> None:
    def run(rng: random.Random) -> None:
        release, page_size = rng.choice(KINDS)
        links = [recovered(rng, page_size) for _ in range(rng.randrange(3))]
        load(destination(release, page_size), main_channel(rng, page_size), links)

    assert each("postcopy", run, LoadError).keys() == {"taken", "LoadError"}


def test_what_is_urgent() -> None:
    def run(rng: random.Random) -> None:
        release, page_size = rng.choice(KINDS)
        load_urgent(destination(release, page_size), urgent_channel(rng, page_size))

    assert each("urgent pages", run, LoadFault).keys() == {"taken", "LoadFault"}


def test_a_length_of_gibibytes_takes_no_memory() -> None:
    """A package and a discard that say that more follows than does."""

    def run(rng: random.Random) -> None:
        huge = rng.choice((1 << 24, (1 << 24) + 1, (1 << 32) - 1)).to_bytes(4)
        ends = (
            command(CommandCode.PACKAGED, huge),
            command(CommandCode.POSTCOPY_RAM_DISCARD, b"", 0xFFFF),
        )
        data = BEGIN + rng.choice(ends) + bytes(100)
        load(destination("11.1", SIZE), data)

    assert each("lengths", run, LoadError).keys() == {"LoadError"}
