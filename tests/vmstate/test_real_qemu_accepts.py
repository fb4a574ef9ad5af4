# SPDX-License-Identifier: Apache-2.0
"""`accepts` against real loads of real QEMU: never a certain refusal of what was loaded, no unexplained miss.

`MIGMATRIX_STREAMS=all` takes every pair of matrices/debian.yaml, `stored` those that a run has left in the store, a
number that many, drawn by `MIGMATRIX_SEED`. `MIGMATRIX_LEDGER=DIRECTORY` goes on where a run was stopped. Run with `-s` to see the confusion table.
"""

from __future__ import annotations

import asyncio

import pytest
from confusion import Confusion, Judged, judged
from ledger import Ledger
from real_matrix import Lab, Pair, RealMatrix, Triple, batches, drawn, only_stored, sample_size

from migmatrix.vmstate.check.accept import Local
from migmatrix.vmstate.view.stream import Stream, read_stream

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.usefixtures("container_engine"),
    pytest.mark.timeout(0 if sample_size(1) is None else 1800),  # all of them take hours
]
BATCH = 200  # loads that are run before they are judged

REFUSED = ("am53c974", "ipmi-isa", "virtio-rng", "virtio-scsi")  # profiles, by some build


class Judge:
    """Compares real loads with `accepts`; reads the streams of one machine and profile once."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._streams: dict[Triple, Stream | None] = {}

    async def judge(self, pair: Pair) -> Judged | str:
        """One pair; a word why there is nothing to compare."""
        stream = await self._stream(Triple(pair.machine, pair.profile, pair.source))
        own = await self._stream(Triple(pair.machine, pair.profile, pair.destination))
        evidence = self._lab.real.store.get(self._lab.real.pairs[pair])
        if stream is None or evidence is None:
            return "not run"
        if own is None:
            return "does not save"
        schema = await self._lab.schema(pair.destination, pair.machine)
        release = self._lab.real.builds[pair.destination].facts.version
        return judged(evidence, stream, Local.of_stream(own, schema, release)) or "not come to"

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
    if only_stored():
        return [pair for pair in crossing if real.stored(pair)]
    count = sample_size(40)
    refused = [pair for pair in crossing if pair.profile in REFUSED]
    return list(dict.fromkeys(drawn(crossing, count) + drawn(refused, count and count // 2)))


def confusion_of(ledger: Ledger) -> Confusion:
    """All loads that a ledger has."""
    confusion = Confusion()
    for name, record in ledger.records.items():
        if "why" not in record:
            refusal, cause = tuple(record["refusal"]), tuple(record["cause"])
            confusion.add(name, Judged(record["real"], record["said"], refusal, cause))
        elif record["why"] == "does not save":
            confusion.unjudged.append(name)
    return confusion


def test_accepts_agrees_with_real_loads() -> None:
    real, ledger = RealMatrix.open(), Ledger("loads")
    pairs = {f"{'/'.join(pair)} {real.pairs[pair][:16]}": pair for pair in sorted(sample(real))}
    left = {name: pair for name, pair in pairs.items() if name not in ledger}

    async def run() -> None:
        async with Lab(real) as lab:
            judge = Judge(lab)
            for some in batches(list(left), BATCH):
                await lab.run([left[name] for name in some])
                for name in some:
                    found = await judge.judge(left[name])
                    ledger.add(name, {"why": found} if isinstance(found, str) else found._asdict())

    asyncio.run(run())
    confusion = confusion_of(ledger)
    print(f"\n{len(pairs)} pairs drawn, {len(pairs) - len(left)} judged before\n{confusion}")
    assert confusion.table
    assert not confusion.wrong
    assert not confusion.unexplained()
