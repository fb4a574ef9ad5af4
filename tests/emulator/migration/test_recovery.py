# SPDX-License-Identifier: Apache-2.0
"""Postcopy over a link that breaks: at random bytes, again and again, until all of the guest is over there.

Statuses, refusals and lines are those of real QEMU 7.2.22, 10.0.13 and 11.1.3, to which the same was done.
"""

from __future__ import annotations

import shutil
import socket
import struct
import tempfile
import threading
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from cut_link import CutLink
from migration_machines import enable, memory, runs, status, statuses, target, until

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.bitmaps import missing, packed, wire_size
from migmatrix.emulator.migration.channel import Wake
from migmatrix.emulator.migration.figures import Figures
from migmatrix.emulator.migration.late import Late

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from migration_machines import Box

PAIRS = [("7.2", "7.2"), ("7.2", "11.1"), ("10.0", "10.0"), ("11.1", "10.0"), ("11.1", "11.1")]
MIB = 1
ENDS = ("completed", "failed")


class Sides:
    """A source and a destination in this process, with a link between them that can be cut."""

    def __init__(self, place: Path, old: str, new: str) -> None:
        self.place = place
        self.source, self.destination = runs(old, mib=MIB), target(new, mib=MIB)
        self.before = memory(self.source)
        for side in (self.source, self.destination):
            enable(side, "postcopy-ram", "events")
        self.link = CutLink(place / "front", place / "back")

    @property
    def both(self) -> tuple[Box, Box]:
        return self.source, self.destination

    def start(self, bandwidth: int = 0) -> None:
        """Up to the postcopy, in which `bandwidth` is the limit."""
        limits = {"max-bandwidth": 4096, "max-postcopy-bandwidth": bandwidth}
        self.source.migration.set_parameters(limits)
        self.destination.migration.incoming(f"unix:{self.place / 'back'}")
        self.source.migration.migrate(f"unix:{self.place / 'front'}")
        self.source.migration.start_postcopy()
        status(self.source, "postcopy-active", *ENDS)
        status(self.destination, "postcopy-active", *ENDS)

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
        for side in self.both:
            status(side, "completed")
        assert memory(self.destination) == self.before
        assert (self.source.runstate, self.destination.runstate) == ("postmigrate", "running")


@pytest.fixture
def sides(request: pytest.FixtureRequest) -> Iterator[Sides]:
    place = Path(tempfile.mkdtemp(prefix="rec-", dir="/tmp"))
    made = Sides(place, *request.param)
    with made.link:
        yield made
    shutil.rmtree(place)


def look(sides: Sides, order: list[int]) -> Callable[[], list[int]]:
    """A guest that reads all pages in this order while they come; the answer waits for its end: pages that were wrong."""
    wrong: list[int] = []
    machine, ram = sides.destination, sides.destination.ram_blocks["ram"]

    def read() -> None:
        for page in order:
            with machine.bql:
                found = ram.read(page * 4096, 4096)
            if found != sides.before["ram"][page * 4096 : page * 4096 + 4096]:
                wrong.append(page)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()

    def ended() -> list[int]:
        thread.join()
        return wrong

    return ended


def cut_and_recover(sides: Sides, random: Random) -> int:
    """Cut the link at random bytes of either direction until the end; how often it was paused."""
    times, again = 0, sides.source.migration.traits.recovers_again
    while True:
        ahead, back = random.randrange(1, 100_000), random.randrange(1, 120)
        sides.link.cut_at(sides.link.there + ahead, sides.link.back_again + back)
        sides.source.migration.set_parameters({"max-postcopy-bandwidth": 0})
        until(sides.settled, "a pause or an end")
        if sides.told(sides.destination) == "completed":
            return times
        times += 1
        if not again:  # a source before 8.2 must not be cut off while it recovers
            sides.link.cut_at()
        sides.recover()
        if not again:
            status(sides.source, "postcopy-active", "completed")


def check(sides: Sides, seed: int) -> int:
    random = Random(seed)
    order = list(range(sides.source.ram_blocks["ram"].pages))
    random.shuffle(order)
    sides.start(bandwidth=20_000)
    wrong = look(sides, order)
    times = cut_and_recover(sides, random)
    if status(sides.source, "completed", "postcopy-paused")["status"] == "completed":
        sides.arrived()
    assert memory(sides.destination) == sides.before  # even if nobody told the source that all is there
    assert wrong() == []
    return times


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("sides", PAIRS, ids=">".join, indirect=True)
def test_nothing_is_lost_wherever_the_link_breaks(sides: Sides, seed: int) -> None:
    assert check(sides, seed) > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 42))
