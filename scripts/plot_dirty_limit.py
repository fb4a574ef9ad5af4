#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Run a guest under a dirty limit and draw its rates against time: docs/dirty-limit.csv and docs/dirty-limit.svg.

    scripts/plot_dirty_limit.py [--csv]

The guest has three processors: two write, at 400 MiB/s, and one reads. Limits are set and lifted on the way. Time is the
guest's, moved by hand, so that every run gives the same numbers. `--csv` prints them and draws nothing; only drawing
needs matplotlib (`tox -e plots`).
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Final, NamedTuple

from migmatrix.emulator.clock import Clock
from migmatrix.emulator.guest import start_guest
from migmatrix.emulator.machine import Machine, build_machine
from migmatrix.emulator.options.parse import parse
from migmatrix.emulator.release import open_release
from migmatrix.emulator.vcpuguest import VcpuGuest

DOCS: Final = Path(__file__).parents[1] / "docs"
PAGES_PER_MIB: Final = 256
SLICE_NS: Final = 5_000_000
STEPS: Final = 100  # of these make half a second
RATE: Final = 400  # MiB/s
LIMITS: Final = {5: {0: 100}, 15: {1: 250}, 30: {0: 0, 1: 0}}  # second: quota by processor, 0 lifts it
SECONDS: Final = 38
ARGUMENTS: Final = (
    "--release", "11.1", "-M", "pc-i440fx-7.2", "-smp", "3", "-m", "64", "-nodefaults",
    "-accel", "model,dirty-ring-size=1024", "-workload", f"pages={12 * PAGES_PER_MIB},rate={RATE * PAGES_PER_MIB},readers=1",
)  # fmt: skip


class Sample(NamedTuple):
    """MiB/s in the half second that ends at `seconds`, and the quotas in it (0: none)."""

    seconds: float
    writer_1: int
    writer_2: int
    reader: int
    quota_1: int
    quota_2: int


class World:
    """The machine, and a host's clock that is moved by hand."""

    def __init__(self) -> None:
        self.machine: Machine = build_machine(open_release("11.1"), parse(ARGUMENTS))
        self._ns = 0
        self.machine.clock = Clock(lambda: self._ns)
        guest = start_guest(self.machine, len)
        if not isinstance(guest, VcpuGuest):
            raise TypeError("the workload asks for one program a processor")
        self.guest = guest
        self.machine.vm_start()

    def half_second(self) -> list[int]:
        """MiB/s of each processor."""
        before = list(self.guest.done)
        for _ in range(STEPS):
            self._ns += SLICE_NS
            self.machine.clock.fire()
        return [2 * (now - then) // PAGES_PER_MIB for now, then in zip(self.guest.done, before, strict=True)]


def measured() -> list[Sample]:
    """The whole run."""
    world, found = World(), []
    limit = world.machine.dirty_limit
    if limit is None:
        raise TypeError("the accelerator has rings")
    for half in range(2 * SECONDS):
        for index, quota in LIMITS.get(half // 2, {}).items() if half % 2 == 0 else ():
            limit.set(quota, index)
        one, two, reads = world.half_second()
        quotas = limit.quotas
        found.append(Sample((half + 1) / 2, one, two, reads, quotas.get(0, 0), quotas.get(1, 0)))
    return found


def as_csv(samples: list[Sample]) -> str:
    """The samples with a head line."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([Sample._fields, *samples])
    return text.getvalue()


def draw(samples: list[Sample], path: Path) -> None:
    """Draw rates as lines and quotas as dashed ones."""
    import matplotlib as mpl  # noqa: PLC0415 - the numbers do without it

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "dirty-limit", "svg.fonttype": "none", "font.family": "sans-serif"})
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after its settings

    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    seconds = [sample.seconds for sample in samples]
    for name, colour in (("reader", "tab:green"), ("writer_1", "tab:blue"), ("writer_2", "tab:orange")):
        axes.plot(seconds, [getattr(s, name) for s in samples], color=colour, label=name.replace("_", " "))
    for name, colour in (("quota_1", "tab:blue"), ("quota_2", "tab:orange")):
        shown = [getattr(s, name) or float("nan") for s in samples]
        axes.plot(seconds, shown, color=colour, linestyle="--", label=name.replace("_", " of writer "))
    axes.set(xlabel="seconds of the guest's time", ylabel="MiB/s", ylim=(0, 480), xlim=(0, SECONDS))
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="upper center", ncols=5)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Write both files, or print the numbers."""
    samples = measured()
    if "--csv" in sys.argv[1:]:
        sys.stdout.write(as_csv(samples))
        return
    (DOCS / "dirty-limit.csv").write_text(as_csv(samples))
    draw(samples, DOCS / "dirty-limit.svg")


if __name__ == "__main__":
    main()
