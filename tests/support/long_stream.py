# SPDX-License-Identifier: Apache-2.0
"""Streams of a guest with much memory, made of a real one with little."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_data import load

from migmatrix.vmstate.view.stream import read_stream
from migmatrix.vmstate.wire.ramevents import PageRun, RamBlock, RamTotal, page_records, zero_records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["BLOCK", "PAGE", "enlarged", "guest"]

BLOCK = "pc.ram"
PAGE = 4096


def enlarged(name: str, pages: int, memory: Iterable[PageRun]) -> Iterator[bytes]:
    """The real stream `name` with `pages` pages of memory, whose records are `memory`; the rest is as saved."""
    stream = read_stream(load(name))
    block = next(e for s in stream.sections for e in s.events if isinstance(e, RamBlock) and e.name == BLOCK)
    written = False
    for event in stream.events:
        if isinstance(event, RamTotal):
            yield RamTotal(event.total - block.used_length + pages * PAGE).encode()
        elif isinstance(event, RamBlock) and event.name == BLOCK:
            yield RamBlock(BLOCK, pages * PAGE).encode()
        elif not (isinstance(event, PageRun) and event.block == BLOCK):
            yield event.encode()
        elif not written:
            yield from (run.encode() for run in memory)
            written = True


def guest(pages: int, *changed: int, zero: int = -1, name: str = "q35-10.0.13") -> bytes:
    """A real stream with `pages` pages of memory; those `changed` have other content, page `zero` none."""
    return b"".join(enlarged(name, pages, _memory(pages, changed, zero)))


def _memory(pages: int, changed: tuple[int, ...], zero: int) -> list[PageRun]:
    bodies = [i.to_bytes(4, "little") * 1024 for i in range(1, pages + 1)]
    for page in changed:
        bodies[page] = b"\7" * 4096
    if zero < 0:
        return [page_records(BLOCK, 0, bodies)]
    after = page_records(BLOCK, (zero + 1) * PAGE, bodies[zero + 1 :], named=False)
    before = page_records(BLOCK, 0, bodies[:zero])
    return [before, zero_records(BLOCK, zero * PAGE, 1, PAGE, named=False), after]
