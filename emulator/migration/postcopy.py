# SPDX-License-Identifier: Apache-2.0
"""The destination of a postcopy: its states, and the commands that lead from one to the next.

States and order: "Postcopy states" in QEMU's `docs/devel/migration/postcopy.rst`; their numbers are in its errors.
Everything here runs under the machine's lock.

1. ADVISE says that memory may come late: from then on each block notes which of its pages came.
2. DISCARD takes pages back that the guest wrote to since they were sent.
3. LISTEN starts a thread that goes on reading the stream, while the package is loaded; from then on a page that is
   not here is waited for.
4. RUN lets the guest run.
5. A link that breaks after RUN pauses; what came stays, what is waited for stays so. Over the next link the source
   asks what came, and RESUME makes pages come again.
"""

from __future__ import annotations

import errno
import threading
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.errors import BackEndError
from migmatrix.emulator.memory import PAGE_SIZE
from migmatrix.emulator.migration.bitmaps import packed
from migmatrix.emulator.migration.faults import LoadFault
from migmatrix.emulator.migration.hostpages import HostPage, size_summary
from migmatrix.emulator.migration.names import c_string
from migmatrix.emulator.migration.pagefaults import MissingPages
from migmatrix.emulator.migration.traits import Traits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.memory import RamBlock, Sharer
    from migmatrix.emulator.migration.blocktime import Blocktime
    from migmatrix.emulator.migration.returnpath import ReplyPath

__all__ = ["Postcopy", "State", "unfit"]

_ADVICE: Final = 16
_RANGE: Final = 16
_NO_FAULTS: Final = (
    "ram_block_enable_notify userfault register: Invalid argument",
    "ram_block_enable_notify failed",
    "cleanup_range: userfault unregister Invalid argument",
)
_LEAST: Final = 1 + 1 + 1 + 1 + _RANGE  # version, a name of one character, its end, a range


class State(IntEnum):
    """QEMU's `PostcopyState`."""

    NONE = 0
    ADVISE = 1
    DISCARD = 2
    LISTENING = 3
    RUNNING = 4
    END = 5


