# SPDX-License-Identifier: Apache-2.0
"""Postcopies of which a side, or both, is killed at a moment: what is left, and what QEMU's document says of it.

Before the package was sent the guest is the source's, and goes on there; behind it neither side has all of it, and who
is left is paused; after the end a dead source costs nothing. What a source has *sent* it tells by its status.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import pytest
from fatal_link import FatalLink, Moment
from guests import DEADLINE, QmpFailed
from real_postcopies import loaded, started

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from random import Random

    from guests import Guest

__all__ = ["STAGES", "WHO", "Trial"]

_OFF = [{"capability": "postcopy-ram", "state": False}]
# Stage to the bytes from which a moment is drawn: the advice is within the first hundred, pages are some 2,800,000.
STAGES: Final = {"advise": 100, "precopy": 400_000, "package": 0, "pages": 1_000_000, "end": 0}
WHO: Final = ("source", "destination", "both")

_RUNS_ON = "failed, running"
_STANDS = "failed, postmigrate"
_WAITS = "postcopy-paused, finish-migrate"
_ENDS = "ended with 1"


class Trial:
    """One postcopy from `kind` to `kind` ("emulator", "qemu") of a release; its guest is in `place`, saved."""

    def __init__(self, kind: str, release: str, place: Path, stage: str, who: str) -> None:
        self.kind, self.release, self.place, self.stage, self.who = kind, release, place, stage, who
        self.sides: dict[str, Guest] = {}

    def run(self, random: Random, before: Mapping[str, bytes]) -> str:
        """Kill; what is left, in words. AssertionError when the document says otherwise, or memory is not as before."""
        with ExitStack() as stack:
            for role in ("source", "destination"):
                self.sides[role] = started(stack, self.kind, self.release, self.place)
            source = self.sides["source"]
            source.command("migrate-incoming", uri=f"exec:cat {self.place / 'before'}")
            source.status("completed")
            source.command("cont")  # what was saved never ran
            self._migrate(stack, random)
            return self._left(before)

    def _migrate(self, stack: ExitStack, random: Random) -> None:
        front, back = self.place / "front", self.place / "back"
        begins = self.stage in ("advise", "precopy")
        named = "begin" if begins else self.stage
        moment = Moment(named, random.random(), STAGES[self.stage])
        link = stack.enter_context(FatalLink(front, back, moment, self._strike))
        source, destination = self.sides["source"], self.sides["destination"]
        for side in (source, destination):
            side.enable("postcopy-ram")
        limits = {"max-bandwidth": 1_000_000 if begins else 4096, "max-postcopy-bandwidth": 0}
        source.command("migrate-set-parameters", **limits)
        destination.command("migrate-incoming", uri=f"unix:{back}")
        source.command("migrate", uri=f"unix:{front}")
        if not begins:
            source.command("migrate-start-postcopy")
        if self.stage == "end":
            for side in (source, destination):
                side.status("completed")
            self._strike()
        else:
            assert link.struck.wait(60), "the moment never came"
        front.unlink()

    def _strike(self) -> None:
        for role in self.dead:
            self.sides[role].kill()

    @property
    def dead(self) -> tuple[str, ...]:
        """Who is killed."""
        return ("source", "destination") if self.who == "both" else (self.who,)

    # -- what is left ----------------------------------------------------------------------------

    def _left(self, before: Mapping[str, bytes]) -> str:
        for role in self.dead:
            assert self.sides[role].process.returncode != 0
        if self.who == "both":
            return "nothing is left"
        role = "destination" if self.who == "source" else "source"
        survivor = self.sides[role]
        expected = self._expected_source if role == "source" else self._expected_destination
        end = time.monotonic() + DEADLINE
        while (found := _state(survivor)) not in expected(survivor):
            words = f"{role} is {found!r}, told {survivor.statuses}, must be {expected(survivor)}"
            assert time.monotonic() < end, words
            time.sleep(0.01)
        self._check(role, survivor, found, before)
        return f"{role}: {found}"

    def _expected_source(self, source: Guest) -> set[str]:
        if self.stage == "end":
            return {"completed, postmigrate"}
        if self.stage in ("advise", "precopy"):
            return {_RUNS_ON}
        if self.release == "7.2":  # it tells the phase before it sends the package, and gives nothing back
            return {_WAITS, _STANDS}
        return {_WAITS} if "postcopy-active" in source.statuses else {_RUNS_ON}

    def _expected_destination(self, destination: Guest) -> set[str]:
        if self.stage == "end":
            return {"completed, running"}
        if self.stage == "pages":  # a guest that has begun waits for pages; else nobody has it
            begun = any(name == "RESUME" for name, _ in destination.events)
            return {"postcopy-paused, running"} if begun else {"postcopy-paused, running", _ENDS}
        return {_ENDS}

    def _check(self, role: str, survivor: Guest, state: str, before: Mapping[str, bytes]) -> None:
        """Whether what is left is of use, as far as it should be."""
        if state.endswith(", running") and "paused" not in state:
            self._saves(survivor, before)
        elif state == _WAITS:
            with pytest.raises(QmpFailed, match="Migration is not finalized yet"):
                survivor.command("cont")
        elif role == "destination" and "paused" in state:
            survivor.command("migrate-recover", uri=f"unix:{self.place / 'other'}")

    def _saves(self, survivor: Guest, before: Mapping[str, bytes]) -> None:
        survivor.command("stop")
        survivor.command("migrate-set-capabilities", capabilities=_OFF)
        survivor.command("migrate-set-parameters", **{"max-bandwidth": 0})
        survivor.command("migrate", uri=f"exec:cat > {self.place / 'after'}")
        survivor.status("completed")
        assert loaded(self.release, self.place / "after") == before


def _state(guest: Guest) -> str:
    """Status of the migration and of the guest, or how the process ended."""
    try:
        told = guest.command("query-migrate").get("status", "none")
        return f"{told}, {guest.command('query-status')['status']}"
    except EOFError:
        return f"ended with {guest.process.returncode}"
