"""Two streams read side by side: the same as one by one, and equal memory is known without a second look."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream_data import load

from vmstate.accounting import account
from vmstate.compare import diff
from vmstate.pair import read_pair
from vmstate.ramevents import PageRun, RamBlock, RamTotal, page_records, zero_records
from vmstate.ramimage import Difference, differ
from vmstate.stream import Stream, read_stream
from vmstate.wire import RamFlag

NAMES = ("q35-7.2.22", "q35-7.2.22-again", "q35-11.1.3", "none-5.2.0")
PAGES = 5000  # more than one event, and more memory than is held at once
BLOCK = "pc.ram"


@dataclass
class Held:
    """A stream in memory that notes what is given back."""

    data: memoryview
    released: list[tuple[int, int]] = field(default_factory=list)

    def release(self, start: int, end: int, /) -> None:
        self.released.append((start, end))

    def holds(self, start: int, data: bytes | memoryview, /) -> bool:
        return self.data[start : start + len(data)] == data


def held(data: bytes) -> Held:
    return Held(memoryview(data))


def guest(changed: int = -1, zero: int = -1) -> bytes:
    """A real stream with `PAGES` pages of memory; page `changed` has other content, page `zero` none."""
    stream = read_stream(load("q35-10.0.13"))
    block = next(e for s in stream.sections for e in s.events if isinstance(e, RamBlock) and e.name == BLOCK)
    out, written = [], False
    for event in stream.events:
        if isinstance(event, RamTotal):
            out.append(RamTotal(event.total - block.used_length + PAGES * 4096).encode())
        elif isinstance(event, RamBlock) and event.name == BLOCK:
            out.append(RamBlock(BLOCK, PAGES * 4096).encode())
        elif not (isinstance(event, PageRun) and event.block == BLOCK):
            out.append(event.encode())
        elif not written:
            out.extend(_memory(changed, zero))
            written = True
    return b"".join(out)


def _memory(changed: int, zero: int) -> list[bytes]:
    bodies = [i.to_bytes(4, "little") * 1024 for i in range(1, PAGES + 1)]
    if changed >= 0:
        bodies[changed] = b"\7" * 4096
    if zero < 0:
        return [page_records(BLOCK, 0, bodies).encode()]
    after = page_records(BLOCK, (zero + 1) * 4096, bodies[zero + 1 :], named=False)
    before = page_records(BLOCK, 0, bodies[:zero])
    return [e.encode() for e in (before, zero_records(BLOCK, zero * 4096, 1, 4096, named=False), after)]


def shared(a: Stream, b: Stream) -> int:
    """Pages of `b` whose bytes are those of `a`."""
    views = {id(e.raw) for e in a.events if isinstance(e, PageRun)}
    return sum(e.count for e in b.events if isinstance(e, PageRun) and id(e.raw) in views)


def test_reads_what_one_by_one_reads() -> None:
    for x in NAMES:
        for y in NAMES:
            a, b = read_pair(held(load(x)), held(load(y)))
            alone = read_stream(load(x)), read_stream(load(y))
            assert (a.events, b.events) == (alone[0].events, alone[1].events)
            assert [e.offset for e in b.events] == [e.offset for e in alone[1].events]
            assert diff(a, b) == diff(*alone)
            assert account(b, load(y)).complete


def test_equal_memory_is_shared() -> None:
    a, b = read_pair(held(guest()), held(guest()))
    assert shared(a, b) >= PAGES
    assert diff(a, b) == ()


def test_only_the_run_with_the_difference_is_not_shared() -> None:
    a, b = read_pair(held(guest()), held(guest(changed=1500)))
    assert PAGES - 1100 <= shared(a, b) < PAGES
    assert differ(a.ram.blocks[BLOCK], b.ram.blocks[BLOCK]) == Difference(1, 1500 * 4096)


def test_runs_that_are_cut_elsewhere_are_compared_all_the_same() -> None:
    a, b = read_pair(held(guest()), held(guest(zero=1500)))
    assert shared(a, b) < PAGES
    assert differ(a.ram.blocks[BLOCK], b.ram.blocks[BLOCK]) == Difference(1, 1500 * 4096)


def test_zero_pages_are_not_shared() -> None:
    a, b = read_pair(held(load(NAMES[0])), held(load(NAMES[0])))
    kinds = {
        e.kind
        for e in b.events
        if isinstance(e, PageRun) and id(e.raw) in {id(x.raw) for x in a.events if isinstance(x, PageRun)}
    }
    assert kinds <= {RamFlag.PAGE}


def test_memory_is_given_back_only_behind_both() -> None:
    x, y = held(guest()), held(guest(changed=1500))
    a, _ = read_pair(x, y)
    assert x.released
    assert y.released
    assert all(start < end <= len(x.data) for start, end in x.released + y.released)
    assert differ(a.ram.blocks[BLOCK], a.ram.blocks[BLOCK]) == Difference(0, 0)


def test_an_error_in_one_leaves_the_other_whole() -> None:
    data = load(NAMES[0])
    for first, second in ((data[:5000], data), (data, data[:5000]), (b"no stream", data), (data, b"")):
        a, b = read_pair(held(first), held(second))
        for stream, raw in ((a, first), (b, second)):
            alone = read_stream(raw, strict=False)
            assert stream.events == alone.events
            assert str(stream.error) == str(alone.error)
