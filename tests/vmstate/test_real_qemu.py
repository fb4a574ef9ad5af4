# SPDX-License-Identifier: Apache-2.0
"""Streams of real QEMU: every byte accounted for, read as QEMU's own script reads it, one digest per state.

`MIGMATRIX_STREAMS=all` takes every (machine, profile, build) of matrices/debian.yaml, `stored` those that a run has
left in the store, a number that many, drawn by `MIGMATRIX_SEED`. With `MIGMATRIX_LEDGER=DIRECTORY` a run goes on
where the last one was stopped. Run with `-s` to see the counts.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import analyze_migration
import pytest
from ledger import Ledger
from needs import missing
from real_matrix import Lab, Pair, RealMatrix, batches, drawn, only_stored, sample_size, seed
from stream_checks import Counts, check_flips, check_stream, check_twice

from migmatrix.harness.model import Guest
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from real_matrix import Triple

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.usefixtures("container_engine"),
    pytest.mark.timeout(0 if sample_size(1) is None else 1800),  # all of them take hours
]

RUNNING = Guest("firmware", "firmware", seconds=0.5)
BATCH = 64  # sources that are saved before they are looked at
PLAIN = ("-nodefaults",)
MACHINES = {  # that no build versions, with what each needs
    "none": PLAIN,
    "isapc": (*PLAIN, "-cpu", "486", "-m", "32"),
    "microvm": (*PLAIN, "-m", "64"),
}
RAN = {  # machines of which all builds have the firmware run, with devices that it finds
    "pc-q35-5.2": ("-m", "64", "-smp", "2", "-device", "virtio-rng-pci", "-device", "qemu-xhci"),
    "pc-i440fx-5.2": ("-m", "64", "-device", "lsi53c895a", "-device", "piix3-usb-uhci"),
}


@pytest.fixture(scope="module")
def real() -> RealMatrix:
    """The matrix with its builds."""
    return RealMatrix.open()


def in_lab(real: RealMatrix, work: Callable[[Lab], Awaitable[None]]) -> None:
    """Run a coroutine with a laboratory."""

    async def run() -> None:
        async with Lab(real) as lab:
            await work(lab)

    asyncio.run(run())


class Findings:
    """Checks streams and collects what is wrong, so that one bad stream does not hide another."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        self.counts = Counts()
        self.problems: list[str] = []
        self._ledger = ledger or Ledger()

    def check(self, name: str, data: bytes, again: bytes | None = None) -> None:
        """All checks of one stream; `again` is a second save of the same paused guest."""
        counts = Counts()
        found = check_stream(data, counts)
        if not found:
            bits = random.Random(f"{seed()} {name}")
            found = check_flips(data, bits, counts)
        if again is not None:
            found += check_twice(data, again, counts)
        problems = [f"{name}: {problem}" for problem in found]
        self._ledger.add(name, {"counts": counts.record(), "problems": problems})

    def report(self) -> None:
        """Print the counts and fail when there is a problem."""
        for record in self._ledger.records.values():
            self.counts.add(record["counts"])
            self.problems += record["problems"]
        print(f"\n{self.counts}")
        assert self.counts.streams, "nothing was saved"
        assert not self.problems, "\n".join(self.problems)


def chosen(real: RealMatrix, default: int, ledger: Ledger) -> list[Triple]:
    """The sources to take that are not done yet."""
    triples = drawn(real.sources, sample_size(default))
    if only_stored():
        triples = [triple for triple in triples if real.store.get(real.sources[triple]) is not None]
    left = [triple for triple in triples if real.name(triple) not in ledger]
    print(f"\n{len(triples)} sources drawn by seed {seed()}, {len(triples) - len(left)} done before")
    return left


async def streams(lab: Lab, triples: list[Triple]) -> AsyncIterator[tuple[Triple, bytes]]:
    """The streams of those that save; few are in memory at a time."""
    for some in batches(triples, BATCH):
        await lab.run([Pair(t.machine, t.profile, t.build, t.build) for t in some])
        for triple in some:
            data = await lab.source(triple)
            if data is not None:
                yield triple, data


