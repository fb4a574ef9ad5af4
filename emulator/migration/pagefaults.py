# SPDX-License-Identifier: Apache-2.0
"""Pages that a guest wants before they came: who waits for which, and what is asked of the source.

Everything here runs under the machine's lock; who waits gives it up. Requests are written by a thread of their own, so
that nobody holds the lock while the source is slow to read.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from migmatrix.emulator.memory import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.migration.blocktime import Blocktime
    from migmatrix.emulator.migration.returnpath import ReplyPath

__all__ = ["MissingPages"]


class MissingPages:
    """The missing pages of a machine, from `watch` to `end`.

    `requests` counts the pages that were asked for; `change` tells that one came.
    """

    def __init__(self, machine: Machine, replies: ReplyPath, blocktime: Blocktime | None = None) -> None:
        self.change = threading.Condition(machine.bql)
        self._replies = replies
        self._blocks: list[RamBlock] = []
        self._named: dict[str, RamBlock] = {}
        self._wanted: dict[tuple[str, int], list[Callable[[], object]]] = {}
        self._unasked: deque[tuple[RamBlock, int]] = deque()
        self._over = False
        self._held = False
        self._blocktime = blocktime
        self.requests = 0

    def watch(self, blocks: Iterable[RamBlock]) -> None:
        """From now on these blocks come here for what they miss."""
        self._blocks = list(blocks)
        self._named = {block.name: block for block in self._blocks}
        for block in self._blocks:
            block.faults = self
        threading.Thread(target=self._ask, name="fault", daemon=True).start()

    def end(self) -> None:
        """All pages are here."""
        with self.change:
            for block in self._blocks:
                block.faults = block.received = None
            self._over = True
            self.change.notify_all()

    # -- who wants a page -------------------------------------------------------------------------

    def wait(self, block: RamBlock, page: int) -> None:
        """Ask for a page and return when it is here; the lock is free meanwhile."""
        page -= page % (block.page_size // PAGE_SIZE)
        self.when_here(block, page, lambda: None)
        while (block.name, page) in self._wanted:
            self.change.wait()

    def when_here(
        self, block: RamBlock, page: int, then: Callable[[], object], vcpu: int | None = None
    ) -> None:
        """Ask for a page, and with it for all of its host page, and call `then` when it is here.

        `vcpu`: whose guest waits, if one does.
        """
        page -= page % (block.page_size // PAGE_SIZE)
        if block.received is None or block.received[page]:
            then()
            return
        waiting = self._wanted.setdefault((block.name, page), [])
        waiting.append(then)
        if self._blocktime is not None:
            self._blocktime.begin((block.name, page), vcpu)
        if len(waiting) == 1:
            self.requests += 1
            self._unasked.append((block, page))
            self.change.notify_all()

    @property
    def open(self) -> bool:
        """Whether somebody waits for a page."""
        return bool(self._wanted)

    def hold(self) -> None:
        """Ask for nothing until `ask_again`: there is nobody to ask."""
        self._held = True

    def ask_again(self) -> None:
        """Ask for all that is waited for: whoever was asked for it may have forgotten."""
        self._unasked = deque((self._named[name], page) for name, page in self._wanted)
        self._held = False
        self.change.notify_all()

    def _ask(self) -> None:
        while True:
            with self.change:
                while (self._held or not self._unasked) and not self._over:
                    self.change.wait()
                if self._over:
                    return
                block, page = self._unasked.popleft()
            self._replies.request(block.name, page * PAGE_SIZE, block.page_size)

    # -- who brings it ----------------------------------------------------------------------------

    def placed(self, block: RamBlock, page: int) -> None:
        """A host page that begins with `page` is here: those that wait for it go on."""
        if self._blocktime is not None:
            self._blocktime.end((block.name, page))
        for then in self._wanted.pop((block.name, page), ()):
            then()
        self.change.notify_all()
