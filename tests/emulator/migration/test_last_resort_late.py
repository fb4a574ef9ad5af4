# SPDX-License-Identifier: Apache-2.0
"""An exception that nobody foresaw, at every place of a postcopy: before the guest runs over there the source has it,
afterwards the migration is paused, and goes on when the fault is gone.

The places come from the tables (handlers, commands, messages), so that a new one is tried without being named here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from migration_machines import enable, memory, runs, status, statuses, target, until
from short_places import short_place

from migmatrix.emulator.migration.commands import CommandHandler
from migmatrix.emulator.migration.handlers import IterativeDevice
from migmatrix.emulator.migration.late import Late
from migmatrix.emulator.migration.postcopy import Postcopy
from migmatrix.emulator.migration.ram import RamSection
from migmatrix.emulator.migration.ram_load import RamLoader
from migmatrix.emulator.migration.ram_save import RamSaver
from migmatrix.emulator.migration.returnpath import Listener

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HANDLERS = [name for name in vars(IterativeDevice) if name.startswith("save") and "postcopy" in name]
EARLY = {"save_postcopy_prepare", "save_postcopy_begin"}
WORDS = "internal error: ZeroDivisionError: boom"
SLOW, FAST = {"max-postcopy-bandwidth": 20_000}, {"max-postcopy-bandwidth": 0}


def boom(*_: Any, **__: Any) -> NoReturn:
    raise ZeroDivisionError("boom")


def fails_once(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list[str]:
    """Let a method raise the first time; what is returned has its name from then on."""
    real = getattr(owner, name)
    fired: list[str] = []

    def once(*arguments: Any, **more: Any) -> Any:
        if not fired:
            fired.append(name)
            boom()
        return real(*arguments, **more)

    monkeypatch.setattr(owner, name, once)
    return fired


class Pair:
    """Both sides of a postcopy in this process."""

    def __init__(self, place: Path) -> None:
        self.uri = f"unix:{place / 's'}"
        self.source, self.destination = runs("11.1", mib=1), target("11.1", mib=1)
        self.before = memory(self.source)
        for side in (self.source, self.destination):
            enable(side, "postcopy-ram", "events")

    def begin(self) -> None:
        self.source.migration.set_parameters({"max-bandwidth": 4096, **SLOW})
        self.destination.migration.incoming(self.uri)
        self.source.migration.migrate(self.uri)
        self.source.migration.start_postcopy()

    def begins(self) -> None:
        """Up to the postcopy on both sides."""
        self.begin()
        for side in (self.source, self.destination):
            status(side, "postcopy-active")

    def pauses(self, times: int = 1) -> None:
        """Both have paused so often."""
        for side in (self.source, self.destination):
            until(lambda side=side: statuses(side).count("postcopy-paused") >= times, f"pause {times}")  # type: ignore[misc]  # a default binds it
            status(side, "postcopy-paused")

    def go_on(self) -> None:
        self.destination.migration.recover(self.uri)
        self.source.migration.migrate(self.uri, resume=True)

    def recovers(self, times: int = 1) -> None:
        """Paused so often on both sides; then all of the guest arrives."""
        self.pauses(times)
        self.source.migration.set_parameters(FAST)
        self.go_on()
        for side in (self.source, self.destination):
            status(side, "completed")
        assert memory(self.destination) == self.before


@pytest.fixture
def pair() -> Iterator[Pair]:
    with short_place("lr") as place:
        yield Pair(place)


@pytest.mark.parametrize("handler", sorted(EARLY))
def test_before_the_package_the_source_runs_on(pair: Pair, handler: str) -> None:
    setattr(pair.source.migration.ram, handler, boom)
    pair.begin()
    assert status(pair.source)["status"] == "failed"
    assert pair.source.migration.query()["error-desc"] == WORDS
    assert pair.source.migration.outgoing is not None
    pair.source.migration.outgoing.join()
    assert pair.source.runstate == "running"
    until(lambda: pair.destination.ended, "the end of the destination")


def test_all_handlers_of_a_source_are_tried() -> None:
    assert {*HANDLERS} == {*EARLY, *LATE, *ASKED}


LATE = ("save_live_complete_postcopy",)
ASKED = ("save_postcopy_blocks", "save_postcopy_resume")


@pytest.mark.parametrize("place", [(RamSection, handler) for handler in LATE] + [(RamSaver, "iterate")])
def test_after_the_package_a_source_pauses(
    pair: Pair, place: tuple[type, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.begins()
    fired = fails_once(monkeypatch, *place)
    pair.source.migration.set_parameters(FAST)
    until(lambda: fired, "the fault")
    pair.recovers()


ANSWERS = ("bitmap_size", "bitmap", "ready")
IN_RECOVERY = [(RamSection, handler) for handler in ASKED] + [(Late, name) for name in ANSWERS]


@pytest.mark.parametrize("place", [*IN_RECOVERY, (CommandHandler, "handle")], ids=lambda place: place[1])
def test_while_they_recover_both_pause_again(
    pair: Pair, place: tuple[type, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.begins()
    pair.source.migration.pause()
    pair.pauses()
    fired = fails_once(monkeypatch, *place)
    pair.go_on()
    until(lambda: fired, "the fault")
    pair.recovers(times=2)


def test_a_fault_at_a_request_is_found_at_the_end(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody hears requests any more, so the page comes in its turn; the source is not told the end, and pauses."""
    pair.begins()
    fired = fails_once(monkeypatch, Late, "request")
    block = pair.destination.ram_blocks["ram"]
    assert pair.destination.migration.ram.postcopy is not None
    with pair.destination.bql:
        pair.destination.migration.ram.postcopy.missing.when_here(block, block.pages - 1, lambda: None)
    until(lambda: fired, "the fault")
    pair.source.migration.set_parameters(FAST)
    status(pair.source, "postcopy-paused")
    if status(pair.destination, "completed", "postcopy-paused")["status"] == "postcopy-paused":
        pair.recovers()
    assert memory(pair.destination) == pair.before


def test_all_that_a_source_hears_is_tried() -> None:
    assert {name for name in vars(Listener) if name[0] != "_"} == {*ANSWERS, "request", "loaded", "ended"}


@pytest.mark.parametrize("place", [(RamLoader, "load"), (Postcopy, "place")], ids=lambda place: place[1])
def test_a_destination_pauses_whatever_a_page_raises(
    pair: Pair, place: tuple[type, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.begins()
    fired = fails_once(monkeypatch, *place)
    until(lambda: fired, "the fault")
    pair.recovers()


@pytest.mark.parametrize("command", ["listen", "run"])
def test_a_fault_in_the_package_ends_the_destination(
    pair: Pair, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its guest never ran; 11.1's source knows that, and lets its own run on."""
    monkeypatch.setattr(Postcopy, command, boom)
    pair.begin()
    until(lambda: pair.destination.ended, "the end of the destination")
    assert pair.destination.runstate == "inmigrate"
