# SPDX-License-Identifier: Apache-2.0
"""The data of `report.html`: cells as columns of small integers that point into tables of strings.

1. 30,000 cells take about 1 MB this way; as objects they would take 15.
2. A column value of 0 means "none" where a field is optional; tables of such fields start at 1.
3. What could grow without bound has a budget (`_MESSAGES`); what is over it is left out and said so.

`static/explore.js` reads this form; a change here is a change there.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Generic, TypeVar

from migmatrix.harness.model import Cause, CellResult, Outcome, Stage, Verdict
from migmatrix.harness.report.chains import ChainKind, surprises
from migmatrix.harness.report.data import Group, RunReport, Section, natural
from migmatrix.harness.report.html_evidence import choose_evidence
from migmatrix.harness.report.problems import own_failures
from migmatrix.harness.report.text import clip

__all__ = ["FAILS", "FLAGS", "OWN_BIT", "Table", "encode", "ordered"]

FAILS = (
    "between",
    "itself",
)  # what a cell that went wrong shows: a break between builds, or a failure of one build

_MESSAGES = 1_500_000  # characters of messages and reasons in one report, equal ones counted once
_MESSAGE = 600
_CHAIN_BITS = {kind: 1 << bit for bit, kind in enumerate(ChainKind)}
OWN_BIT = 1 << len(ChainKind)
FLAGS = [*(kind.value for kind in ChainKind), FAILS[True]]  # bit by bit

T = TypeVar("T", bound=Hashable)


class Table(Generic[T]):
    """Numbers values in the order of their first use, from `base`."""

    def __init__(self, values: Sequence[T] = (), base: int = 0) -> None:
        self._base = base
        self._index: dict[T, int] = {}
        for value in values:
            self[value]

    def __getitem__(self, value: T) -> int:
        return self._index.setdefault(value, len(self._index) + self._base)

    def optional(self, value: T | None) -> int:
        """0 for nothing; for tables whose base is 1."""
        return self[value] if value else 0

    def values(self) -> list[T]:
        """All values, in the order of their numbers."""
        return list(self._index)


def ordered(report: RunReport) -> list[CellResult]:
    """The results as the report lists them: machine, profile as in the matrix, path."""
    profiles = {p.name: n for n, p in enumerate(report.profiles)}
    builds = {b.id: n for n, b in enumerate(report.builds)}

    def key(result: CellResult) -> tuple[Any, ...]:
        cell = result.cell
        steps = [builds.get(b, len(builds)) for b in cell.path]
        profile = profiles.get(cell.profile, len(profiles))
        return (natural(cell.machine), profile, len(steps), steps, cell)

    return sorted(report.results, key=key)


def encode(report: RunReport) -> dict[str, Any]:
    """The object that `explore.js` reads."""
    results = ordered(report)
    tables = _Tables(report)
    return {
        "cells": tables.columns(results),
        **tables.names(),
        "versions": {b.id: b.version for b in report.builds},
        "args": {p.name: p.args for p in report.profiles},
        "evidence": choose_evidence(report, results),
        "runDir": report.run_dir,
        "repeat": report.repeat_prefix,
        "finished": report.finished.isoformat(),
    }


class _Tables:
    """The string tables of one report."""

    def __init__(self, report: RunReport) -> None:
        self._machine: Table[str] = Table()
        self._profile: Table[str] = Table()
        self._build = Table([b.id for b in report.builds])
        self._path: Table[tuple[int, ...]] = Table()
        self._mode: Table[str] = Table()
        self._guest: Table[str] = Table()
        self._signature: Table[str] = Table(base=1)
        self._cause: Table[tuple[str, str, str, str]] = Table(base=1)
        self._reason: Table[str] = Table(base=1)
        self._issue: Table[str] = Table(base=1)
        self._notes: Table[tuple[str, ...]] = Table(base=1)
        self._surprises = surprises(report.results)
        self._problems = report.groups(Section.PROBLEM)
        self._own = own_failures(report.results)
        self._texts: set[str] = set()
        self._left = _MESSAGES

    def columns(self, results: Sequence[CellResult]) -> list[list[int]]:
        """One list per column, all as long as `results`."""
        return [list(column) for column in zip(*map(self._row, results), strict=True)]

    def names(self) -> dict[str, Any]:
        """The tables; to be called after `columns`, which fills them."""
        return {
            "machines": self._machine.values(),
            "profiles": self._profile.values(),
            "builds": self._build.values(),
            "paths": self._path.values(),
            "modes": self._mode.values(),
            "guests": self._guest.values(),
            "signatures": self._signature.values(),
            "causes": self._cause.values(),
            "reasons": self._reason.values(),
            "issues": self._issue.values(),
            "notes": self._notes.values(),
            "verdicts": [v.value for v in Verdict],
            "outcomes": [o.value for o in Outcome],
            "stages": [s.value for s in Stage],
            "flags": FLAGS,
            "problems": [self._problem(found) for found in self._problems if found.signature],
        }

    def _row(self, result: CellResult) -> tuple[int, ...]:
        cell = result.cell
        return (
            self._machine[cell.machine],
            self._profile[cell.profile],
            self._path[tuple(self._build[b] for b in cell.path)],
            self._mode[cell.mode],
            self._guest[cell.guest],
            _VERDICTS[result.verdict],
            _OUTCOMES[result.outcome],
            result.hop or 0,
            _STAGES[result.stage] if result.stage else 0,
            self._cause.optional(self._short(result.cause)),
            self._signature.optional(result.signature),
            self._reason.optional(self._bounded(result.reason)),
            self._issue.optional(result.known_issue),
            self._flags(result),
            round(result.seconds * 1000),
            self._notes.optional(result.notes),
        )

    def _flags(self, result: CellResult) -> int:
        chain = sum(_CHAIN_BITS[kind] for kind in self._surprises.get(result.cell, ()))
        return chain | OWN_BIT if result.cell in self._own else chain

    def _problem(self, found: Group) -> list[int]:
        """The signatures of a problem, the one that names it first."""
        return [self._signature[one.signature] for one in found.variants if one.signature]

    def _short(self, cause: Cause | None) -> tuple[str, str, str, str] | None:
        if cause is None:
            return None
        return cause.kind, cause.device, cause.field, self._bounded(cause.message)

    def _bounded(self, text: str) -> str:
        """Foreign text clipped, or a note once the budget for new texts is spent."""
        if text and text not in self._texts:
            self._left -= min(len(text), _MESSAGE)
            if self._left < 0:
                return "(left out here, see results.jsonl)"
            self._texts.add(text)
        return clip(text, _MESSAGE)


_VERDICTS = {v: n for n, v in enumerate(Verdict)}
_OUTCOMES = {o: n for n, o in enumerate(Outcome)}
_STAGES = {s: n for n, s in enumerate(Stage, start=1)}
