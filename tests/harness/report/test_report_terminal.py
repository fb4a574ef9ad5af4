# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from migmatrix.harness.model import Cause, Cell, CellResult, Outcome, Stage, Verdict
from migmatrix.harness.report import Dropped, Progress, RunReport, progress_console, render_terminal


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def console(*, terminal: bool = False) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=80, color_system=None), out


def result(profile: str, signature: str = "s", outcome: Outcome = Outcome.REGRESSION) -> CellResult:
    cause = Cause("pci-config", "dev", "0x10a", f"message of {signature}")
    cell = Cell("pc-q35-7.2", profile, ("A", "B"))
    return CellResult(cell, Verdict.FAIL, outcome, 1, Stage.LOAD, cause, signature, 0.1)


# --- summary


def summary(report: RunReport) -> str:
    target, out = console()
    render_terminal(report, target)
    return out.getvalue()


def test_summary_begins_with_the_answer(small: RunReport) -> None:
    first = summary(small).splitlines()[0]
    assert first.startswith("do not ship: ")
    assert "of 12,000 cells went wrong unexpectedly, in 6 problems" in first


def test_summary_lists_problems_largest_first_with_commands_on_one_line(small: RunReport) -> None:
    text = summary(small)
    sizes = [int(line.split()[1]) for line in text.split("known issues")[0].splitlines() if ". " in line[:5]]
    assert sizes[:6] == sorted(sizes[:6], reverse=True)
    commands = [line for line in text.splitlines() if "repeat:" in line]
    assert all(line.endswith("/snapshot/paused'") for line in commands)


def test_summary_reports_what_is_easily_forgotten(small: RunReport) -> None:
    text = summary(small)
    assert "known issue 'floppy-dor' is unmatched" in text
    assert "known issue 'hda-gpos' is expired" in text
    assert "18,000 cells left out of the plan: chains of 3: sampled" in text


def test_summary_names_the_largest_of_many_reasons(small: RunReport) -> None:
    lines = summary(replace(small, dropped=[Dropped(f"p{n}", "r", n) for n in range(1, 40)])).splitlines()
    assert lines[-4:] == [
        "39 cells left out of the plan: p39: r",
        "38 cells left out of the plan: p38: r",
        "37 cells left out of the plan: p37: r",
        "780 cells left out in all, the other reasons are in report.html",
    ]


def test_summary_of_a_green_run_is_short(small: RunReport) -> None:
    cell = CellResult(Cell("m", "p", ("A", "B")), Verdict.PASS, Outcome.OK)
    green = replace(small, results=[cell], cells_planned=1, exit_code=0, dropped=(), known_issues=())
    assert summary(green).splitlines() == [
        "ship: nothing unexpected in 1 cell",
        "  cells    1 of 1: 1 pass",
        "  outcome  1 ok",
        "  legs     39,211 run, 1,204 reused, 38 min 12 s",
        f"  report   {small.run_dir}/report.html",
    ]


def test_summary_obeys_neither_markup_nor_escapes(small: RunReport) -> None:
    cause = Cause("crash", "[red]dev[/red]", "", "\x1b]0;owned\x07 [link=x]")
    text = summary(replace(small, results=[replace(result("p"), cause=cause)]))
    assert "[red]dev[/red]" in text
    assert "\\x1b]0;owned\\x07 [link=x]" in text


# --- progress


def test_plain_progress_is_driven_by_events_and_the_clock() -> None:
    clock = Clock()
    target, out = console()
    with Progress(target, clock=clock, interval=10) as progress:
        progress.start(total_cells=100, total_legs=40)
        for _ in range(20):
            clock.now += 1
            progress.leg_done()
        progress.leg_done(reused=True)
    assert out.getvalue().splitlines() == [
        "0 of 100 cells done, 0 of 40 legs, 0.0 s so far",
        "0 of 100 cells done, 10 of 40 legs, 1.0 legs/s, 10 s so far, about 30 s left",
        "0 of 100 cells done, 20 of 40 legs, 1.0 legs/s, 20 s so far, about 20 s left",
        "0 of 100 cells done, 21 of 40 legs, 1.0 legs/s, 20 s so far, about 18 s left",
    ]


