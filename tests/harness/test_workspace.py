# SPDX-License-Identifier: Apache-2.0
"""Workspaces of runs that begin, end and sweep at the same time on one host, as nightly shards do."""

from __future__ import annotations

import multiprocessing
import tempfile
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.engines.workspace import Workspace, _base_lock, abandoned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.synchronize import Event

_ROUNDS = 150
_PATIENCE = 120.0


@pytest.fixture(autouse=True)
def own_base(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A temporary directory of the test's own, so that no other run's workspace is looked at."""
    with tempfile.TemporaryDirectory(prefix="mm-", dir="/tmp") as root:
        monkeypatch.setattr(tempfile, "tempdir", root)
        yield


def sweep(done: Event) -> None:
    while not done.is_set():
        for root in abandoned():
            raise AssertionError(f"{root.name} is alive")


def test_a_workspace_that_ends_and_a_sweep_do_not_meet() -> None:
    context = multiprocessing.get_context("fork")
    done = context.Event()
    sweepers = [context.Process(target=sweep, args=(done,)) for _ in range(2)]
    for sweeper in sweepers:
        sweeper.start()
    roots = []
    try:
        for _ in range(_ROUNDS):
            with Workspace() as workspace:
                roots.append(workspace.root)
    finally:
        done.set()
        for sweeper in sweepers:
            sweeper.join(_PATIENCE)
    assert [sweeper.exitcode for sweeper in sweepers] == [0, 0]
    assert not [root for root in roots if root.exists()]


def test_an_ending_workspace_keeps_its_owner_until_no_sweep_looks() -> None:
    workspace = Workspace().__enter__()
    ending = Thread(target=workspace.__exit__, args=(None, None, None))
    with _base_lock():  # as a sweep has it
        ending.start()
        while workspace.link.exists() or workspace.streams.exists():
            pass  # their removal needs no lock
        assert (workspace.root / "owner").exists()
        assert ending.is_alive()
    ending.join(_PATIENCE)
    assert not workspace.root.exists()


def test_a_dead_runs_workspace_is_found_by_one_sweep_at_a_time() -> None:
    with Workspace() as alive:
        dead = alive.root.with_name("dead")
        dead.mkdir()
        first = abandoned()
        assert next(first) == dead
        assert list(abandoned()) == []
        first.close()
        assert list(abandoned()) == [dead]
        assert Path(alive.root).exists()
