# SPDX-License-Identifier: Apache-2.0
"""Invariant: whatever a source sends to a destination of a postcopy, before its package, in it, behind it, over another
link or over the channel for what is urgent, is taken or refused with LoadError, in bounded memory.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from fuzzing import each, spoil
from made_streams import CONTENT, EOS, PAGE, ZERO, blocks, command, page, part, start, u8, word
from migration_machines import enable, target
from urgent_records import EOS as END
from urgent_records import record

from migmatrix.emulator.migration.faults import LoadError, LoadFault
from migmatrix.emulator.migration.returnpath import ReplyPath
from migmatrix.emulator.migration.streams import BytesChannel, Input
from migmatrix.vmstate.wire.commands import advise, discard, ping, recv_bitmap
from migmatrix.vmstate.wire.constants import CommandCode

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from migration_machines import Box

    from migmatrix.emulator.migration.loadstate import StateReader
    from migmatrix.emulator.migration.postcopy import Postcopy

PAGES, SIZE = 256, 4096
KINDS = [("7.2", SIZE), ("10.0", 16 * SIZE), ("11.1", SIZE), ("11.1", 16 * SIZE)]


@cache
def destination(release: str, page_size: int) -> Box:
    """A guest of 1 MiB, in host pages of this size."""
    machine = target(release, "-S")
    enable(machine, "postcopy-ram")
    machine.ram_blocks["ram"].page_size = page_size
    return machine


# -- what a source sends -------------------------------------------------------------------------


def advised(rng: random.Random, page_size: int) -> list[bytes]:
    """Up to the package: memory is told, some comes, some of that is taken back."""
    sizes = blocks(("ram", PAGES * SIZE)) + (page_size.to_bytes(8) if page_size > SIZE else b"")
    parts = [
        command(CommandCode.OPEN_RETURN_PATH),
        command(CommandCode.PING, ping(1)),
        command(CommandCode.POSTCOPY_ADVISE, advise(page_size, SIZE)),
        start(sizes + word(0, EOS)),
        part(page(0)),
    ]
    first = [(at * page_size, page_size) for at in rng.sample(range(PAGES * SIZE // page_size), 3)]
    return [*parts, *[command(CommandCode.POSTCOPY_RAM_DISCARD, discard("ram", first))] * rng.randrange(3)]


def packaged(rng: random.Random) -> bytes:
    """What lets the guest run there; now and then damaged inside."""
    inside = command(CommandCode.POSTCOPY_LISTEN) + command(CommandCode.PING, ping(3))
    inside += command(CommandCode.POSTCOPY_RUN)
    if not rng.randrange(3):
        inside = spoil(inside, rng)
    return command(CommandCode.PACKAGED, len(inside).to_bytes(4)) + inside


def late(rng: random.Random, page_size: int) -> bytes:
    """Host pages behind the package, each as a whole."""
    first = rng.randrange(PAGES * SIZE // page_size) * page_size
    pages = [
        page(first + at, *((CONTENT, PAGE) if rng.randrange(2) else (b"\0", ZERO)))
        for at in range(0, page_size, SIZE)
    ]
    return part(pages[0] + b"".join(pages[1:]))


def damaged(parts: list[bytes], rng: random.Random) -> bytes:
    """The parts, of which most often one is damaged, left out, or comes twice."""
    at = rng.randrange(len(parts))
    match rng.randrange(6):
        case 0:
            pass
        case 1:
            del parts[at]
        case 2:
            parts.insert(at, rng.choice(parts))
        case _:
            parts[at] = spoil(parts[at], rng)
    return b"".join(parts)


def recovered(rng: random.Random, page_size: int) -> bytes:
    """Another link: bitmaps are asked for, and pages come again."""
    parts = [
        command(CommandCode.PING, ping(1)),
        command(CommandCode.RECV_BITMAP, recv_bitmap("ram")),
        command(CommandCode.POSTCOPY_RESUME),
        *[late(rng, page_size) for _ in range(rng.randrange(3))],
    ]
    return damaged(parts, rng) + u8(0)


# -- what a destination makes of it --------------------------------------------------------------


def refused(load: Callable[[], object]) -> LoadError | None:
    try:
        load()
    except LoadError as error:
        return error
    return None


def over_links(reader: StateReader, links: list[bytes]) -> LoadError | None:
    """All links, one after the other, as the listening thread would read them; the first refusal."""
    error = refused(reader.listen)
    for data in links:
        reader.postcopy.pause()
        reader.postcopy.recovering = True
        link = Input(BytesChannel(data))
        error = error or refused(lambda link=link: reader.listen(link))  # type: ignore[misc]
    return error


def forget(machine: Box) -> None:
    """As it was before any stream."""
    postcopy = machine.migration.ram.postcopy
    assert postcopy is not None
    postcopy.missing.end()
    machine.said.clear()
    for block in machine.ram_blocks.values():
        block.received = None


def test_what_a_destination_reads() -> None:
    def run(rng: random.Random) -> None:
        release, page_size = rng.choice(KINDS)
        machine = destination(release, page_size)
        parts = [*advised(rng, page_size), packaged(rng), late(rng, page_size), late(rng, page_size)]
        data = b"QEVM\0\0\0\3\7\0\0\0\4none" + damaged(parts, rng) + u8(0)
        links = [recovered(rng, page_size) for _ in range(rng.randrange(3))]
        with machine.bql:
            reader = machine.migration.reader(Input(BytesChannel(data)), ReplyPath(None))
            error = refused(reader.load)
            reader.postcopy.loaded()  # a package that ended in the middle, too: nobody waits for it
            if reader.postcopy.listening:
                error = over_links(reader, links) or error
            reader.done()
            forget(machine)
        if error is not None:
            raise error

    ends = each("postcopy", run, LoadError)
    assert ends.keys() == {"taken", "LoadError"}


def running(machine: Box) -> Postcopy:
    """A postcopy whose guest runs, and of which all pages are missing."""
    machine.migration.reader(Input(BytesChannel(b"")), ReplyPath(None))
    postcopy = machine.migration.ram.postcopy
    assert postcopy is not None
    postcopy.advise(advise(machine.ram_blocks["ram"].page_size, SIZE))
    postcopy.listen()
    postcopy.run()
    return postcopy


def test_what_is_urgent() -> None:
    memory = CONTENT * PAGES

    def run(rng: random.Random) -> None:
        release, page_size = rng.choice(KINDS)
        machine = destination(release, page_size)
        first = rng.sample(range(0, PAGES, page_size // SIZE), 2)
        wanted = [at + each for at in first for each in range(page_size // SIZE)]
        records = [record(memory, number, named=not index) for index, number in enumerate(wanted)]
        data = damaged([*records, END], rng)
        with machine.bql:
            running(machine)
            try:
                machine.migration.ram.load_urgent(Input(BytesChannel(data)))
            finally:
                forget(machine)

    ends = each("urgent pages", run, LoadFault)
    assert ends.keys() == {"taken", "LoadFault"}


def test_a_length_of_gibibytes_takes_no_memory() -> None:
    """A package and a discard that say that more follows than does."""
    machine = destination("11.1", SIZE)

    def run(rng: random.Random) -> None:
        huge = rng.choice((1 << 24, (1 << 24) + 1, (1 << 32) - 1)).to_bytes(4)
        ends = (
            command(CommandCode.PACKAGED, huge),
            command(CommandCode.POSTCOPY_RAM_DISCARD, b"", 0xFFFF),
        )
        data = b"QEVM\0\0\0\3\7\0\0\0\4none" + rng.choice(ends) + bytes(100)
        with machine.bql, suppress(LoadError):
            machine.migration.reader(Input(BytesChannel(data)), ReplyPath(None)).load()
            raise AssertionError("taken")

    each("lengths", run)
