"""Streams of real QEMU: every byte accounted for, read as QEMU's own script reads it, one digest per state.

`MIGMATRIX_STREAMS=all` takes every (machine, profile, build) of matrices/debian.yaml, a number that many, drawn by
`MIGMATRIX_SEED`. Run with `-s` to see the counts.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import analyze_migration
import pytest
from needs import missing
from real_matrix import Lab, Pair, RealMatrix, drawn, sample_size, seed
from stream_checks import Counts, check_flips, check_stream, check_twice

from vmstate.stream import read_stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from real_matrix import Triple

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(1800)]

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

    def __init__(self) -> None:
        self.counts = Counts()
        self.problems: list[str] = []

    def check(self, name: str, data: bytes, again: bytes | None = None) -> None:
        """All checks of one stream; `again` is a second save of the same paused guest."""
        found = check_stream(data, self.counts)
        if not found:
            bits = random.Random(f"{seed()} {name}")
            found = check_flips(data, bits, self.counts)
        if again is not None:
            found += check_twice(data, again, self.counts)
        self.problems += [f"{name}: {problem}" for problem in found]

    def report(self) -> None:
        """Print the counts and fail when there is a problem."""
        print(f"\n{self.counts}")
        assert self.counts.streams, "nothing was saved"
        assert not self.problems, "\n".join(self.problems)


async def source_streams(lab: Lab, triples: list[Triple]) -> dict[Triple, bytes]:
    """The streams of those that save."""
    await lab.run([Pair(t.machine, t.profile, t.build, t.build) for t in triples])
    found = {triple: await lab.source(triple) for triple in triples}
    print(f"\n{len(triples)} drawn by seed {seed()}, {sum(d is not None for d in found.values())} save")
    return {triple: data for triple, data in found.items() if data is not None}


def test_every_source_of_the_matrix(real: RealMatrix) -> None:
    findings = Findings()

    async def work(lab: Lab) -> None:
        for triple, data in (await source_streams(lab, drawn(real.sources, sample_size(60)))).items():
            _, again = await lab.save(triple.build, triple.machine, real.arguments(triple))
            assert again is not None, f"{triple} saved once, and then no more"
            findings.check("/".join(triple), data, again)

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


def test_values_are_those_of_analyze_migration(real: RealMatrix, tmp_path: Path) -> None:
    """QEMU's own script, from Debian's source package, prints the same values."""
    script = analyze_migration.find_script(tmp_path)
    if isinstance(script, str):
        missing(script)
    opinion = analyze_migration.Opinion()

    async def work(lab: Lab) -> None:
        streams = await source_streams(lab, drawn(real.sources, sample_size(30)))
        for data in streams.values():
            (tmp_path / "stream").write_bytes(data)
            if analyze_migration.misled(data):
                opinion.unread += 1
                with pytest.raises(RuntimeError):
                    analyze_migration.run_script(script, tmp_path / "stream")
                continue
            printed = analyze_migration.run_script(script, tmp_path / "stream")
            analyze_migration.compare(read_stream(data), printed, opinion)

    in_lab(real, work)
    print(f"\n{opinion}")
    assert opinion.streams
    assert not opinion.unexplained


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
