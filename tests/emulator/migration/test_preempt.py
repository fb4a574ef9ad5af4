# SPDX-License-Identifier: Apache-2.0
"""postcopy-preempt between two machines in this process: which pages go over which of two connections, and when.

`Taps` stands between the sides and keeps what went over each connection, in the order in which these were made.
Order, words and statuses are those of real QEMU 7.2.22, 10.0.13 and 11.1.3 (`test_preempt_with_qemu.py`).
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
from cut_link import CutLink
from migration_machines import enable, memory, none, runs, status, target, until

from migmatrix.emulator.errors import QmpError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from migration_machines import Box

PAIRS = [
    ("7.2", "7.2"),
    ("7.2", "11.1"),
    ("8.0", "8.0"),
    ("10.0", "10.0"),
    ("11.1", "10.0"),
    ("11.1", "11.1"),
]
CAPABILITIES = ("postcopy-ram", "postcopy-preempt", "events")
SLOW = 20_000  # bytes per second
EOS = (0x10).to_bytes(8)


class Sides:
    """A source and a destination, with a link between them that is listened to and can be cut."""

    def __init__(self, place: Path, old: str, new: str, *more: str) -> None:
        self.place = place
        self.source, self.destination = runs(old, mib=1), target(new, *more, mib=1)
        self.before = memory(self.source)
        for side in (self.source, self.destination):
            enable(side, *CAPABILITIES)
        self.link = CutLink(place / "front", place / "back", keeps=True)

    def start(self) -> None:
        """Up to the postcopy."""
        self.begin()
        for side in (self.source, self.destination):
            status(side, "postcopy-active", "failed")

    def begin(self) -> None:
        self.source.migration.set_parameters({"max-bandwidth": 4096, "max-postcopy-bandwidth": SLOW})
        self.destination.migration.incoming(f"unix:{self.place / 'back'}")
        self.source.migration.migrate(f"unix:{self.place / 'front'}")
        self.source.migration.start_postcopy()

    def recover(self) -> None:
        for side in (self.source, self.destination):
            status(side, "postcopy-paused")
        self.destination.migration.recover(f"unix:{self.place / 'back'}")
        self.source.migration.migrate(f"unix:{self.place / 'front'}", resume=True)

    def arrived(self) -> None:
        """All of the guest is over there, and runs."""
        self.source.migration.set_parameters({"max-postcopy-bandwidth": 0})
        for side in (self.source, self.destination):
            status(side, "completed")
        assert memory(self.destination) == self.before
        assert (self.source.runstate, self.destination.runstate) == ("postmigrate", "running")

    def page(self, number: int) -> bytes:
        return self.before["ram"][number * 4096 : number * 4096 + 4096]

    def read(self, number: int) -> bytes:
        with self.destination.bql:
            return self.destination.ram_blocks["ram"].read(number * 4096, 4096)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory short enough for UNIX sockets."""
    path = Path(tempfile.mkdtemp(prefix="pre-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def sides(request: pytest.FixtureRequest, place: Path) -> Iterator[Sides]:
    made = Sides(place, *request.param)
    with made.link:
        yield made


def in_background(read: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("sides", PAIRS, ids=">".join, indirect=True)
def test_what_a_guest_waits_for_comes_past_everything_else(sides: Sides) -> None:
    sides.start()
    for number in (201, 198, 198, 33):
        assert sides.read(number) == sides.page(number)
    assert sides.source.migration.query()["status"] == "postcopy-active", "the background is slow"
    sides.arrived()
    main, urgent = sides.link.kept
    old = sides.source.release.name == "7.2"
    ended = EOS if old else b""
    records = [(201, True), (198, old), (33, old)]
    assert urgent == b"".join(record(sides, *each) for each in records) + ended
    assert sides.page(201) not in main
    assert sides.source.migration.query()["ram"]["postcopy-requests"] >= 3


def record(sides: Sides, number: int, named: bool) -> bytes:
    """A page as the first one of a block's (`named`), or as a later one."""
    word = number * 4096 | 0x08 | (0 if named else 0x20)
    return word.to_bytes(8) + (b"\x03ram" if named else b"") + sides.page(number)
