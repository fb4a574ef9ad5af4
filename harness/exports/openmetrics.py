# SPDX-License-Identifier: Apache-2.0
r"""OpenMetrics text (version 1.0.0): gauges of one run, for a node exporter's text files or a push gateway.

1. All families are gauges: a run is a state, not a counter. So Prometheus's older text format reads the same file.
2. A label value codes ``\``, ``"`` and newline; nothing else is special. Its text is clipped: it is kept by the server for
   as long as the series is.
3. Problems are series by signature, the largest `MOST` of them: a signature that is new each night fills a server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from migmatrix.harness.exports.problems import problems
from migmatrix.harness.model import Outcome, Verdict
from migmatrix.harness.report.answer import Ship
from migmatrix.harness.report.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from migmatrix.harness.report.data import RunReport

__all__ = ["MOST", "render_openmetrics"]

MOST: Final = 50
_LABEL: Final = 200  # characters

_Samples = list[tuple["Mapping[str, str]", float]]


def render_openmetrics(report: RunReport) -> str:
    """The exposition, ending in ``# EOF``."""
    lines = [line for family in _families(report) for line in _family(*family, matrix=report.matrix)]
    return "\n".join([*lines, "# EOF", ""])


def _families(report: RunReport) -> Iterator[tuple[str, str, _Samples]]:
    answer, verdicts, outcomes = report.answer(), report.verdicts(), report.outcomes()
    yield (
        "answer",
        "1 for the answer of the run",
        [({"answer": s.value}, float(s is answer.ship)) for s in Ship],
    )
    yield "exit_code", "exit code of the run", [({}, report.exit_code)]
    yield "cells_planned", "cells of the plan", [({}, report.cells_planned)]
    yield "verdicts", "cells by verdict", [({"verdict": v.value}, verdicts[v]) for v in Verdict]
    yield "outcomes", "cells by outcome", [({"outcome": o.value}, outcomes[o]) for o in Outcome]
    legs = (("executed", report.legs.executed), ("reused", report.legs.reused))
    yield "legs", "legs that were run, or taken from the store", [({"state": s}, n) for s, n in legs]
    yield "started_timestamp_seconds", "when the run began", [({}, report.started.timestamp())]
    yield "finished_timestamp_seconds", "when the run ended", [({}, report.finished.timestamp())]
    builds = [{"build": b.id, "version": b.version, "digest": b.digest} for b in report.builds]
    yield "build_details", "1 for each build of the run", [(build, 1) for build in builds]
    yield "problem_cells", "cells of a problem", list(_problems(report))


def _problems(report: RunReport) -> Iterator[tuple[Mapping[str, str], float]]:
    for found, _ in zip(problems(report), range(MOST), strict=False):
        labels = {"section": found.section.value, "problem": found.fingerprint[:16], "title": found.title}
        yield labels, found.group.cells


def _family(name: str, help_: str, samples: _Samples, matrix: str) -> Iterable[str]:
    full = f"migmatrix_run_{name}"
    yield f"# HELP {full} {help_}"
    yield f"# TYPE {full} gauge"
    for labels, value in samples:
        said = ",".join(f'{key}="{_coded(text)}"' for key, text in {"matrix": matrix, **labels}.items())
        yield f"{full}{{{said}}} {value!r}"


def _coded(text: str) -> str:
    return one_line(text, _LABEL).replace("\\", "\\\\").replace('"', '\\"')