def test_every_source_of_the_matrix(real: RealMatrix) -> None:
    ledger = Ledger("sources")
    findings = Findings(ledger)

    async def work(lab: Lab) -> None:
        async for triple, data in streams(lab, chosen(real, 30, ledger)):
            _, again = await lab.save(triple.build, triple.machine, real.arguments(triple))
            assert again is not None, f"{triple} saved once, and then no more"
            findings.check(real.name(triple), data, again)

    in_lab(real, work)
    findings.report()


@pytest.mark.parametrize("machine", MACHINES)
def test_machines_without_versions(real: RealMatrix, machine: str) -> None:
    findings = Findings()

    async def work(lab: Lab) -> None:
        for build, prepared in real.builds.items():
            if not prepared.facts.knows_machine(machine):
                print(f"{build} has no {machine!r}")
                continue
            (_, one), (_, two) = [await lab.save(build, machine, MACHINES[machine]) for _ in range(2)]
            assert one is not None, f"{build} does not save {machine!r}"
            findings.check(f"{machine}/{build}", one, two)

    in_lab(real, work)
    findings.report()


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the script leaves its files open
def test_values_are_those_of_analyze_migration(real: RealMatrix, tmp_path: Path) -> None:
    """QEMU's own script, from Debian's source package, has the same values."""
    path = analyze_migration.find_script(tmp_path)
    if isinstance(path, str):
        missing(path)
    script = analyze_migration.Script(path)
    ledger = Ledger("values")

    async def work(lab: Lab) -> None:
        async for triple, data in streams(lab, chosen(real, 12, ledger)):
            opinion = analyze_migration.Opinion()
            (tmp_path / "stream").write_bytes(data)
            if analyze_migration.misled(data):
                opinion.unread += 1
                with pytest.raises(RuntimeError):
                    script(tmp_path / "stream")
            else:
                analyze_migration.compare(read_stream(data), script(tmp_path / "stream"), opinion)
            ledger.add(real.name(triple), opinion.record())

    in_lab(real, work)
    opinion = analyze_migration.Opinion()
    for record in ledger.records.values():
        opinion.add(record)
    print(f"\n{opinion}")
    assert opinion.streams
    assert not opinion.unexplained


@pytest.mark.parametrize("machine", RAN)
def test_guests_that_ran(real: RealMatrix, machine: str) -> None:
    """A firmware guest's state, loaded and saved twice without running on: one digest, all checks."""
    findings = Findings()

    async def work(lab: Lab) -> None:
        for build in real.builds:
            arguments = RAN[machine]
            _, ran = await lab.save(build, machine, arguments, RUNNING)
            assert ran is not None, f"{build} does not save {machine!r}"
            (_, one), (_, two) = [await lab.save(build, machine, arguments, incoming=ran) for _ in range(2)]
            assert one is not None, f"{build} does not load and save what it saved"
            findings.check(f"{machine}/{build}/ran", ran)
            findings.check(f"{machine}/{build}/loaded", one, two)

    in_lab(real, work)
    findings.report()


def test_the_checks_find_what_is_wrong(real: RealMatrix) -> None:
    """Another guest, a byte too many and a byte too few on a real stream: each is a problem."""
    found: dict[str, list[str]] = {}

    async def work(lab: Lab) -> None:
        build = next(iter(real.builds))
        (_, one), (_, two) = [await lab.save(build, "pc-q35-5.2", (*PLAIN, "-m", m)) for m in ("16", "24")]
        assert one is not None
        assert two is not None
        found["another guest"] = check_twice(one, two, Counts())
        found["too long"] = check_stream(one + b"\0", Counts())
        found["too short"] = check_stream(one[:-1], Counts())

    in_lab(real, work)
    assert len(found) == 3
    assert all(found.values()), found
