# SPDX-License-Identifier: Apache-2.0
"""A guest with a program on each virtual processor: the first ones write to memory, the last `readers` read it.

1. Each has `pages` pages of its own, in order of the processors, and goes through them again and again (a round).
2. A round writes the first byte of each page, one more than the last round did, as the guest of QEMU's own tests of
   migration does. Before it is written, and when it is read, it must be the last round's. Readers write nothing.
3. How far each has come is in the section ``workload/vcpus``; after a load everything is gone through once.

That is little to copy, so that a test affords the hundreds of MiB a second at which a dirty limit does something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from migmatrix.emulator.dirtyring import Vcpu
from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.guest import FIRST_PAGE, SLICE_PAGES, WorkloadGuest
from migmatrix.emulator.memory import PAGE_SIZE
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import uint32_equal, uint64, uint64_equal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.options.records import Workload

__all__ = ["VMSTATE_VCPUS", "VcpuGuest"]

_MOST: Final = 4 * SLICE_PAGES  # in a slice, of one processor

VMSTATE_VCPUS: Final = VMState(
    "workload/vcpus",
    version_id=1,
    minimum_version_id=1,
    fields=(
        uint64_equal("pages"),
        uint64_equal("seed"),
        uint32_equal("count"),
        uint32_equal("readers"),
        uint64("done", count="count"),
    ),
    post_load=lambda guest, _version: guest.loaded(),
)


class VcpuGuest(WorkloadGuest):
    """All programs; see the rules above. `done` has the pages that each processor has written or read."""

    description = VMSTATE_VCPUS

    def __init__(
        self, machine: Machine, write: Callable[[bytes], object], workload: Workload, block: RamBlock
    ) -> None:
        self.count, self.readers = machine.smp.cpus, workload.readers or 0
        if self.readers > self.count:
            raise FatalError(f"-workload readers={self.readers}: there are {self.count} processors")
        self.done = [0] * self.count
        super().__init__(machine, write, workload, block)
        self._vcpus = [Vcpu(machine, index, self.rate) for index in range(self.count)]

    def line(self) -> str:
        """How far each processor has come."""
        return f"workload: {' '.join(map(str, self.done))} pages of seed {self.seed}"

    def loaded(self) -> None:
        """After a load: go through everything before anything is written."""
        self._unchecked = self.pages * self.count

    def _check_slice(self) -> str:
        """Go through a run of pages after a load. What is wrong, or ""."""
        at = self.pages * self.count - self._unchecked
        index, page = divmod(at, self.pages)
        end = min(page + _MOST, self.pages)
        for first, stop, written in self._parts(index, page, end):
            if wrong := self._wrong_run(index, first, stop, written):
                return wrong
        self._unchecked -= end - page
        self._begin()
        return ""

    def _parts(self, index: int, page: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The part of a run that this round has written already, and the rest; each with the rounds that wrote it."""
        rounds, reached = divmod(self.done[index], self.pages)
        between = min(max(reached, page), end)
        if page < between:
            yield page, between, rounds + 1
        if between < end:
            yield between, end, rounds

    def _write_slice(self) -> str:
        """Do what is due on each processor. What is wrong, or ""."""
        for index in range(self.count):
            if wrong := self._work_on(index):
                return wrong
        return ""

    def _work_on(self, index: int) -> str:
        vcpu, left = self._vcpus[index], self._vcpus[index].due(_MOST)
        waits = False
        while left and not waits:
            rounds, page = divmod(self.done[index], self.pages)
            end = page + vcpu.room(min(left, self.pages - page))
            if wrong := self._wrong_run(index, page, end, rounds):
                return wrong
            waits = self._writes(index) and self._write_run(index, page, end, rounds + 1)
            self.done[index] += end - page
            vcpu.worked(end - page)
            left -= end - page
        return ""

    def _writes(self, index: int) -> bool:
        return index < self.count - self.readers

    def _write_run(self, index: int, page: int, end: int, round_: int) -> bool:
        """Write pages; True when the processor waits now."""
        first = self._first(index, page)
        self._block.touch(first, first + end - page, self._byte(index, round_))
        return self._vcpus[index].wrote(self._block, first, first + end - page)

    def _wrong_run(self, index: int, page: int, end: int, rounds: int) -> str:
        first, count = self._first(index, page), end - page
        self._block.need(first * PAGE_SIZE, count * PAGE_SIZE)
        wanted = self._byte(index, rounds)
        found = self._block.first_bytes(first, first + count)
        if found == bytes((wanted,)) * count:
            return ""
        at = next(at for at, byte in enumerate(found) if byte != wanted)
        return f"page {page + at} of processor {index} does not hold what round {rounds} wrote"

    def _first(self, index: int, page: int) -> int:
        """The page of the block."""
        return FIRST_PAGE + 1 + index * self.pages + page

    def _byte(self, index: int, rounds: int) -> int:
        """What a round leaves in each page; 0 before the first."""
        return (self.seed + index + rounds) & 0xFF if rounds and self._writes(index) else 0
