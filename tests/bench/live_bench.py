# SPDX-License-Identifier: Apache-2.0
"""Live migrations of the emulator beside those of real QEMU: pages of a postcopy, multifd, and precopy as it was before.

A guest of machine `none` whose memory came from a file; the best of each turn counts, in turn, so that all have the
same machine. The two sides of a pair are the same program.
"""

from __future__ import annotations

import re
import socket
import statistics
import struct
import subprocess
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from drivers import export_root
from guests import COMMON, IMAGES, ROOT, Guest, emulated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["bench_before", "bench_latency", "bench_multifd", "bench_precopy", "moved", "unpacked"]

PAGE: Final = 4096
MIB: Final = 1 << 20
RELEASE: Final = "10.0"
REQUESTS: Final = 1000
LIMITS: Final = {"32 MiB/s": 32 * MIB, "no limit": 0}  # of the pages that nobody asked for
CHANNELS: Final = (2, 4)
METHODS: Final = ("none", "zlib", "zstd")

Starter = Any  # a context manager of a Guest, from arguments
Moved = tuple[float, list[float]]
Runs = dict[str, "Callable[[], Moved]"]


def unpacked(release: str, tree: Path) -> Starter:
    """Real QEMU of an image, as a process beside the emulator's: a container has another share of the processors."""
    tree.mkdir()
    export_root(f"migmatrix/debian:{IMAGES[release]}", tree)
    loader = [
        str(tree / "lib64/ld-linux-x86-64.so.2"),
        "--library-path",
        str(tree / "usr/lib/x86_64-linux-gnu"),
    ]
    argv = [*loader, str(tree / "usr/bin/qemu-system-x86_64"), "-L", str(tree / "usr/share/qemu"), *COMMON]

    @contextmanager
    def start(*arguments: str) -> Iterator[Guest]:
        guest = Guest([*argv, *arguments])
        try:
            yield guest
        finally:
            guest.close()

    return start


# -- a postcopy's pages --------------------------------------------------------------------------


def bench_latency(root: Path, mib: int, starters: Mapping[str, Starter], repeat: int) -> None:
    """Print how long a source takes from a request to the whole page, by one and the same destination."""
    print(
        f"  postcopy, {mib} MiB: from a request for a page to its last byte, {REQUESTS} pages one after the other"
    )
    for limit, bandwidth in LIMITS.items():
        found: dict[str, list[float]] = {who: [] for who in starters}
        for turn in range(max(repeat, 3)):
            for who, start in starters.items():
                found[who] += asked(root, mib, start, bandwidth, turn)
        for who, seconds in found.items():
            median, late = _points(seconds)
            ratios = [
                f"{a / b:5.2f}" for a, b in zip((median, late), _points(found["emulator"]), strict=True)
            ]
            print(
                f"    {limit:9} {who:12} median {median * 1e3:6.2f} ms, p99 {late * 1e3:6.2f} ms, "
                f"{ratios[0]} x and {ratios[1]} x the emulator's",
                flush=True,
            )


def _points(seconds: list[float]) -> tuple[float, float]:
    """Median and p99."""
    return statistics.median(seconds), statistics.quantiles(seconds, n=100)[98]