def test_the_rate_counts_the_time_of_the_legs_before_the_first_cell() -> None:
    clock = Clock()
    target, out = console()
    progress = Progress(target, clock=clock, interval=10)
    for _ in range(21):
        progress.leg_done()
        clock.now += 1
    progress.start(total_cells=100, total_legs=42)
    assert out.getvalue() == "0 of 100 cells done, 21 of 42 legs, 1.0 legs/s, 21 s so far, about 21 s left\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_the_first_of_each_signature_is_printed_in_full_then_counted(*, terminal: bool) -> None:
    target, out = console(terminal=terminal)
    with Progress(target, clock=Clock(), interval=1e9) as progress:
        progress.start(200, 200)
        for n in range(120):
            progress.cell_done(result(f"p{n}", "often"))
        progress.cell_done(result("other", "once"))
        progress.cell_done(result("expected", "known", Outcome.KNOWN))
    text = out.getvalue()
    assert text.count("FAIL pc-q35-7.2/p0/A>B/snapshot/paused") == 1
    assert "/p1/" not in text
    assert "FAIL again, 10 cells so far" in text
    assert "FAIL again, 100 cells so far" in text
    assert "FAIL pc-q35-7.2/other/" in text
    assert "message of known" not in text
    assert "121 FAIL" in text


def test_errors_of_the_host_are_told_apart() -> None:
    target, out = console()
    with Progress(target, clock=Clock()) as progress:
        progress.start(1, 1)
        lost = CellResult(Cell("m", "p", ("A", "B")), Verdict.ERROR, Outcome.INCOMPLETE, reason="engine down")
        progress.cell_done(lost)
    assert "ERROR m/p/A>B/snapshot/paused\n     engine down" in out.getvalue()


def test_a_terminal_gets_a_line_that_is_repainted_and_left_whole_at_the_end() -> None:
    clock = Clock()
    target, out = console(terminal=True)
    progress = Progress(target, clock=clock)
    progress.start(2, 2)
    for _ in range(2):
        clock.now += 1
        progress.leg_done()
    progress.close()
    progress.close()
    text = out.getvalue()
    assert "\x1b[2K" in text  # erases the line before it is painted again
    last, cursor_is_back = text.rstrip().splitlines()[-2:]
    assert "0 of 2 cells done, 2 of 2 legs, 1.0 legs/s, 2.0 s so far" in last
    assert cursor_is_back == "\x1b[?25h"


def test_close_without_start_prints_nothing() -> None:
    target, out = console()
    Progress(target).close()
    assert out.getvalue() == ""


def test_legs_that_no_cell_waits_for_are_not_expected() -> None:
    clock = Clock()
    target, out = console()
    with Progress(target, clock=clock, interval=1e9) as progress:
        progress.start(total_cells=2, total_legs=40)
        clock.now += 30
        for _ in range(30):
            progress.leg_done()
        progress.legs_spared(10)
    assert out.getvalue().splitlines()[-1] == "0 of 2 cells done, 30 of 30 legs, 1.0 legs/s, 30 s so far"


def test_the_line_of_a_terminal_fits_it() -> None:
    clock = Clock()
    target, out = console(terminal=True)
    target.width = 60
    progress = Progress(target, clock=clock)
    progress.start(total_cells=150_000, total_legs=400_000)
    for n in range(3):
        clock.now += 1000
        progress.leg_done()
        progress.cell_done(result(f"p{n}", "often"))
    progress.close()
    painted = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]|\r", "\n", out.getvalue()).splitlines()
    lines = [line for line in painted if "cells done" in line]
    assert lines
    assert max(map(len, lines)) <= 60
    assert "3 of 150,000 cells done" in lines[-1]
    assert "left" in lines[-1]
    assert "3 FAIL" in lines[-1]


def test_the_summary_names_the_report(small: RunReport) -> None:
    assert "  report   runs/x/report.html" in summary(replace(small, run_dir="runs/x")).splitlines()


def test_forced_colours_in_a_pipe_paint_no_line_again(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Progress(progress_console()) as progress:
        progress.start(total_cells=2, total_legs=2)
        progress.cell_done(result("p"))
    said = capfd.readouterr().err
    assert "\x1b[1;31mFAIL" in said  # colours, as forced
    assert "\x1b[?25l" not in said
    assert "\x1b[2K" not in said
