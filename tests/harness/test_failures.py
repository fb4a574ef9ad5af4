# SPDX-License-Identifier: Apache-2.0
"""Which legs are not started after failures of the host: those of the build that is bad, or all when the host is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.errors import SandboxDied
from migmatrix.harness.run.failures import Failures

if TYPE_CHECKING:
    from lab import Lab

pytestmark = pytest.mark.slow

A, B, BOTH = frozenset("a"), frozenset("b"), frozenset("ab")


def test_a_build_that_fails_three_times_is_down_and_no_other() -> None:
    failures = Failures()
    for _ in range(3):
        assert failures.down(B) == ""
        failures.failed(B, "no such image")
    assert failures.down(B) == "not started, 3 legs of this build failed in a row: no such image"
    assert failures.down(BOTH) == failures.down(B)
    assert failures.down(A) == ""


def test_a_leg_that_is_done_ends_the_row() -> None:
    failures = Failures()
    for _ in range(9):
        failures.failed(A, "busy")
        failures.failed(A, "busy")
        failures.done(A)
    assert failures.down(A) == ""


def test_two_bad_builds_are_not_the_host_and_three_are() -> None:
    failures = Failures()
    for _ in range(3):
        failures.failed(A, "gone")
        failures.failed(B, "gone")
    assert failures.down(frozenset("c")) == ""
    failures.failed(frozenset("c"), "engine down")
    assert failures.down(frozenset("d")) == "not started, the host failed 7 times in a row: engine down"


def test_sandboxes_that_died_are_not_the_host_however_many() -> None:
    failures = Failures()
    for hostile in "abcdefgh":
        for _ in range(3):
            failures.failed(frozenset(hostile), SandboxDied("the supervisor ended"))
        assert failures.down(frozenset(hostile)) != ""
    assert failures.down(frozenset("x")) == ""


def test_one_bad_build_leaves_the_others_cells_alone(lab: Lab) -> None:
    matrix = lab.matrix(
        builds=lab.builds({"old": [], "new": [], "bad": ["-fake", "fatal=load"]}),
        # far more than begin while the first three are tried again
        profiles={"define": {f"p{n}": {"args": ["-name", f"p{n}"]} for n in range(40)}},
        paths={"pairs": ["old>bad", "new>bad", "old>new"]},
        policy={"retries": 2},  # builds share a supervisor
    )

    done = lab.run(matrix, "-j", "1")

    cells = lab.results().values()
    assert done.returncode == 3, done.stderr
    others = [(cell["verdict"], cell["reason"]) for cell in cells if "bad" not in cell["path"]]
    assert set(others) == {("pass", "")}
    bad = [cell for cell in cells if cell["path"][1] == "bad"]
    assert {cell["verdict"] for cell in bad} == {"error"}
    # those that had begun when the third one failed are tried to their end
    assert any(cell["reason"].startswith("not started, 3 legs of this build") for cell in bad)