def asked(root: Path, mib: int, start: Starter, bandwidth: int, seed: int) -> list[float]:
    """Seconds that each request for a page took, of those that were not sent yet."""
    path = root / "asked"
    with start("-M", "none", "-m", str(mib), "-S", "-incoming", "defer") as source, _listener(path) as server:
        _load(source, root)
        source.enable("postcopy-ram")
        source.command("migrate-set-parameters", max_bandwidth=MIB, max_postcopy_bandwidth=bandwidth)
        source.command("migrate", uri=f"unix:{path}")
        source.command("migrate-start-postcopy")
        link, _ = server.accept()
        with link:
            times = Asker(link, mib * MIB // PAGE, Random(seed)).run()
        source.status("completed")
    return times


@contextmanager
def _listener(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        try:
            yield server
        finally:
            path.unlink()


def _load(source: Guest, root: Path) -> None:
    source.command("migrate-incoming", uri=f"exec:cat {root / 'random'}")
    source.status("completed")


class Asker:
    """A destination of machine `none` that asks for one page after the other, from the package on."""

    def __init__(self, link: socket.socket, pages: int, rng: Random) -> None:
        self._link = link
        self._input = link.makefile("rb", 1 << 16)
        self._here = bytearray(pages)
        self._order = rng.sample(range(pages), pages)
        self._times: list[float] = []
        self._wanted = -1
        self._since = 0.0

    def run(self) -> list[float]:
        """Read all; seconds that each request took."""
        self._take(8)
        while self._element():
            pass
        self._say(1, bytes(4))
        return self._times

    def _take(self, count: int) -> bytes:
        data: bytes = self._input.read(count)
        if len(data) < count:
            raise EOFError("the source went")
        return data

    def _number(self, size: int) -> int:
        return int.from_bytes(self._take(size))

    def _say(self, code: int, data: bytes) -> None:
        self._link.sendall(struct.pack(">HH", code, len(data)) + data)

    def _element(self) -> bool:
        """A section, a command, or the end."""
        kind = self._number(1)
        if kind == 7:
            self._take(self._number(4))
        elif kind == 8:
            self._command()
        elif kind == 0x7E:
            self._take(4)
        elif kind in (1, 2, 3):
            self._take(4)
            if kind == 1:
                self._take(self._number(1) + 8)
            while self._record():
                pass
        elif kind:
            raise ValueError(f"element {kind}")
        return kind != 0

    def _command(self) -> None:
        code, data = self._number(2), self._take(self._number(2))
        if code == 7:
            self._take(int.from_bytes(data))
            self._ask()

    def _record(self) -> bool:
        word = self._number(8)
        at, flags = word & -PAGE, word & (PAGE - 1)
        if flags & 4:
            while at > 0:
                self._take(self._number(1))
                at -= self._number(8)
        elif flags & 0x0A:
            if not flags & 0x20:
                self._take(self._number(1))
            self._take(PAGE if flags & 8 else 1)
            self._came(at // PAGE)
        return not flags & 0x10

    def _came(self, page: int) -> None:
        self._here[page] = 1
        if page == self._wanted:
            self._times.append(perf_counter() - self._since)
            self._ask()

    def _ask(self) -> None:
        """Ask for a page that is not here, while there is one."""
        self._wanted = -1
        if len(self._times) == REQUESTS:
            return
        while self._order and self._here[self._order[-1]]:
            self._order.pop()
        if self._order:
            self._wanted = self._order.pop()
            self._since = perf_counter()
            self._say(3, struct.pack(">QIB", self._wanted * PAGE, PAGE, 3) + b"ram")


# -- whole migrations ----------------------------------------------------------------------------


def bench_multifd(root: Path, mib: int, starters: Mapping[str, Starter], repeat: int) -> None:
    """Print rates of whole migrations over several channels."""
    print(f"  multifd, {mib} MiB of which half can be packed, over UNIX sockets")
    for method in METHODS:
        for channels in CHANNELS:
            as_told = {"multifd_channels": channels, "multifd_compression": method}
            runs: Runs = {
                who: partial(moved, root, mib, s, ("multifd",), **as_told) for who, s in starters.items()
            }
            _tell(f"{method}, {channels} channels", mib, _best(runs, repeat))


def moved(
    root: Path, mib: int, start: Starter, capabilities: tuple[str, ...] = (), **parameters: Any
) -> Moved:
    """Seconds of a live migration of the written guest, as the source tells them, and both sides' peak memory in MB."""
    path = root / "socket"
    arguments = ("-M", "none", "-m", str(mib), "-S", "-incoming", "defer")
    with start(*arguments) as source, start(*arguments) as target:
        _load(source, root)
        for side in (source, target):
            side.enable(*capabilities)
            side.command("migrate-set-parameters", **parameters)
        source.command("migrate-set-parameters", max_bandwidth=1 << 40)
        target.command("migrate-incoming", uri=f"unix:{path}")
        source.command("migrate", uri=f"unix:{path}")
        seconds = source.status("completed")["total-time"] / 1000
        target.status("completed")
        return seconds, [peak(source), peak(target)]


def bench_precopy(root: Path, mib: int, starters: Mapping[str, Starter], repeat: int) -> None:
    """Print rates of plain migrations."""
    print(f"  precopy, {mib} MiB of random bytes over a UNIX socket")
    runs: Runs = {who: partial(moved, root, mib, start) for who, start in starters.items()}
    _tell("", mib, _best(runs, repeat))


def bench_before(root: Path, mib: int, commit: str, repeat: int) -> None:
    """Print the rate of plain precopy beside that of an earlier commit of this repository."""
    tree = root / "before"
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
    try:
        starters: dict[str, Starter] = {
            "emulator": lambda *a: emulated(RELEASE, *a),
            commit: lambda *a: emulated(RELEASE, *a, root=tree),
        }
        runs: Runs = {who: partial(moved, root, mib, start) for who, start in starters.items()}
        best = _best(runs, max(repeat, 5))
        print(f"  precopy, {mib} MiB of random bytes, beside {commit}")
        _tell("", mib, best)
    finally:
        subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def _best(runs: Runs, repeat: int) -> dict[str, float]:
    """Least seconds of each, in turn."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(max(repeat, 3)):
        for who, run in runs.items():
            best[who] = min(best[who], run()[0])
    return best


def _tell(what: str, mib: int, best: dict[str, float]) -> None:
    for who, seconds in best.items():
        ratio = f"{best['emulator'] / seconds:6.2f} x the emulator"
        print(f"    {what:18} {who:12} {mib / seconds:7.0f} MiB/s  {ratio}", flush=True)


def peak(guest: Guest) -> float:
    """Most resident memory in MB, the guest's own included."""
    text = Path(f"/proc/{guest.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) / 1024 if found else 0.0
