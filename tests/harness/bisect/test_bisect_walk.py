# SPDX-License-Identifier: Apache-2.0
"""Walking a search: the journal on the disk, preparing ahead, what stops it."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING

import pytest
from simulation import FOLLOWED, World

from migmatrix.harness.bisect import Kind, Rules, Run, Shown
from migmatrix.harness.bisect.journal import Journal
from migmatrix.harness.bisect.walk import walk
from migmatrix.harness.errors import BuildError, UserError

if TYPE_CHECKING:
    from pathlib import Path

    from migmatrix.harness.bisect import Finding

TASK = {"points": 16}


class Points:
    """A prober of a world; notes what is done, and fails at the `broken` run."""

    def __init__(self, world: World, broken: int = -1) -> None:
        self.world, self.broken = world, broken
        self.prepared: list[int] = []
        self.stopped: list[int] = []
        self.ran: list[int] = []
        self.ready_before_run: list[bool] = []
        self.held: dict[int, asyncio.Event] = {}

    async def prepare(self, point: int) -> str:
        try:
            if point in self.held:
                await self.held[point].wait()
        except asyncio.CancelledError:
            self.stopped.append(point)
            raise
        if point not in self.prepared:
            self.prepared.append(point)
        return "no build" if point in self.world.untestable else ""

    async def run(self, point: int) -> Run:
        if len(self.ran) == self.broken:
            raise BuildError("the disk is full")
        await asyncio.sleep(0)  # lets what is prepared ahead get ahead
        self.ready_before_run.append(point in self.prepared)
        self.ran.append(point)
        return self.world.run(point, random.Random(0))


def searched(points: Points, path: Path, rules: Rules | None = None) -> Finding:
    with Journal.open(path, TASK) as journal:
        return asyncio.run(walk(points.world.size, points, journal, rules or Rules(), lambda _run: None))


def test_a_search_that_the_host_stopped_goes_on_from_its_journal(tmp_path: Path) -> None:
    world = World(16, 11, untestable=frozenset({7, 8}))
    whole = Points(world)
    expected = searched(whole, tmp_path / "whole.jsonl")
    broken = Points(world, broken=8)
    with pytest.raises(BuildError):
        searched(broken, tmp_path / "journal.jsonl")
    again = Points(world)
    assert searched(again, tmp_path / "journal.jsonl") == expected
    assert broken.ran + again.ran == whole.ran


def test_both_next_points_are_prepared_while_one_is_run(tmp_path: Path) -> None:
    points = Points(World(16, 11))
    searched(points, tmp_path / "journal.jsonl")
    assert all(points.ready_before_run)
    fresh = dict.fromkeys(points.ran)
    # on the way to the culprit the other half was prepared as well, and never run
    assert set(points.prepared) > set(fresh)


def test_what_can_no_longer_come_next_is_not_prepared_to_the_end(tmp_path: Path) -> None:
    points = Points(World(16, 11))
    points.held = {4: asyncio.Event()}  # the point after a failure in the middle, which passes
    finding = searched(points, tmp_path / "journal.jsonl")
    assert finding.culprits == (11,)
    assert points.stopped == [4]


def test_a_journal_line_is_written_before_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    seen: list[int] = []

    class Watched(Points):
        async def run(self, point: int) -> Run:
            seen.append(len(path.read_text().splitlines()) - 1)
            return await super().run(point)

    searched(Watched(World(16, 11)), path)
    assert seen == list(range(len(seen)))
    assert json.loads(path.read_text().splitlines()[0])["task"] == TASK


def test_a_line_that_a_crash_cut_off_is_run_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    searched(Points(World(16, 11)), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    points = Points(World(16, 11))
    assert searched(points, path).kind is Kind.FOUND
    assert len(points.ran) == 1
    with Journal.open(path, TASK) as journal:
        assert journal.resumed == len(whole.splitlines()) - 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"format": 1, "task": {"points": 17}}\n', "another search"),
        ("what\n", "not a journal"),
        ('{"format": 1, "task": {"points": 16}}\n{"point": 1}\n', "not a journal"),
        ('{"format": 1, "task": {"points": 16}}\n{"point": 1, "shown": "perhaps"}\n', "not a journal"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=problem), Journal.open(path, TASK):
        pass
    assert path.read_text() == text


def test_two_searches_do_not_write_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with (
        Journal.open(path, TASK),
        pytest.raises(UserError, match="another process"),
        Journal.open(path, TASK),
    ):
        pass


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = Run(3, Shown.FAIL, FOLLOWED, "said", "search", 1.5, 2)
    with Journal.open(tmp_path / "journal.jsonl", TASK) as journal:
        journal.add(run)
    with Journal.open(tmp_path / "journal.jsonl", TASK) as journal:
        assert journal.runs == [run]
