# SPDX-License-Identifier: Apache-2.0
"""How a search tells how far it is: seldom in a log, at once on a terminal."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from migmatrix.harness.explore.coverage import Reached
from migmatrix.harness.explore.progress import SearchProgress
from migmatrix.harness.explore.records import Phase
from migmatrix.harness.model import LegEvidence

LEG = LegEvidence("k", (), ())


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def reached(number: int) -> Reached:
    return Reached(Phase.SINGLE, number * 8, 5, 40, 1, 1200, 2, number * 100)


def told(console: Console, batches: int, seconds: float) -> None:
    clock = Clock()
    with SearchProgress(console, clock=clock) as progress:
        for number in range(batches):
            for _ in range(100):
                progress.leg_done(LEG, False)
            clock.now += seconds
            progress.batch_done(reached(number + 1))


def test_a_log_gets_a_line_per_batch_and_none_within_seconds() -> None:
    for batches, seconds, lines in ((10, 1.0, 3), (4, 30.0, 5)):
        log = StringIO()
        told(Console(file=log, width=200), batches, seconds)
        assert len(log.getvalue().splitlines()) == lines, log.getvalue()
    assert log.getvalue().splitlines()[-1] == (
        "single: 32 candidates, 2 findings, 5 devices started, 40 options, 1 pair, 1,200 sections and fields seen,"
        " 400 legs, 3.3 legs/s, 2 min 00 s so far"
    )


@pytest.mark.parametrize(("width", "line"), [
    (90, "single: 8 candidates, 2 findings, 5 devices started, 40 options, 100 legs, 10.0 legs/s"),
    (50, "single: 8 candidates, 2 findings, 100 legs"),
])  # fmt: skip
def test_a_terminal_gets_as_much_as_fits(width: int, line: str) -> None:
    log = StringIO()
    console = Console(file=log, force_terminal=True, force_interactive=True, width=width, color_system=None)
    told(console, 1, 10.0)
    assert line in log.getvalue()


def test_what_is_found_scrolls_by() -> None:
    log = StringIO()
    with SearchProgress(Console(file=log)) as progress:
        progress.log("found: x\x1b[31m")
    assert log.getvalue() == "found: x\\x1b[31m\n"