@pytest.mark.parametrize("sides", PAIRS, ids=">".join, indirect=True)
def test_nothing_is_lost_wherever_the_link_breaks_slow(sides: Sides, seed: int) -> None:
    check(sides, seed)


OLD = ["setup", "active", "STOP", "postcopy-active", "postcopy-paused"]
WAYS = {
    "7.2": ["postcopy-paused", "postcopy-recover", "postcopy-active", "completed"],
    "10.0": ["postcopy-paused", "postcopy-recover-setup", "postcopy-recover", "postcopy-active", "completed"],
    "11.1": ["postcopy-paused", "postcopy-recover-setup", "postcopy-recover", "postcopy-active", "completed"],
}
LINES = {
    "7.2": ["Detected IO failure for postcopy. Migration paused."],
    "10.0": [
        "Unable to shutdown socket: Bad file descriptor",
        "Detected IO failure for postcopy. Migration paused.",
    ],
}


@pytest.mark.parametrize(
    "sides", [("7.2", "7.2"), ("10.0", "10.0"), ("11.1", "11.1")], ids=">".join, indirect=True
)
@pytest.mark.parametrize("who", ["link", "source", "destination"])
def test_statuses_and_lines_are_those_of_qemu(sides: Sides, who: str) -> None:
    sides.start(bandwidth=20_000)
    if who == "link":
        sides.link.cut()
    else:
        getattr(sides, who).migration.pause()
    sides.paused()
    release = sides.source.release.name
    told = sides.source.migration.query()
    words = (
        "Postcopy migration is paused by the user" if who == "source" else "Channel error: Input/output error"
    )
    assert told.get("error-desc") == (None if release == "7.2" else words)
    assert ("downtime" in told, "expected-downtime" in told) == (release != "7.2", release == "7.2")
    assert sides.destination.migration.query()["socket-address"][0]["type"] == "unix"
    sides.source.migration.set_parameters({"max-postcopy-bandwidth": 0})
    sides.recover()
    sides.arrived()
    events = statuses(sides.source)
    assert [e for e in events[events.index("postcopy-paused") :] if "pass" not in e and e != "STOP"] == WAYS[
        release
    ]
    events = statuses(sides.destination)
    assert events[events.index("postcopy-paused") :] == [
        "postcopy-paused", *(["setup"] if release == "7.2" else []), "postcopy-recover", "postcopy-active", "completed",
    ]  # fmt: skip
    lines = LINES.get(release, LINES["10.0"])
    assert sides.destination.said[-len(lines) :] == lines
    assert sides.source.said[-len(lines) :] == lines


@pytest.mark.parametrize("sides", [("10.0", "10.0"), ("11.1", "11.1")], ids=">".join, indirect=True)
def test_a_link_that_breaks_while_it_recovers_pauses_again(sides: Sides) -> None:
    sides.start(bandwidth=20_000)
    sides.link.cut()
    sides.paused()
    sides.link.cut_at(back_again=sides.link.back_again + 20)  # in the bitmap
    sides.recover()
    until(lambda: statuses(sides.source).count("postcopy-paused") == 2, "the second pause")
    sides.paused()
    assert sides.source.migration.query()["error-desc"] == (
        "read bitmap failed for ramblock 'ram': (size 0x20, got: 0x4)"
    )
    assert "postcopy_do_resume: resume_prepare() failure detected: -1" in sides.source.said
    sides.source.migration.set_parameters({"max-postcopy-bandwidth": 0})
    sides.recover()
    sides.arrived()


@pytest.mark.parametrize("sides", [("7.2", "7.2")], ids=">".join, indirect=True)
def test_a_recovery_that_fails_was_the_last_before_8_2(sides: Sides) -> None:
    sides.start(bandwidth=20_000)
    sides.link.cut()
    sides.paused()
    sides.link.cut_at(back_again=sides.link.back_again + 20)
    sides.recover()
    status(sides.source, "postcopy-recover")
    until(lambda: sides.source.said[-1].startswith("ram_dirty_bitmap_reload: read bitmap failed"), "its line")
    with pytest.raises(QmpError, match="Cannot resume if there is no paused migration"):
        sides.recover()
    sides.source.migration.cancel()
    status(sides.source, "cancelled")


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(QmpError) as error:
        call()
    return error.value.desc


