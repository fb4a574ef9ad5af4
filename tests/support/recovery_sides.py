# SPDX-License-Identifier: Apache-2.0
"""A postcopy between two machines in this process over a link that breaks, and a guest that reads all pages meanwhile."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cut_link import CutLink
from migration_machines import DEADLINE, enable, fill, memory, none, status, target, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from migration_machines import Box

__all__ = ["Sides", "look"]

_ENDS = ("completed", "failed")


class Sides:
    """A source and a destination in this process, with a link between them that can be cut; `more` are capabilities.

    With `keeps` the link keeps what went over it, as `CutLink` does.
    """

    def __init__(self, place: Path, source: Box, destination: Box, *more: str, keeps: bool = False) -> None:
        self.place = place
        self.source, self.destination = source, destination
        fill(source)
        source.vm_start()
        self.before = memory(source)
        for side in self.both:
            enable(side, "postcopy-ram", "events", *more)
        self.link = CutLink(place / "front", place / "back", keeps=keeps)

    @classmethod
    def of(cls, place: Path, old: str, new: str, *more: str, mib: int = 1, keeps: bool = False) -> Sides:
        """Sides of two releases."""
        return cls(place, none(old, mib=mib), target(new, mib=mib), *more, keeps=keeps)

    @property
    def both(self) -> tuple[Box, Box]:
        return self.source, self.destination

    def begin(self, bandwidth: int = 0) -> None:
        """Ask for a migration and for its postcopy, in which `bandwidth` is the limit."""
        limits = {"max-bandwidth": 4096, "max-postcopy-bandwidth": bandwidth}
        self.source.migration.set_parameters(limits)
        self.destination.migration.incoming(f"unix:{self.place / 'back'}")
        self.source.migration.migrate(f"unix:{self.place / 'front'}")
        self.source.migration.start_postcopy()

    def start(self, bandwidth: int = 0) -> None:
        """Up to the postcopy."""
        self.begin(bandwidth)
        for side in self.both:
            status(side, "postcopy-active", *_ENDS)
        if not self.source.migration.traits.device_status:
            self._package_has_gone()

    def _package_has_gone(self) -> None:
        """An old source is in postcopy before its package has gone; a link that breaks then fails it, as in QEMU."""
        have_gone = self.link.pages_go()
        until(lambda: have_gone() or self.told(self.source) in _ENDS, "pages")

    def paused(self) -> None:
        for side in self.both:
            status(side, "postcopy-paused")

    def recover(self) -> None:
        """Begin to go on over another link."""
        self.destination.migration.recover(f"unix:{self.place / 'back'}")
        self.source.migration.migrate(f"unix:{self.place / 'front'}", resume=True)

    def told(self, side: Box) -> str:
        return str(side.migration.query().get("status"))

    def settled(self) -> bool:
        """Whether both are paused, or at an end."""
        told = {self.told(side) for side in self.both}
        return told == {"postcopy-paused"} or self.told(self.destination) == "completed"

    def arrived(self) -> None:
        """All of the guest is over there, and runs."""
        self.source.migration.set_parameters({"max-postcopy-bandwidth": 0})
        for side in self.both:
            status(side, "completed")
        assert memory(self.destination) == self.before
        assert (self.source.runstate, self.destination.runstate) == ("postmigrate", "running")

    def page(self, number: int) -> bytes:
        """A page as it was."""
        return self.before["ram"][number * 4096 : number * 4096 + 4096]

    def read(self, number: int) -> bytes:
        """A page as the guest over there reads it."""
        with self.destination.bql:
            return self.destination.ram_blocks["ram"].read(number * 4096, 4096)


def look(sides: Sides, order: list[int]) -> Callable[[], list[int]]:
    """A guest that reads pages in this order while they come; the answer waits for its end: pages that were wrong."""
    wrong: list[int] = []

    def read() -> None:
        wrong.extend(number for number in order if sides.read(number) != sides.page(number))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()

    def ended() -> list[int]:
        thread.join(DEADLINE)
        assert not thread.is_alive(), "the guest still waits for a page"
        return wrong

    return ended
