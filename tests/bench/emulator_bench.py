# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of the reference emulator, against a bare Python and real QEMU 10.0 in the same run.

From start to greeting, and the processor time of that, as multiples of what a Python that does nothing takes, whose
part of any leg this is; then the whole default matrix. Live migrations (`live_bench`) of a guest of 512 MiB of random
bytes; then a guest of a million pages, nearly all zero, with the peak memory of both sides.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guests import contained, emulated
from live_bench import bench_before, bench_latency, bench_multifd, bench_precopy, moved, unpacked

from migmatrix.harness.builds.bundle import Bundles, Sources

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["bench_emulator"]

MIB = 1 << 20
PAGE = 4096
RELEASE = "10.0"


def bench_emulator(repeat: int, real: bool, before: str | None) -> None:
    """Print rates and peaks. `real`: compare with QEMU in an image; `before`: with a commit of this repository."""
    with tempfile.TemporaryDirectory(prefix="mb-", dir="/var/tmp") as name:
        root = Path(name)
        bench_start(root, repeat, real)
        bench_matrix(root)
        write_guest(root / "random", 512, os.urandom)
        starters: dict[str, Any] = {"emulator": lambda *a: emulated(RELEASE, *a)}
        if real:
            starters["QEMU 10.0"] = unpacked(RELEASE, root / "qemu")
        bench_precopy(root, 512, starters, repeat)
        if before:
            bench_before(root, 512, before, repeat)
        bench_latency(root, 512, starters, repeat)
        write_guest(root / "random", 128, packable)
        bench_multifd(root, 128, starters, repeat)
        write_guest(root / "random", 4096, bytes)
        seconds, peaks = moved(root, 4096, starters["emulator"])
        print(
            f"  a million zero pages: {seconds:.1f} s, peak {peaks[0]:.0f} MB source, {peaks[1]:.0f} MB destination"
        )


Q35 = ("-M", "pc-q35-7.2", "-m", "64", "-nodefaults", "-S", "-device", "pcie-root-port,id=rp0,chassis=1")


def bench_start(root: Path, repeat: int, real: bool) -> None:
    """Print what starts cost: the best of several, in turn, so that all had the same machine."""
    binary = str(Bundles(root / "cache", Sources.installed()).get().binary("7.2"))
    quiet = ("-display", "none", "-qmp", "stdio")
    starts: dict[str, list[str]] = {
        "bare Python": [str(Path(sys.executable).resolve()), "-I", "-S", "-c", "pass"],
        "none": [binary, "-M", "none", "-nodefaults", "-S", *quiet],
        "pc-q35-7.2": [binary, *Q35, *quiet],
    }
    best = dict.fromkeys(starts, (float("inf"), float("inf")))
    for _ in range(max(repeat, 15)):
        for who, argv in starts.items():
            wall, processor = start(argv)
            best[who] = min(best[who][0], wall), min(best[who][1], processor)
    print("emulator: from start to greeting, and processor time until it has quit")
    bare = best["bare Python"]
    for who, (wall, processor) in best.items():
        ratios = f"{wall / bare[0]:5.2f} x and {processor / bare[1]:5.2f} x a bare Python"
        print(f"  {who:12} {wall * 1e3:6.1f} ms {processor * 1e3:6.1f} ms  {ratios}")
    if real:
        seconds = min(contained_start(root) for _ in range(3))
        print(
            f"  QEMU 10.0    {seconds * 1e3:6.1f} ms  {seconds / bare[0]:5.2f} x a bare Python, with its container"
        )


def start(argv: list[str]) -> tuple[float, float]:
    """Seconds to the first line, or to the end where there is none, and of processor until the end."""
    began = time.perf_counter()
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    greeted = bool(process.stdout.readline())
    wall = time.perf_counter() - began
    if greeted:
        process.stdin.write(b'{"execute": "qmp_capabilities"}\n{"execute": "quit"}\n')
        process.stdin.flush()
        process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdin.close()
    process.stdout.close()
    if process.returncode:
        raise RuntimeError(f"{argv[0]} ended with {process.returncode}")
    return wall, used.ru_utime + used.ru_stime


def contained_start(root: Path) -> float:
    """Seconds from `docker run` to the end of negotiation."""
    began = time.perf_counter()
    with contained(RELEASE, root, *Q35):
        return time.perf_counter() - began


def bench_matrix(root: Path) -> None:
    """Print how long the default matrix takes as processes; it ends with 1, for what 8.0 broke."""
    matrix = Path(__file__).parents[2] / "matrix.yaml"
    began = time.perf_counter()
    migmatrix = [sys.executable, "-c", "import sys; from migmatrix.harness.cli import main; sys.exit(main())"]
    places = ["--out", str(root / "run"), "--store", str(root / "store")]
    argv = [*migmatrix, "run", "-f", str(matrix), "--engine", "process", *places]
    done = subprocess.run(argv, stdout=subprocess.DEVNULL, check=False)
    cells = len((root / "run" / "results.jsonl").read_text().splitlines())
    print(f"  default matrix: {cells} cells in {time.perf_counter() - began:.1f} s, exit {done.returncode}")


def write_guest(path: Path, mib: int, content: Callable[[int], bytes]) -> None:
    """A stream of machine `none` with `mib` MiB in its block, of which `content` gives the bytes; zero ones are short."""
    with path.open("wb") as out:
        out.write(b"QEVM" + struct.pack(">IBI4s", 3, 7, 4, b"none"))
        out.write(struct.pack(">BIB3sII", 1, 1, 3, b"ram", 0, 4))
        out.write(
            struct.pack(">QB3sQQ", mib * MIB | 4, 3, b"ram", mib * MIB, 0x10) + struct.pack(">BI", 0x7E, 1)
        )
        out.write(struct.pack(">BI", 2, 1))
        for start in range(0, mib * MIB, MIB):
            out.write(records(start, content(MIB)))
        out.write(struct.pack(">QBI", 0x10, 0x7E, 1) + struct.pack(">BIQBI", 3, 1, 0x10, 0x7E, 1) + b"\0")


def packable(size: int) -> bytes:
    """Pages of which half is random."""
    return b"".join(os.urandom(PAGE // 2) + bytes(PAGE // 2) for _ in range(size // PAGE))


def records(start: int, data: bytes) -> bytes:
    """Records of the pages of `data`, all zero or all not; the first of all names its block."""
    pages = range(0, len(data), PAGE)
    zero = not data.strip(b"\0")
    kind, bodies = (0x22, [b"\0"] * len(pages)) if zero else (0x28, [data[at : at + PAGE] for at in pages])
    heads = [struct.pack(">Q", start + at | kind) for at in pages]
    if not start:
        heads[0] = struct.pack(">Q", kind & ~0x20) + b"\3ram"
    return b"".join(part for pair in zip(heads, bodies, strict=True) for part in pair)
