# SPDX-License-Identifier: Apache-2.0
"""Both sides of a live migration as readers of any bytes, and what each should be sent, to be damaged.

`load` is a postcopy's destination over one link or more, `load_urgent` its channel for what is urgent, `hear` a source
on its return path. A machine is made once for each release, and is as before after each call.
"""

from __future__ import annotations

from functools import cache
from random import Random
from typing import TYPE_CHECKING

from fuzzing import spoil
from made_streams import CONTENT, EOS, PAGE, ZERO, blocks, command, page, part, start, u8, word
from migration_machines import enable, none, target
from urgent_records import EOS as LAST
from urgent_records import record

from migmatrix.emulator.migration.channel import Wake
from migmatrix.emulator.migration.faults import LoadError
from migmatrix.emulator.migration.figures import Figures
from migmatrix.emulator.migration.late import Late
from migmatrix.emulator.migration.returnpath import LOADED, ReplyPath, ReturnPath
from migmatrix.emulator.migration.states import POSTCOPY, Progress, Status
from migmatrix.emulator.migration.streams import BytesChannel, BytesSink, Input, Output
from migmatrix.vmstate.wire.commands import advise, discard, ping, recv_bitmap
from migmatrix.vmstate.wire.constants import CommandCode, ReturnCode
from migmatrix.vmstate.wire.returnpath import ReceivedBitmap, RequestPages, ReturnMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from migration_machines import Box

    from migmatrix.emulator.migration.loadstate import StateReader

PAGES, SIZE = 256, 4096
MEMORY = CONTENT * PAGES
BEGIN = b"QEVM\0\0\0\3\7\0\0\0\4none"
KINDS = [("7.2", SIZE), ("10.0", 16 * SIZE), ("11.1", SIZE), ("11.1", 16 * SIZE)]  # release, host page
STATUSES = (*sorted(POSTCOPY), Status.ACTIVE, *[Status.POSTCOPY_RECOVER] * 6)  # of a source that hears
HEAR, LOAD, RECOVER, URGENT, MULTIFD, RDMA = range(6)  # the lowest bits of the first byte of a seed
WAKE = Wake()


# -- what a source sends -------------------------------------------------------------------------


def advised(rng: Random, page_size: int) -> list[bytes]:
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


def packaged(rng: Random) -> bytes:
    """What lets the guest run there; now and then damaged inside."""
    inside = command(CommandCode.POSTCOPY_LISTEN) + command(CommandCode.PING, ping(3))
    inside += command(CommandCode.POSTCOPY_RUN)
    if not rng.randrange(3):
        inside = spoil(inside, rng)
    return command(CommandCode.PACKAGED, len(inside).to_bytes(4)) + inside


