# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of `migmatrix stream` on large streams, against reading the files and against QEMU's own script.

The streams are a real small one of this project's test data, with its memory made large by the writer of `vmstate`.
Commands are installed ones, each in a process of its own, all in turn and again; the least of each counts. Peak
memory is the system's figure, which for a small program is that of the process that starts it (about 10 MB).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from long_stream import BLOCK, PAGE, enlarged

from migmatrix.vmstate.wire.ramevents import page_records, zero_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from migmatrix.vmstate.wire.ramevents import PageRun

__all__ = ["bench_streams"]

SMALL: Final = "q35-10.0.13"
RUN: Final = 1024  # pages written at once
SPARSE: Final = 2048  # of so many runs' pages, one page has content
METER: Final = """
import json, os, sys, time
null = os.open(os.devnull, os.O_WRONLY)
began = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, null, 1)])
_, status, used = os.wait4(pid, 0)
wall = time.perf_counter() - began
print(json.dumps([os.waitstatus_to_exitcode(status), wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


# -- the streams -------------------------------------------------------------------------------


def write_stream(file: Path, pages: int, content: Callable[[int], Iterator[PageRun]]) -> None:
    """A guest with `pages` pages of memory, of which `content(pages)` gives the records."""
    with file.open("wb") as out:
        out.writelines(enlarged(SMALL, pages, content(pages)))


def random_pages(pages: int, changed: int = -1) -> Iterator[PageRun]:
    """All pages with content that does not compress; that of page `changed` is another."""
    source = random.Random(1)
    for first in range(0, pages, RUN):
        data = memoryview(source.randbytes(RUN * PAGE))
        bodies = [bytes(data[at : at + PAGE]) for at in range(0, len(data), PAGE)]
        if first <= changed < first + RUN:
            bodies[changed - first] = bytes(reversed(bodies[changed - first]))
        yield page_records(BLOCK, first * PAGE, bodies, named=not first)


def sparse_pages(pages: int) -> Iterator[PageRun]:
    """Zero pages, and now and then one with content."""
    source = random.Random(2)
    for first in range(0, pages, SPARSE):
        yield page_records(BLOCK, first * PAGE, [source.randbytes(PAGE)], named=not first)
        yield zero_records(BLOCK, (first + 1) * PAGE, SPARSE - 1, PAGE, named=False)


def fragmented_pages(pages: int) -> Iterator[PageRun]:
    """Every second page is zero."""
    source = random.Random(3)
    for page in range(0, pages, 2):
        yield page_records(BLOCK, page * PAGE, [source.randbytes(PAGE)], named=not page)
        yield zero_records(BLOCK, (page + 1) * PAGE, 1, PAGE, named=False)


# -- measuring ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A command, the exit code it must have, and how many of the streams it reads."""

    name: str
    argv: tuple[str, ...]
    code: int = 0
    reads: int = 1


@dataclass(frozen=True)
class Cost:
    """Seconds, seconds of processor time, peak memory in MB."""

    wall: float
    cpu: float
    peak: float

    def least(self, other: Cost | None) -> Cost:
        """Of two measurements the better times and the worse peak."""
        if other is None:
            return self
        return Cost(min(self.wall, other.wall), min(self.cpu, other.cpu), max(self.peak, other.peak))


def measure(jobs: list[Job], repeat: int, scratch: Path) -> dict[str, Cost]:
    """Run all jobs in turn, `repeat` times and once before that to warm up."""
    found: dict[str, Cost] = {}
    for turn in range(repeat + 1):
        for job in jobs:
            cost = _run(job, scratch)
            if turn:
                found[job.name] = cost.least(found.get(job.name))
    return found


def _run(job: Job, scratch: Path) -> Cost:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env["PYTHONPYCACHEPREFIX"] = str(scratch / "bytecode")  # as installed: compiled, whatever this host does
    meter = [sys.executable, "-S", "-c", METER, *job.argv]
    done = subprocess.run(meter, env=env, stdout=subprocess.PIPE, text=True, check=True)
    code, *figures = json.loads(done.stdout)
    if code != job.code:
        sys.exit(f"{' '.join(job.argv)}: exit code {code}, expected {job.code}")
    return Cost(*figures)


def _jobs(files: list[Path], script: Path | None) -> list[Job]:
    """`files` are one stream, or two that differ in a page."""
    first, names = str(files[0]), tuple(map(str, files))
    command = str(Path(sys.executable).with_name("migmatrix"))
    jobs = [Job("cat", ("/bin/cat", first))]
    jobs += [Job(name, (command, "stream", name, first)) for name in ("show", "check", "digest")]
    if len(files) > 1:
        jobs += [Job("cat, both", ("/bin/cat", *names), reads=2)]
        jobs += [Job("diff", (command, "stream", "diff", *names), code=int(files[0] != files[1]), reads=2)]
    if script is not None:
        argv = (sys.executable, "-W", "ignore", str(script), "-f", first)
        jobs.append(Job("analyze-migration.py", argv))
    return jobs


def _table(jobs: list[Job], costs: dict[str, Cost]) -> Iterator[str]:
    theirs = costs.get("analyze-migration.py")
    for job in jobs:
        cost, floor = costs[job.name], costs["cat" if job.reads == 1 else "cat, both"]
        times = f"{cost.wall:7.3f} s {cost.cpu:7.3f} s cpu {cost.peak:5.0f} MB peak"
        ratios = f"{cost.wall / floor.wall:6.2f} x reading, cpu {cost.cpu / floor.cpu:6.2f} x"
        faster = (
            f"; script: {theirs.wall / cost.wall:5.1f} x, cpu {theirs.cpu / cost.cpu:5.1f} x"
            if theirs is not None and job.reads == 1
            else ""
        )
        yield f"  {job.name:21} {times} {ratios}{faster}"


def bench_streams(repeat: int, script: Path | None, scratch: Path) -> None:
    """Make the streams in `scratch`, measure and print; `script` is QEMU's, None to go without."""
    names = ("random", "random-other", "sparse", "fragmented")
    one, other, sparse, fragmented = (scratch / name for name in names)
    half = (512 << 20) // PAGE
    write_stream(one, half, random_pages)
    write_stream(other, half, lambda pages: random_pages(pages, changed=half // 2))
    write_stream(sparse, (4 << 30) // PAGE, sparse_pages)
    write_stream(fragmented, (1 << 30) // PAGE, fragmented_pages)
    cases = (
        ("512 MiB of random memory", [one, other]),
        ("4 GiB, sparse", [sparse]),
        ("1 GiB, every second page zero", [fragmented, fragmented]),
    )
    for title, files in cases:
        jobs = _jobs(files, script)
        print(f"stream: {title}, {files[0].stat().st_size:,} bytes", flush=True)
        print("\n".join(_table(jobs, measure(jobs, repeat, scratch))), flush=True)
