# SPDX-License-Identifier: Apache-2.0
"""Recoveries by the number: links cut at seeded bytes of either direction until all of the guest is over there.

``MIGMATRIX_RECOVERIES=1000`` makes so many in all, by default two of each set. A recovery counts when the link was cut
in the postcopy, both sides were paused, and went on. The guest reads all pages meanwhile, and its memory is compared at
the end, byte by byte. `trial_counts` tells how to have a table of where the cuts were.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import pytest
from migration_machines import memory, status, statuses, until
from recovery_sides import Sides, look
from trial_counts import note, share

PAIRS = [
    ("7.2", "7.2"),
    ("7.2", "11.1"),
    ("10.0", "10.0"),
    ("10.0", "11.1"),
    ("11.1", "10.0"),
    ("11.1", "11.1"),
]
SETS = [(*pair, kind) for pair in PAIRS for kind in ("plain", "preempt")]
COUNT = share("MIGMATRIX_RECOVERIES", 2 * len(SETS), len(SETS))
# Where to cut next: so many bytes on at most, towards the destination and back. What a source asks in a recovery has
# some 20 bytes, what a destination answers some 160 (its bitmaps); all pages have 1,400,000.
AIMS = {
    "question": (40, 0),
    "answer": (0, 200),
    "requests": (0, 2000),
    "pages": (300_000, 0),
    "rest": (1_400_000, 0),
}
MIB = 4


def aim(sides: Sides, random: Random, *, recovers: bool) -> None:
    """Choose the byte at which the link breaks next; one that recovers can be met there, too."""
    names = list(AIMS) if recovers else ["requests", "pages", "rest"]
    ahead, back = AIMS[random.choice(names)]
    there = {"there": sides.link.there + random.randrange(1, ahead)} if ahead else {}
    again = {"back_again": sides.link.back_again + random.randrange(1, back)} if back else {}
    sides.link.cut_at(**there, **again)


def stage(sides: Sides, seen: int, back: int) -> str:
    """Where the cut was: `seen` statuses and `back` bytes of answers are of links before."""
    if "postcopy-active" in statuses(sides.source)[seen:]:
        sent = sides.source.migration.query()["ram"]["remaining"] == 0
        return "among pages, the last one sent" if sent else "among pages"
    return "in the bitmaps" if sides.link.back_again > back else "before the bitmaps"


def recoveries(sides: Sides, random: Random) -> list[str]:
    """Cut and recover until the destination has all; where each cut was that paused both."""
    stages: list[str] = []
    again, seen, back = sides.source.migration.traits.recovers_again, 0, 0
    aim(sides, random, recovers=False)
    while True:
        sides.source.migration.set_parameters({"max-postcopy-bandwidth": 0})
        until(sides.settled, "a pause or an end")
        if sides.told(sides.destination) == "completed":
            return stages
        stages.append(stage(sides, seen, back))
        seen, back = len(statuses(sides.source)), sides.link.back_again
        if again:
            aim(sides, random, recovers=True)
            sides.recover()
            # each link gets there, if only to break; until then the destination still tells of the pause before
            until(lambda: statuses(sides.destination).count("postcopy-recover") == len(stages), "the link")
        else:  # a source before 8.2 must not be cut off while it recovers
            sides.recover()
            status(sides.source, "postcopy-active", "completed")
            aim(sides, random, recovers=False)


def trial(place: Path, old: str, new: str, more: list[str], seed: int) -> list[str]:
    """One postcopy; where its link was cut."""
    sides, random = Sides.of(place, old, new, *more, mib=MIB), Random(seed)
    with sides.link:
        sides.start(bandwidth=20_000)
        wrong = look(sides, random.sample(range(MIB * 256), MIB * 256))
        stages = recoveries(sides, random)
        if status(sides.source, "completed", "postcopy-paused")["status"] == "completed":
            sides.arrived()
        assert memory(sides.destination) == sides.before  # even if nobody told the source that all is there
        assert wrong() == []
    return stages


@pytest.mark.timeout(300 + 10 * COUNT)
@pytest.mark.parametrize(("old", "new", "kind"), SETS)
def test_nothing_is_lost_wherever_the_link_breaks(old: str, new: str, kind: str) -> None:
    done = seed = 0
    while done < COUNT:
        with tempfile.TemporaryDirectory(prefix="rec-", dir="/tmp") as place:
            more = ["postcopy-preempt"] if kind == "preempt" else []
            stages = trial(Path(place), old, new, more, seed)
        for where in stages:
            note("recovery", f"{old}>{new} {kind}", seed, where)
        done, seed = done + len(stages), seed + 1