def late(rng: Random, page_size: int) -> bytes:
    """Host pages behind the package, each as a whole."""
    first = rng.randrange(PAGES * SIZE // page_size) * page_size
    pages = [
        page(first + at, *((CONTENT, PAGE) if rng.randrange(2) else (b"\0", ZERO)))
        for at in range(0, page_size, SIZE)
    ]
    return part(pages[0] + b"".join(pages[1:]))


def damaged(parts: list[bytes], rng: Random) -> bytes:
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


def recovered(rng: Random, page_size: int) -> bytes:
    """Another link: bitmaps are asked for, and pages come again."""
    parts = [
        command(CommandCode.PING, ping(1)),
        command(CommandCode.RECV_BITMAP, recv_bitmap("ram")),
        command(CommandCode.POSTCOPY_RESUME),
        *[late(rng, page_size) for _ in range(rng.randrange(3))],
    ]
    return damaged(parts, rng) + u8(0)


def main_channel(rng: Random, page_size: int) -> bytes:
    """A whole postcopy, of which most often one part is damaged."""
    parts = [*advised(rng, page_size), packaged(rng), late(rng, page_size), late(rng, page_size)]
    return BEGIN + damaged(parts, rng) + u8(0)


def broken_channel(page_size: int) -> bytes:
    """One that breaks off behind its package."""
    run = command(CommandCode.POSTCOPY_LISTEN) + command(CommandCode.POSTCOPY_RUN)
    package = command(CommandCode.PACKAGED, len(run).to_bytes(4)) + run
    return BEGIN + b"".join(advised(Random(0), page_size)) + package


def urgent_channel(rng: Random, page_size: int) -> bytes:
    """Two host pages and the end, of which most often one record is damaged."""
    first = rng.sample(range(0, PAGES, page_size // SIZE), 2)
    wanted = [at + each for at in first for each in range(page_size // SIZE)]
    records = [record(MEMORY, number, named=not index) for index, number in enumerate(wanted)]
    return damaged([*records, LAST], rng)


def seeds() -> Iterator[bytes]:
    """First inputs of `fuzz_migration`, whose first byte says who reads them."""
    for number in range(40):
        rng, which = Random(number), number % len(KINDS)
        size = KINDS[which][1]
        yield bytes([which << 3 | HEAR]) + said(rng)
        yield bytes([which << 3 | LOAD]) + main_channel(rng, size)
        yield bytes([which << 3 | RECOVER]) + recovered(rng, size)
        yield bytes([which << 3 | URGENT]) + urgent_channel(rng, size)


# -- what a destination says ---------------------------------------------------------------------


def message(rng: Random) -> bytes:
    """What a destination may say."""
    start = rng.randrange(PAGES) * SIZE
    made: list[ReturnMessage | RequestPages | ReceivedBitmap] = [
        ReturnMessage(ReturnCode.PONG, rng.choice((1, 3, LOADED))),
        ReturnMessage(ReturnCode.RESUME_ACK, 1),
        ReturnMessage(ReturnCode.SWITCHOVER_ACK),
        ReturnMessage(ReturnCode.SHUT, 0),
        RequestPages(start, SIZE),
        RequestPages(start, SIZE, "ram"),
        *[ReceivedBitmap("ram", rng.randbytes(PAGES // 8))] * 2,
    ]
    return rng.choice(made).encode()


def said(rng: Random) -> bytes:
    """Up to eight messages, of which one is damaged."""
    messages = [message(rng) for _ in range(rng.randrange(1, 9))]
    damaged = rng.randrange(len(messages) + 1)
    if damaged < len(messages):
        messages[damaged] = spoil(messages[damaged], rng)
    return b"".join(messages)


# -- what a destination makes of what it is sent -------------------------------------------------


@cache
def destination(release: str, page_size: int) -> Box:
    """A guest of 1 MiB, in host pages of this size."""
    machine = target(release, "-S")
    enable(machine, "postcopy-ram")
    machine.ram_blocks["ram"].page_size = page_size
    return machine


def refused(load: Callable[[], object]) -> LoadError | None:
    try:
        load()
    except LoadError as error:
        return error
    return None


def over_links(reader: StateReader, links: Sequence[bytes]) -> LoadError | None:
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


def load(machine: Box, data: bytes, links: Sequence[bytes] = ()) -> None:
    """Load what comes over the first link, and, where that was a postcopy's, over the others; LoadError."""
    with machine.bql:
        reader = machine.migration.reader(Input(BytesChannel(data)), ReplyPath(None))
        error = refused(reader.load)
        reader.postcopy.loaded()  # a package that ended in the middle, too: nobody waits for it
        if reader.postcopy.listening:
            error = over_links(reader, links) or error
        reader.done()
        forget(machine)
    try:
        if error is not None:
            raise error
    finally:
        del error  # which refers to this frame, so that it would stay


def load_urgent(machine: Box, data: bytes) -> None:
    """Load what is urgent for a guest that runs, and of which all pages are missing; LoadFault."""
    with machine.bql:
        postcopy = machine.migration.reader(Input(BytesChannel(b"")), ReplyPath(None)).postcopy
        postcopy.advise(advise(machine.ram_blocks["ram"].page_size, SIZE))
        postcopy.listen()
        postcopy.run()
        try:
            machine.migration.ram.load_urgent(Input(BytesChannel(data)))
        finally:
            forget(machine)


# -- what a source makes of what it hears --------------------------------------------------------


@cache
def source(release: str) -> Box:
    """A source that is about to send its memory."""
    machine = none(release, "-S")
    enable(machine, "postcopy-ram")
    machine.migration.ram.save_setup(Output(BytesSink()))
    return machine


def hear(machine: Box, data: bytes, status: Status, *, asked: bool = False) -> str:
    """What a source that has this status says of messages on its return path: its words for an error, or ""."""
    migration = machine.migration
    migration.progress = Progress(lambda _: None, status)
    path = ReturnPath(migration, BytesChannel(data), Late(migration, Figures(), WAKE), asked=asked)
    path.finish()
    migration.ram.save_postcopy_resume()
    machine.said.clear()
    assert not path.error.startswith("internal error"), path.error
    return path.error
