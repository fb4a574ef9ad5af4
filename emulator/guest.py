# SPDX-License-Identifier: Apache-2.0
"""Guest programs: what runs in the machine while it runs.

`Heartbeat` is the firmware: it writes a line to the debug console now and then, for ever. `WorkloadGuest` is a program
that works on memory and checks itself, so that after a migration it proves that nothing was lost:

1. The working set is `pages` pages of guest RAM after a header page. Step k writes one of them; the order is a walk
   with a stride that reaches every page once in `pages` steps (a generation), so which step wrote a page last is
   computed, never stored: memory use does not depend on the size of the working set.
2. What a page holds follows from seed, page and step. Before a page is written, what is there must be what the
   last generation wrote; after a load, all pages and the header are gone through once more.
3. The step counter is in the section ``workload`` and in the header page; both must agree.
4. A wrong page is said on the console, the guest panics (event GUEST_PANICKED) and does not go on.
5. Work is done in slices on the main loop, under the machine's lock; how much is due comes from the virtual clock.
   A machine that is throttled gives its guest that much less time to work; a processor with a dirty limit sleeps
   whenever its dirty ring is full.
6. A slice never waits for a page that has not come: it stops there, and goes on when the page is here.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.dirtyring import Vcpu
from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.memory import PAGE_SIZE, PageMissingError
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import uint64, uint64_equal

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.options.records import Workload

__all__ = [
    "FIRST_PAGE",
    "SLICE_PAGES",
    "VMSTATE_WORKLOAD",
    "Heartbeat",
    "Walk",
    "WorkloadGuest",
    "start_guest",
]

_BEAT_NS: Final = 50_000_000
_SLICE_NS: Final = 5_000_000
SLICE_PAGES: Final = 512  # about a millisecond of work, so that a monitor never waits long
FIRST_PAGE: Final = 256  # the header; above what firmware and interrupt tables would use
_MAGIC: Final = b"migmatrix-workload"
_WORD: Final = (1 << 64) - 1

VMSTATE_WORKLOAD: Final = VMState(
    "workload",
    version_id=1,
    minimum_version_id=1,
    fields=(uint64_equal("pages"), uint64_equal("seed"), uint64("steps")),
    post_load=lambda guest, _version: guest.loaded(),
)


def start_guest(machine: Machine, write: Callable[[bytes], object]) -> Heartbeat:
    """The program that the command line asks for; FatalError when it does not fit. `write` is the console."""
    workload = machine.options.workload
    if workload is None:
        return Heartbeat(machine, write)
    block = max(machine.ram_blocks.values(), key=lambda b: b.used_length, default=None)
    regions = 1 if workload.readers is None else machine.smp.cpus
    needed = (FIRST_PAGE + 1 + workload.pages * regions) * PAGE_SIZE
    if block is None or block.used_length < needed:
        raise FatalError(f"-workload pages={workload.pages}: needs {needed} bytes of guest memory")
    if workload.readers is not None:
        from migmatrix.emulator.vcpuguest import VcpuGuest  # noqa: PLC0415 - few guests have a program each

        return VcpuGuest(machine, write, workload, block)
    return WorkloadGuest(machine, write, workload, block)


class Heartbeat:
    """Firmware that has nothing to boot: one line per beat of the virtual clock."""

    def __init__(self, machine: Machine, write: Callable[[bytes], object]) -> None:
        self._machine = machine
        self._write = write
        self._beats = 0
        self._beat = machine.clock.timer(self._say)
        machine.on_change(self._changed)

    def _changed(self, running: bool, _state: str) -> None:
        if running:
            self._beat.arm(self._machine.clock.now())

    def _say(self) -> None:
        self._beats += 1
        self.print(self.line())
        self._beat.arm(self._machine.clock.now() + _BEAT_NS)

    def line(self) -> str:
        """The line that a beat prints."""
        return f"firmware: beat {self._beats}"

    def print(self, line: str) -> None:
        """Write a line to the debug console."""
        self._write(line.encode() + b"\n")


class WorkloadGuest(Heartbeat):
    """The memory program; see the rules above. Its attributes are the fields of its section."""

    description = VMSTATE_WORKLOAD

    def __init__(
        self, machine: Machine, write: Callable[[bytes], object], workload: Workload, block: RamBlock
    ) -> None:
        self.pages, self.rate, self.seed = workload.pages, workload.rate, workload.seed
        self.steps = 0
        self._block = block
        self._walk = Walk(self.pages)
        self._unchecked = 0  # pages still to go through after a load
        self._vcpus = [Vcpu(machine, 0, self.rate)]
        self._panicked = False
        super().__init__(machine, write)
        self._work = machine.clock.timer(self._slice)
        machine.registry.register(self.description, self)

    def line(self) -> str:
        """The number of the step that the program has reached."""
        return f"workload: step {self.steps} of seed {self.seed}"

    def loaded(self) -> None:
        """After a load: go through everything before anything is written."""
        self._unchecked = self.pages

    def _changed(self, running: bool, state: str) -> None:
        super()._changed(running, state)
        if running and not self._panicked:
            self._begin()
            self._work.arm(self._machine.clock.now())

    def _begin(self) -> None:
        for vcpu in self._vcpus:
            vcpu.begin()

    def _slice(self) -> None:
        with self._machine.bql:
            # stopped while this waited for the lock: what it wrote would be lost
            if not self._machine.running:
                return
            try:
                wrong = self._check_slice() if self._unchecked else self._write_slice()
            except PageMissingError as missing:
                self._machine.migration.when_here(missing, self._go_on)
                return
            if wrong:
                self._panic(wrong)
                return
        self._work.arm(self._machine.clock.now() + (0 if self._unchecked else _SLICE_NS))

    def _go_on(self) -> None:
        """The page is here, says another thread."""
        self._work.arm(self._machine.clock.now())
        self._machine.clock.wake()

    def _check_slice(self) -> str:
        """Go through some pages after a load; the header first. What is wrong, or ""."""
        if self._unchecked == self.pages and self._header() != self._read(0):
            return "the header is not of this step"
        for page in range(self.pages - self._unchecked, self.pages)[:SLICE_PAGES]:
            if wrong := self._wrong(page):
                return wrong
            self._unchecked -= 1
        self._begin()
        return ""

    def _write_slice(self) -> str:
        """Do the steps that are due, as many as fit a slice. What is wrong, or ""."""
        (vcpu,) = self._vcpus
        before = self.steps
        try:
            return self._steps(vcpu, vcpu.due(SLICE_PAGES))
        finally:
            vcpu.worked(self.steps - before)
            if self.steps > before:
                self._block.write(FIRST_PAGE * PAGE_SIZE, self._header())

    def _steps(self, vcpu: Vcpu, steps: int) -> str:
        for _ in range(steps):
            page = self._walk.page(self.steps)
            if wrong := self._wrong(page):
                return wrong
            self._block.write(self._offset(page), self._content(page, self.steps))
            self.steps += 1
            if vcpu.wrote(self._block, FIRST_PAGE + 1 + page, FIRST_PAGE + 2 + page):
                break
        return ""

    def _wrong(self, page: int) -> str:
        """Why what a page holds is not what its last step wrote, or ""."""
        step = self._walk.last_step(page, self.steps)
        wanted = bytes(PAGE_SIZE) if step < 0 else self._content(page, step)
        if self._read(page + 1) == wanted:
            return ""
        return f"page {page} does not hold what step {step} wrote"

    def _offset(self, page: int) -> int:
        return (FIRST_PAGE + 1 + page) * PAGE_SIZE

    def _read(self, index: int) -> bytes:  # 0 is the header, 1 the first page of content
        start = (FIRST_PAGE + index) * PAGE_SIZE
        self._block.need(start, PAGE_SIZE)
        return self._block.read(start, PAGE_SIZE)

    def _content(self, page: int, step: int) -> bytes:
        """A page: a header that names seed, page and step, then a word that depends on all of them."""
        head = b"".join(number.to_bytes(8, "little") for number in (self.seed & _WORD, page, step))
        word = _mix(_mix(self.seed ^ page) ^ step).to_bytes(8, "little")
        return head + word * ((PAGE_SIZE - len(head)) // 8)

    def _header(self) -> bytes:
        numbers = b"".join(n.to_bytes(8, "little") for n in (self.seed & _WORD, self.pages, self.steps))
        return (_MAGIC + numbers).ljust(PAGE_SIZE, b"\0") if self.steps else bytes(PAGE_SIZE)

    def _panic(self, wrong: str) -> None:
        self._panicked = True
        self.print(f"workload: {wrong} (step {self.steps}, seed {self.seed})")
        self._machine.emit("GUEST_PANICKED", {"action": "pause"})
        self._machine.vm_stop("guest-panicked")


class Walk:
    """The order in which `pages` pages are written: consecutive steps are far apart, no page comes twice a round."""

    def __init__(self, pages: int) -> None:
        stride = max(1, pages * 618 // 1000)
        while gcd(stride, pages) != 1:
            stride += 1
        self._pages, self._stride = pages, stride
        self._back = pow(stride, -1, pages)

    def page(self, step: int) -> int:
        """The page that a step writes."""
        return step * self._stride % self._pages

    def last_step(self, page: int, steps: int) -> int:
        """The last of the first `steps` steps that wrote a page, -1 when none has."""
        first = page * self._back % self._pages
        rounds = (steps - 1 - first) // self._pages
        return first + rounds * self._pages if rounds >= 0 else -1


def _mix(value: int) -> int:
    """A 64-bit mix of a number (the finaliser of splitmix64, public domain)."""
    value = (value + 0x9E3779B97F4A7C15) & _WORD
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _WORD
    return value ^ (value >> 31)
