# SPDX-License-Identifier: Apache-2.0
"""Postcopy over a link that breaks, and goes on over another one; by the number in `test_recovery_trials.py`.

Statuses, refusals and lines are those of real QEMU 7.2.22, 10.0.13 and 11.1.3, to which the same was done.
"""

from __future__ import annotations

import socket
import struct
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from migration_machines import runs, status, statuses, until
from recovery_sides import Sides
from short_places import short_place

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.bitmaps import missing, packed, wire_size
from migmatrix.emulator.migration.channel import Wake
from migmatrix.emulator.migration.figures import Figures
from migmatrix.emulator.migration.late import Late

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAIRS = [("7.2", "7.2"), ("7.2", "11.1"), ("10.0", "10.0"), ("11.1", "10.0"), ("11.1", "11.1")]


@pytest.fixture
def sides(request: pytest.FixtureRequest) -> Iterator[Sides]:
    with short_place("rec") as place:
        made = Sides.of(place, *request.param)
        with made.link:
            yield made


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
    status(sides.destination, "postcopy-paused")
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
