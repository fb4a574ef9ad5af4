# SPDX-License-Identifier: Apache-2.0
"""Memory in many short runs: few elements, the same pages, and comparisons that find what differs."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from long_stream import BLOCK, PAGE, enlarged

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.accounting import account
from migmatrix.vmstate.view.compare import diff
from migmatrix.vmstate.view.digest import digest
from migmatrix.vmstate.view.stream import page_runs, read_stream
from migmatrix.vmstate.wire.ramevents import PageMix, PageRun, page_records, zero_records
from migmatrix.vmstate.wire.reader import StreamReader

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "q35-10.0.13"
PAGES = 3000


def body(page: int) -> bytes:
    return (page + 1).to_bytes(4, "little") * (PAGE // 4)


def every_second(pages: int = PAGES, changed: int = -1) -> Iterator[PageRun]:
    for page in range(0, pages, 2):
        content = body(page if page != changed else pages + 1)
        yield page_records(BLOCK, page * PAGE, [content], named=not page)
        yield zero_records(BLOCK, (page + 1) * PAGE, 1, PAGE, named=False)


def any_order(seed: int) -> list[PageRun]:
    """Runs of 1 to 300 pages of either kind, with gaps."""
    chosen, page = random.Random(seed), 0
    found: list[PageRun] = []
    while page < PAGES:
        count = min(PAGES - page, chosen.choice((1, 1, 1, 2, 5, 300)))
        if chosen.random() < 0.5:
            pages = [body(page + i) for i in range(count)]
            found.append(page_records(BLOCK, page * PAGE, pages, named=not found))
        else:
            found.append(zero_records(BLOCK, page * PAGE, count, PAGE, named=not found))
        page += count + chosen.choice((0, 0, 1, 7))
    return found


def stream_of(runs: Iterator[PageRun] | list[PageRun]) -> bytes:
    return b"".join(enlarged(NAME, PAGES, runs))


def pages_of(data: bytes) -> dict[int, bytes]:
    return dict(read_stream(data).ram.blocks[BLOCK].pages())


def test_short_runs_are_few_elements() -> None:
    data = stream_of(every_second())
    stream = read_stream(data)
    mixes = [e for e in stream.events if isinstance(e, PageMix) and e.block == BLOCK]
    assert [(mix.first // PAGE, mix.end // PAGE) for mix in mixes] == [(0, 1024), (1024, 2048), (2048, 3000)]
    assert stream.ram.blocks[BLOCK].counts == {"page": PAGES // 2, "zero": PAGES // 2}
    assert account(stream, data).complete
    assert pages_of(data) == {page * PAGE: body(page) for page in range(0, PAGES, 2)}


@pytest.mark.parametrize("seed", range(6))
def test_any_mixture_holds_the_pages_that_were_written(seed: int) -> None:
    runs = any_order(seed)
    data = stream_of(runs)
    wanted = {at: bytes(page) for run in runs for at, page in run.pages() if len(page) == PAGE}
    assert pages_of(data) == wanted
    assert account(read_stream(data), data).complete
    written = [(at, len(page)) for run in runs for at, page in run.pages()]
    read = [run for run in page_runs(read_stream(data)) if run.block == BLOCK]
    assert [(at, len(page)) for run in read for at, page in run.pages()] == written
    assert all(run.encode() == data[run.offset : run.offset + len(run.raw)] for run in read)


@pytest.mark.parametrize("changed", [0, 1022, 1024, 2998])
def test_one_page_of_many_differs(changed: int) -> None:
    one, other = (read_stream(stream_of(every_second(changed=page))) for page in (-1, changed))
    (found,) = diff(one, other)
    assert (found.kind, found.a) == ("ram-content", f"1 pages from {changed * PAGE:#x}")
    assert digest(one) != digest(other)


def test_a_page_more_at_the_beginning_moves_no_cut() -> None:
    """Both are cut at the same pages again after 4 MiB."""
    pages = list(every_second())
    first = [page_records(BLOCK, 0, [body(0)]), page_records(BLOCK, PAGE, [body(1)], named=False)]
    one, other = read_stream(stream_of(pages)), read_stream(stream_of([*first, *pages[2:]]))
    (found,) = diff(one, other)
    assert found.a == f"1 pages from {PAGE:#x}"
    cuts = [[e.first for e in s.events if isinstance(e, PageMix) and e.block == BLOCK] for s in (one, other)]
    assert cuts[0][-2:] == cuts[1][-2:] == [1024 * PAGE, 2048 * PAGE]


def test_a_page_that_is_sent_again_replaces_one_in_a_mix() -> None:
    again = page_records(BLOCK, 10 * PAGE, [body(7)], named=False)
    assert pages_of(stream_of([*every_second(), again]))[10 * PAGE] == body(7)


@pytest.mark.parametrize("size", [1000, 4104, 100_000])
def test_a_mix_may_come_in_pieces(size: int) -> None:
    data = stream_of(every_second(200))
    described = read_stream(data).vmdesc
    assert described is not None
    reader = StreamReader(delimiter=described.delimiter())
    events = []
    for at in range(0, len(data), size):
        reader.feed(data[at : at + size])
        events += list(reader.events())
    reader.close()
    events += list(reader.events())
    assert b"".join(event.encode() for event in events) == data


def test_a_cut_inside_of_a_mix_is_told_at_its_page() -> None:
    data = stream_of(every_second())
    mix = next(e for e in read_stream(data).events if isinstance(e, PageMix) and e.block == BLOCK)
    with pytest.raises(StreamError, match=f"{BLOCK}"):
        read_stream(data[: mix.offset + len(mix.raw) - 2000])
