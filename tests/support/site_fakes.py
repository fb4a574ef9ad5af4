# SPDX-License-Identifier: Apache-2.0
"""A made-up history for the tests of the site: the run of `report_fakes` on many nights, on which a script happens.

Not a mock: `Night` records as a run leaves them, so the history judges them as it does others.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from report_fakes import BUILDS, PROFILES, make_report

from migmatrix.harness.history import Counts, Environment, History, Night, NightCell, Sighting
from migmatrix.harness.history.columns import cells_of
from migmatrix.harness.history.line import FIRST, sealed_line
from migmatrix.harness.history.merkle import root_of
from migmatrix.harness.history.records import KEY
from migmatrix.harness.model import Cause, CellResult, Outcome, Verdict
from migmatrix.harness.report import BuildRow, KnownIssueNote

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGIN = datetime(2026, 9, 1, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)
MOVES = "trixie-backports"  # this build is another one each night
BREAKS = "bookworm"  # this build is broken on the nights of a script
FLAKY = Cause("deadline", "virtio-balloon", "", "the guest did not go on within 30 s <b>")
EXPLANATION = (
    "pci-config igb 0xa4",
    "  answer       -global igb.x-pcie-flr-init=off on trixie makes bookworm>trixie pass",
    "  new guests   start guests on trixie with -global igb.x-pcie-flr-init=off",
    '  table line   { "igb", "x-pcie-flr-init", "off" } in hw_compat_8_2 </script><script>alert(1)</script>',
    "  where        0000:00:03.0/igb config[0xa4]: source 0x12, destination 0x10",
)


@dataclass(frozen=True)
class Script:
    """What happens: on which nights (from 1) `igb` is broken, no night comes, one runs short, and the kernel is another.

    Of the other regressions of `report_fakes` those of `late` begin on the night of that number, and the rest never.
    """

    broken: tuple[range, ...] = (range(20, 35), range(52, 61))
    missed: tuple[int, ...] = (33,)
    short: tuple[int, ...] = (45,)
    kernel: int = 40
    late: tuple[tuple[str, int], ...] = (("virtio-gpu-pci", 57), ("pcie-root-port", 60))
    flaky: float = 0.02  # share of the cells that are, and of the nights on which they fail


@cache
def make_history(cells: int = 1_200, nights: int = 60, script: Script = Script(), seed: int = 5) -> History:
    """A history of as many nights, less those that the script misses."""
    report = make_report(cells)
    results = sorted(report.results, key=lambda result: result.cell.id)
    draw = random.Random(seed)
    passing = [n for n, r in enumerate(results) if r.outcome is Outcome.OK and r.verdict is Verdict.PASS]
    flaky = set(draw.sample(passing, int(len(passing) * script.flaky)))
    made: list[Night] = []
    for day in range(1, nights + 1):
        if day not in script.missed:
            fails = {n for n in flaky if draw.random() < script.flaky * 5}
            before = {made[-1].cells.key_at(n) for n in range(len(made[-1].cells))} if made else set()
            made.append(_night(report.known_issues, results, day, len(made) + 1, fails, before, script))
    return History(Path("history.jsonl"), made)


def write_history(history: History, directory: Path) -> Path:
    """The directory of a history that has these nights."""
    directory.mkdir()
    last, lines = FIRST, []
    for night in history.nights:
        lines.append(sealed_line(night, last))
        last = lines[-1][len(b'{"sha256":"') :][:64].decode()
    (directory / "history.jsonl").write_bytes(b"".join(lines))
    return directory


def _night(
    issues: Sequence[KnownIssueNote],
    results: Sequence[CellResult],
    day: int,
    number: int,
    fails: set[int],
    before: set[str],
    script: Script,
) -> Night:
    builds = {row[0]: _build(row, day, script) for row in BUILDS}
    found = [
        (_tonight(r, day, fail=n in fails, script=script), _key(r, builds)) for n, r in enumerate(results)
    ]
    ran = found[: len(found) - len(found) // 20] if day in script.short else found
    cells = [
        NightCell(r.cell, r.verdict, r.outcome, r.signature, key, key in before, r.hop, r.known_issue)
        for r, key in ran
    ]
    skipped = sum(r.outcome is Outcome.SKIPPED for r, _ in ran)
    reused = sum(bool(c.reused) for c in cells if c.outcome is not Outcome.SKIPPED)
    red = any(r.outcome in (Outcome.REGRESSION, Outcome.WRONG_FAILURE) for r, _ in ran)
    return Night(
        number=number, sha256="", run=f"{day:064x}", time=BEGIN + day * DAY, finished=BEGIN + day * DAY + DAY / 24,
        matrix="debian", title="Debian, five QEMU builds", matrix_file="matrices/debian.yaml",
        environment=Environment("0.1.0", "p" * 64, "6.1.0-31" if day < script.kernel else "6.12.0-2", "docker 28.1.1"),
        builds=tuple(builds.values()), arguments={},
        profiles={p.name: hashlib.sha256(repr(p.args).encode()).hexdigest() for p in PROFILES},
        counts=Counts(len(found), len(cells) - skipped - reused, reused, skipped, 0), legs=(1, 1), exit_code=int(red),
        interrupted=False, selection=(), every=DAY, root=root_of(cells), sightings=_sightings([r for r, _ in ran]),
        known_issues=tuple(issues), cells=cells_of(cells),
    )  # fmt: skip


def _tonight(result: CellResult, day: int, *, fail: bool, script: Script) -> CellResult:
    if fail:
        return replace(
            result,
            verdict=Verdict.FAIL,
            outcome=Outcome.REGRESSION,
            hop=1,
            cause=FLAKY,
            signature="deadline:virtio-balloon",
        )
    red = result.outcome in (Outcome.REGRESSION, Outcome.WRONG_FAILURE)
    if result.outcome is Outcome.INCOMPLETE or (red and not _broken(result.cell.profile, day, script)):
        return CellResult(result.cell, Verdict.PASS, Outcome.OK)
    return result


def _broken(profile: str, day: int, script: Script) -> bool:
    if profile == "igb":
        return any(day in nights for nights in script.broken)
    return day >= dict(script.late).get(profile, day + 1)


def _key(result: CellResult, builds: dict[str, BuildRow]) -> str:
    """Of the cell and the content of its builds."""
    content = [builds[build].digest for build in result.cell.path]
    return hashlib.sha256(f"{result.cell.id} {content}".encode()).hexdigest()[:KEY]


def _build(row: tuple[str, str, str], day: int, script: Script) -> BuildRow:
    """A build that moves each night, and one that brings the regression and takes it back."""
    id_, version, package = row
    if id_ == MOVES:
        package = f"{package}.{day}"
    if id_ == BREAKS:
        package = f"{package}+{'igb' if _broken('igb', day, script) else ''}{[n for _, n in script.late if day >= n]}"
    return BuildRow(id_, version, package, f"debian {id_}", hashlib.sha256(package.encode()).hexdigest())


def _sightings(results: Sequence[CellResult]) -> tuple[Sighting, ...]:
    cells = Counter(r.signature for r in results if r.signature)
    causes = {r.signature: r.cause for r in results if r.signature}
    return tuple(
        Sighting(
            signature,
            causes[signature] or Cause(""),
            cells[signature],
            EXPLANATION if "igb" in signature else (),
        )
        for signature in sorted(cells)
    )
