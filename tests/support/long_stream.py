"""Streams of a guest with much memory, made of a real one with little."""

from __future__ import annotations

from stream_data import load

from vmstate.ramevents import PageRun, RamBlock, RamTotal, page_records, zero_records
from vmstate.stream import read_stream

__all__ = ["BLOCK", "guest"]

BLOCK = "pc.ram"


def guest(pages: int, *changed: int, zero: int = -1, name: str = "q35-10.0.13") -> bytes:
    """A real stream with `pages` pages of memory; those `changed` have other content, page `zero` none."""
    stream = read_stream(load(name))
    block = next(e for s in stream.sections for e in s.events if isinstance(e, RamBlock) and e.name == BLOCK)
    out, written = [], False
    for event in stream.events:
        if isinstance(event, RamTotal):
            out.append(RamTotal(event.total - block.used_length + pages * 4096).encode())
        elif isinstance(event, RamBlock) and event.name == BLOCK:
            out.append(RamBlock(BLOCK, pages * 4096).encode())
        elif not (isinstance(event, PageRun) and event.block == BLOCK):
            out.append(event.encode())
        elif not written:
            out.extend(_memory(pages, changed, zero))
            written = True
    return b"".join(out)


def _memory(pages: int, changed: tuple[int, ...], zero: int) -> list[bytes]:
    bodies = [i.to_bytes(4, "little") * 1024 for i in range(1, pages + 1)]
    for page in changed:
        bodies[page] = b"\7" * 4096
    if zero < 0:
        return [page_records(BLOCK, 0, bodies).encode()]
    after = page_records(BLOCK, (zero + 1) * 4096, bodies[zero + 1 :], named=False)
    before = page_records(BLOCK, 0, bodies[:zero])
    return [e.encode() for e in (before, zero_records(BLOCK, zero * 4096, 1, 4096, named=False), after)]