@pytest.mark.parametrize("sides", PAIRS[2:], ids=">".join, indirect=True)
def test_what_is_refused(sides: Sides) -> None:
    here, there = sides.source.migration, sides.destination.migration
    sides.start(bandwidth=20_000)
    assert (
        refused(lambda: there.recover("unix:/x"))
        == "Migrate recover can only be run when postcopy is paused."
    )
    assert (
        refused(lambda: here.migrate("unix:/x", resume=True))
        == "Cannot resume if there is no paused migration"
    )
    assert refused(here.cancel) == "Postcopy migration in progress, cannot cancel."
    sides.link.cut()
    sides.paused()
    pausable = "migrate-pause is currently only supported during postcopy-active or postcopy-recover state"
    assert (refused(here.pause), refused(there.pause)) == (pausable, pausable)
    assert refused(lambda: here.migrate("unix:/x")) == "There's a migration process in progress"
    assert refused(here.cancel) == "Postcopy migration in progress, cannot cancel."
    here.start_postcopy()
    assert refused(lambda: here.migrate("nix:/x", resume=True)) == "unknown migration protocol: nix:/x"
    assert refused(lambda: there.recover("nix:/x")) == "unknown migration protocol: nix:/x"
    assert refused(lambda: there.recover("unix:/no/where")).startswith("Failed to bind socket to /no/where")
    assert "socket-address" not in there.query()
    here.migrate("unix:/no/where", resume=True)
    until(lambda: here.query()["status"] == "postcopy-paused", "the pause")
    assert here.query()["error-desc"] == "Failed to connect to '/no/where': No such file or directory"
    there.recover(f"unix:{sides.place / 'other'}")  # may be named again while nobody has come
    here.set_parameters({"max-postcopy-bandwidth": 0})
    sides.recover()
    sides.arrived()
    assert (
        refused(lambda: there.recover("unix:/x"))
        == "Migrate recover can only be run when postcopy is paused."
    )


@pytest.mark.parametrize("sides", [("7.2", "7.2")], ids=">".join, indirect=True)
def test_an_old_source_that_is_cancelled_keeps_nothing(sides: Sides) -> None:
    sides.start(bandwidth=20_000)
    sides.source.migration.cancel()
    status(sides.source, "cancelled")
    status(sides.destination, "postcopy-paused")
    assert (sides.source.runstate, sides.destination.runstate) == ("postmigrate", "running")


@pytest.mark.parametrize("sides", [("5.2", "5.2")], ids=">".join, indirect=True)
def test_an_old_destination_waits_for_one_link_only(sides: Sides) -> None:
    sides.start(bandwidth=20_000)
    sides.link.cut()
    sides.paused()
    sides.destination.migration.recover(f"unix:{sides.place / 'back'}")
    text = "Migrate recovery is triggered already"
    assert refused(lambda: sides.destination.migration.recover("unix:/x")) == text


def message(code: int, data: bytes) -> bytes:
    return struct.pack(">HH", code, len(data)) + data


BITS = struct.pack(">Q", 0x20)
WRONG = {
    "ramblock 'ram' bitmap size mismatch (0x8 != 0x20)": message(5, b"\3ram") + struct.pack(">Q", 8),
    "ramblock 'ram' end mark incorrect: 0x0": message(5, b"\3ram") + BITS + bytes(0x28),
    "read bitmap failed for ramblock 'ram': (size 0x20, got: 0x3)": message(5, b"\3ram") + BITS + b"123",
    "illegal resume_ack value 2": message(6, struct.pack(">I", 2)),
    "MIG_RP_MSG_RECV_BITMAP has invalid block name 'rom'": message(5, b"\3rom"),
}


@pytest.mark.parametrize("words", WRONG)
@pytest.mark.parametrize("sides", [("10.0", "10.0")], ids=">".join, indirect=True)
def test_a_destination_that_talks_nonsense_is_not_believed(sides: Sides, words: str) -> None:
    sides.start(bandwidth=20_000)
    sides.link.cut()
    sides.paused()
    here, there = socket.socketpair()
    with there:
        sides.source.migration.migrate("fd:it", {"it": here.detach()}.get, resume=True)
        there.sendall(WRONG[words])
        there.shutdown(socket.SHUT_WR)
        until(lambda: statuses(sides.source).count("postcopy-paused") == 2, "the second pause")
    assert sides.source.migration.query()["error-desc"] == words
    sides.source.migration.set_parameters({"max-postcopy-bandwidth": 0})
    sides.recover()
    sides.arrived()


def test_a_bitmap_in_no_recovery_is_refused() -> None:
    source = runs("10.0")
    with pytest.raises(ValueError, match=r"^none$"):
        Late(source.migration, Figures(), Wake()).bitmap_size("ram")


@pytest.mark.parametrize("pages", [0, 1, 7, 8, 63, 64, 65, 1000])
def test_bitmaps_go_there_and_back(pages: int) -> None:
    received = bytearray(Random(pages).choices((0, 1), k=pages))
    bits = packed(received, pages)
    assert len(bits) == wire_size(pages) == -(-pages // 64) * 8
    assert all(bool(bits[n // 8] >> n % 8 & 1) == received[n] for n in range(pages))
    assert missing(bits, pages) == bytearray(1 - r for r in received)
