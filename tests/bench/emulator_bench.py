"""Speed and memory of the reference emulator's migration, against real QEMU 10.0 in the same run.

A guest of 512 MiB of random bytes is sent over a UNIX socket, by both in turn, the best of each counts; then a guest
of a million pages, nearly all zero, with the peak memory of both sides.
"""

from __future__ import annotations

import os
import re
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guests import Guest, contained, emulated

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["bench_emulator"]

MIB = 1 << 20
PAGE = 4096
RELEASE = "10.0"


def bench_emulator(repeat: int, real: bool) -> None:
    """Print rates and peaks. `real`: compare with QEMU in a container."""
    with tempfile.TemporaryDirectory(prefix="mb-", dir="/var/tmp") as name:
        root = Path(name)
        write_guest(root / "random", 512, os.urandom)
        starters: dict[str, Any] = {"emulator": lambda *a: emulated(RELEASE, *a)}
        if real:
            starters["QEMU 10.0"] = lambda *a: contained(RELEASE, root, *a)
        best = dict.fromkeys(starters, 0.0)
        for _ in range(max(repeat, 3)):
            for who, start in starters.items():
                best[who] = max(best[who], 512 / live(root, 512, start)[0])
        print("emulator: 512 MiB of random bytes over a UNIX socket")
        for who, rate in best.items():
            print(f"  {who:12} {rate:7.0f} MiB/s  {rate / best['emulator']:6.2f} x the emulator")
        write_guest(root / "random", 4096, bytes)
        seconds, peaks = live(root, 4096, starters["emulator"])
        print(
            f"  a million zero pages: {seconds:.1f} s, peak {peaks[0]:.0f} MB source, {peaks[1]:.0f} MB destination"
        )


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


def records(start: int, data: bytes) -> bytes:
    """Records of the pages of `data`, all zero or all not; the first of all names its block."""
    pages = range(0, len(data), PAGE)
    zero = not data.strip(b"\0")
    kind, bodies = (0x22, [b"\0"] * len(pages)) if zero else (0x28, [data[at : at + PAGE] for at in pages])
    heads = [struct.pack(">Q", start + at | kind) for at in pages]
    if not start:
        heads[0] = struct.pack(">Q", kind & ~0x20) + b"\3ram"
    return b"".join(part for pair in zip(heads, bodies, strict=True) for part in pair)


def live(root: Path, mib: int, start: Any) -> tuple[float, list[float]]:
    """Seconds of a live migration of the written guest, as the source tells them, and both sides' peak memory in MB."""
    socket = root / "socket"
    arguments = ("-M", "none", "-m", str(mib), "-S", "-incoming", "defer")
    with start(*arguments) as source, start(*arguments) as target:
        source.command("migrate-incoming", uri=f"exec:cat {root / 'random'}")
        source.status("completed")
        source.command("migrate-set-parameters", max_bandwidth=1 << 40)
        target.command("migrate-incoming", uri=f"unix:{socket}")
        source.command("migrate", uri=f"unix:{socket}")
        seconds = source.status("completed")["total-time"] / 1000
        target.status("completed")
        return seconds, [peak(source), peak(target)]


def peak(guest: Guest) -> float:
    """Most resident memory in MB, the guest's own included."""
    text = Path(f"/proc/{guest.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else 0.0
