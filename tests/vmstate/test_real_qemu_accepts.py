"""`accepts` against real loads of real QEMU: never a certain refusal of what was loaded, no unexplained miss.

`MIGMATRIX_STREAMS=all` takes every pair of matrices/debian.yaml, a number that many, drawn by `MIGMATRIX_SEED`.
Run with `-s` to see the confusion table.
"""

from __future__ import annotations

import asyncio

import pytest
from confusion import Confusion
from real_matrix import Lab, Pair, RealMatrix, Triple, drawn, sample_size

from vmstate.accept import Local
from vmstate.stream import Stream, read_stream

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(1800)]

REFUSED = ("am53c974", "ipmi-isa", "virtio-rng", "virtio-scsi")  # profiles, by some build


class Judge:
    """Compares real loads with `accepts`; reads the streams of one machine and profile once."""

    def __init__(self, lab: Lab) -> None:
        self.confusion = Confusion()
        self._lab = lab
        self._streams: dict[Triple, Stream | None] = {}

    async def add(self, pair: Pair) -> None:
        """Judge one pair whose source and destination both save."""
        stream = await self._stream(Triple(pair.machine, pair.profile, pair.source))
        own = await self._stream(Triple(pair.machine, pair.profile, pair.destination))
        evidence = self._lab.real.store.get(self._lab.real.pairs[pair])
        if stream is None or evidence is None:
            return
        if own is None:
            self.confusion.unjudged.append("/".join(pair))
            return
        schema = await self._lab.schema(pair.destination, pair.machine)
        release = self._lab.real.builds[pair.destination].facts.version
        self.confusion.add("/".join(pair), evidence, stream, Local.of_stream(own, schema, release))

    async def _stream(self, triple: Triple) -> Stream | None:
        if triple not in self._streams:
            if any(known[:2] != triple[:2] for known in self._streams):
                self._streams.clear()
            data = await self._lab.source(triple)
            self._streams[triple] = None if data is None else read_stream(data)
        return self._streams[triple]


def sample(real: RealMatrix) -> list[Pair]:
    """Pairs of two builds: drawn from all, and from the profiles that are known to be refused somewhere."""
    crossing = [pair for pair in real.pairs if pair.source != pair.destination]
    count = sample_size(60)
    refused = [pair for pair in crossing if pair.profile in REFUSED]
    return list(dict.fromkeys(drawn(crossing, count) + drawn(refused, count and count // 2)))


def test_accepts_agrees_with_real_loads() -> None:
    real = RealMatrix.open()
    pairs = sample(real)

    async def run() -> Confusion:
        async with Lab(real) as lab:
            await lab.run(pairs)
            judge = Judge(lab)
            for pair in sorted(pairs):
                await judge.add(pair)
            return judge.confusion

    confusion = asyncio.run(run())
    print(f"\n{len(pairs)} pairs drawn\n{confusion}")
    assert confusion.table
    assert not confusion.wrong
    assert not confusion.unexplained()