class Postcopy:
    """One incoming migration's postcopy. `allowed`: the capability is on here.

    `blocktime` measures waits for pages, if somebody wants to know. `say` prints a line that is no error of the stream's.
    `recovering`: there is a new link, over which pages do not come yet; `on_recover` is called when they do again.
    """

    def __init__(
        self,
        machine: Machine,
        replies: ReplyPath,
        *,
        allowed: bool,
        blocktime: Blocktime | None = None,
        say: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._blocks: Mapping[str, RamBlock] = machine.ram_blocks
        self._sharers = machine.sharers
        self._say = say
        self._allowed = allowed
        self.state = State.NONE
        self.blocktime = blocktime
        self.missing = MissingPages(machine, replies, blocktime)
        traits = Traits(machine.release.name)
        self._refuses_files = not traits.checks_file_systems and _in_files(machine)
        # of the main channel, and of preempt's
        self.host_pages = HostPage(traits), HostPage(traits, channel=1)
        self._replies = replies
        self._loaded = threading.Condition(machine.bql)
        self._is_loaded = False
        self.recovering = False
        self.on_recover: Callable[[], object] = lambda: None

    def _enter(self, command: str, state: State, *after: State) -> None:
        if self.state not in after:
            raise LoadFault(
                f"CMD_POSTCOPY_{command} in wrong postcopy state ({self.state:d})", errno=errno.EPERM
            )
        self.state = state

    @property
    def listening(self) -> bool:
        """Whether another thread reads the stream."""
        return self.state in (State.LISTENING, State.RUNNING)

    def advise(self, data: bytes) -> None:
        """Memory may come late, or (no data) only bitmaps of disks do; LoadFault when the sides do not fit."""
        self._enter("ADVISE", State.ADVISE, State.NONE)
        if len(data) == _ADVICE and not self._allowed:
            raise LoadFault("RAM postcopy is disabled but have 16 byte advise")
        if not data and self._allowed:
            raise LoadFault("RAM postcopy is enabled but have 0 byte advise")
        if len(data) not in (0, _ADVICE):
            raise LoadFault(f"CMD_POSTCOPY_ADVISE invalid length ({len(data)})")
        if data:
            _compare(int.from_bytes(data[:8]), size_summary(self._blocks.values()), "RAM page sizes")
            _compare(int.from_bytes(data[8:]), PAGE_SIZE, "target page sizes", "d")
            self._ask(self._sharers, lambda sharer: sharer.advise())
            for block in self._blocks.values():
                block.received = bytearray(-(-block.max_size // PAGE_SIZE))
                _drop(block, 0, len(block.data) if block.shared else 0)

    def _ask(self, sharers: Sequence[Sharer], what: Callable[[Sharer], object]) -> None:
        """LoadFault when a process that shares memory cannot do it."""
        for sharer in sharers:
            try:
                what(sharer)
            except BackEndError as error:
                *before, last = error.lines
                raise LoadFault(last, said=tuple(before), errno=errno.EPERM) from error

    def discard(self, data: bytes) -> None:
        """Take pages back; LoadFault for a payload of another form."""
        self._enter("RAM_DISCARD", State.DISCARD, State.ADVISE, State.DISCARD)
        if len(data) < _LEAST:
            raise LoadFault(f"CMD_POSTCOPY_RAM_DISCARD invalid length ({len(data)})")
        if data[0]:
            raise LoadFault(f"CMD_POSTCOPY_RAM_DISCARD invalid version ({data[0]})")
        name, rest = c_string(data[2 : 2 + data[1]]), data[2 + data[1] :]
        if not rest or rest[0]:
            raise LoadFault(f"CMD_POSTCOPY_RAM_DISCARD missing nil ({rest[0] if rest else 0})")
        if (len(rest) - 1) % _RANGE:
            raise LoadFault(f"CMD_POSTCOPY_RAM_DISCARD invalid length ({len(data)})")
        for at in range(1, len(rest), _RANGE):
            self._forget(name, int.from_bytes(rest[at : at + 8]), int.from_bytes(rest[at + 8 : at + _RANGE]))

    def _forget(self, name: str, start: int, length: int) -> None:
        block = self._blocks.get(name)
        if block is None:
            raise LoadFault(f"ram_discard_range: Failed to find block '{name}'")
        if block.page_size > PAGE_SIZE and start % block.page_size:
            raise LoadFault(f"ram_block_discard_range: Unaligned start address: {start:#x}")
        if block.page_size > PAGE_SIZE and length % block.page_size:
            raise LoadFault(f"ram_block_discard_range: Unaligned length: {length:x}")
        if start % PAGE_SIZE or length % PAGE_SIZE or start + length > block.used_length:
            raise LoadFault(
                f"ram_block_discard_range: Overrun block '{name}' ({start:#x}/{length:#x}/{block.used_length:#x})"
            )
        _drop(block, start, length)

    def listen(self) -> None:
        """Pages that are not here are waited for from now on."""
        self._enter("LISTEN", State.LISTENING, State.ADVISE, State.DISCARD)
        if self._refuses_files:
            raise LoadFault(said=_NO_FAULTS, errno=errno.EPERM)
        self.missing.watch(self._blocks.values())
        self._ask(self._sharers, lambda sharer: sharer.listen(self.missing))

    def place(self, block: RamBlock, at: int, page: bytes) -> None:
        """Put a host page where it belongs; LoadFault when it is there already: a guest may have written to it since."""
        first, end = at // PAGE_SIZE, (at + len(page)) // PAGE_SIZE
        if block.received is None or 1 in block.received[first:end]:
            raise LoadFault(
                said=(f"postcopy_place_page: File exists copy host: {block.name} {at:#x}",),
                errno=errno.EEXIST,
            )
        block.place(at, page)
        self.missing.placed(block, first)

    def run(self) -> None:
        """The package is here: the guest may run."""
        self._enter("RUN", State.RUNNING, State.LISTENING)

    def loaded(self) -> None:
        """The package is loaded, and the guest may run."""
        self._is_loaded = True
        self._loaded.notify_all()

    # -- when a link breaks ------------------------------------------------------------------------

    def pause(self) -> None:
        """The link is broken: ask for nothing."""
        self.recovering = False
        for page in self.host_pages:
            page.drop()
        self.missing.hold()

    def tell(self, name: str) -> bool:
        """Tell the source which pages of a block came; False when this is no recovery, and it is not told."""
        if not self.recovering:
            return False
        block = self._blocks[name]
        assert block.received is not None  # noqa: S101 - from ADVISE to END
        self._replies.bitmap(name, packed(block.received, block.pages))
        return True

    def resume(self) -> bool:
        """The source knows what is missing: ask again for what is waited for; False when this is no recovery."""
        if not self.recovering:
            return False
        self.recovering = False
        self.on_recover()
        self._replies.ready()
        self.missing.ask_again()
        return True

    def wait_for_package(self) -> None:
        """Return when all of the package is loaded."""
        while self.listening and not self._is_loaded:
            self._loaded.wait()

    def end(self) -> None:
        """Nothing is missing any more; waits for the package."""
        self.wait_for_package()
        self.state = State.END
        for sharer in self._sharers:
            try:
                sharer.end()
            except BackEndError as error:  # it is of no use any more, but the guest is
                for line in error.lines:
                    self._say(line)
        self.missing.end()
        for block in self._blocks.values():
            block.received = None


def _drop(block: RamBlock, start: int, length: int) -> None:
    """LoadFault where the file system cannot take pages out of a file."""
    try:
        block.drop(start, length)
    except OSError as error:
        words = f"ram_block_discard_range: Failed to fallocate {block.name}:{start:x} +{length:x} (-{error.errno})"
        raise LoadFault(words) from error


def unfit(machine: Machine, traits: Traits, say: Callable[[str], object]) -> str:
    """Words for why a postcopy cannot come to this machine, "" when it can; older releases print the reason."""
    reason = next(filter(None, (sharer.probe() for sharer in machine.sharers)), "")
    if not reason and traits.checks_file_systems and _in_files(machine):
        reason = "Host backend files need to be TMPFS or HUGETLBFS only"
    if not reason or traits.tells_unfit:
        return f"Postcopy is not supported: {reason}" if reason else ""
    say(reason)
    return "Postcopy is not supported"


def _in_files(machine: Machine) -> bool:
    return any(block.no_faults for block in machine.ram_blocks.values())


def _compare(theirs: int, ours: int, what: str, form: str = "x") -> None:
    if theirs != ours:
        raise LoadFault(f"Postcopy needs matching {what} (s={theirs:{form}} d={ours:{form}})")
