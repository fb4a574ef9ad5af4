# SPDX-License-Identifier: Apache-2.0
"""Which evidence `report.html` carries, and its bounded form.

1. Every problem gets the evidence of its smallest cell, largest problem first, until `_BUDGET` is spent.
2. Only then up to `_EXTRA` further cells per problem follow.
3. What an emulator printed is kept from the end, because the last lines say why it gave up.
"""

from __future__ import annotations

import json
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from migmatrix.harness.report.data import RunReport, Section, group_key, section_of
from migmatrix.harness.report.text import clip, tail

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migmatrix.harness.model import CellResult, EmulatorEvidence, LegEvidence, QmpMessage

__all__ = ["choose_evidence"]

_BUDGET = 3_000_000  # characters of JSON
_MOST = 400  # cells; each asks the store
_EXTRA = 2
_STDERR = 6000
_ARGUMENTS = 200
_QMP = 12
_QMP_TEXT = 500
_SHOWN = (Section.PROBLEM, Section.INFRASTRUCTURE, Section.KNOWN)


def choose_evidence(report: RunReport, results: Sequence[CellResult]) -> dict[str, Any]:
    """Evidence by the position of its cell in `results`."""
    positions = {r.cell: n for n, r in enumerate(results)}
    chosen: dict[str, Any] = {}
    left = _BUDGET
    for result in islice(_candidates(report, results), _MOST):
        position = str(positions[result.cell])
        if position in chosen:
            continue
        legs = [_leg(leg) for leg in report.evidence(result)]
        left -= len(json.dumps(legs))
        if left < 0:
            break
        if legs:
            chosen[position] = legs
    return chosen


def _candidates(report: RunReport, results: Sequence[CellResult]) -> Iterator[CellResult]:
    groups = [g for section in _SHOWN for g in report.groups(section)]
    return chain((g.smallest for g in groups), _further(results))


def _further(results: Sequence[CellResult]) -> Iterator[CellResult]:
    """Yield the first cells of each problem, in the order of the report."""
    taken: dict[tuple[Section, str], int] = {}
    for result in results:
        section = section_of(result)
        if section not in _SHOWN:
            continue
        key = (section, group_key(result))
        taken[key] = taken.get(key, 0) + 1
        if taken[key] <= _EXTRA:
            yield result


def _leg(leg: LegEvidence) -> dict[str, Any]:
    return {
        "key": leg.key,
        "stages": [[s.stage.value, round(s.seconds, 3), s.problem, s.detail, s.role] for s in leg.stages],
        "emulators": [_emulator(e) for e in leg.emulators],
        "stream": [leg.stream.sha256, leg.stream.bytes] if leg.stream else None,
        "infrastructure": leg.infrastructure,
    }


def _emulator(emulator: EmulatorEvidence) -> dict[str, Any]:
    return {
        "role": emulator.role,
        "build": emulator.build,
        "version": emulator.version,
        "argv": [clip(a, _QMP_TEXT) for a in emulator.argv[:_ARGUMENTS]],
        "stderr": tail(emulator.stderr, _STDERR),
        "exit": emulator.exit,
        "qmp": [_qmp(m) for m in emulator.qmp[-_QMP:]],
        "qmpLeftOut": max(0, len(emulator.qmp) - _QMP),
    }


def _qmp(message: QmpMessage) -> list[Any]:
    text = json.dumps(message.message, ensure_ascii=False)
    return [round(message.at, 3), message.direction, clip(text, _QMP_TEXT)]
