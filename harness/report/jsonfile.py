# SPDX-License-Identifier: Apache-2.0
"""`report.json`: everything a program wants to know of a run (schema: docs/report.schema.json).

Results are rows under named columns, so that 30,000 cells stay small; `results.jsonl` of the same run
holds the same cells as objects, with each cell's own cause.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from migmatrix.harness.report.chains import ChainFinding, chain_findings
from migmatrix.harness.report.data import ExplanationNote, Group, RunReport, Section
from migmatrix.harness.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migmatrix.harness.model import CellResult

__all__ = ["FORMAT", "render_json"]

FORMAT = 1  # raised when a reader of the old form would misread the new one

_COLUMNS = (
    "machine",
    "profile",
    "path",
    "mode",
    "guest",
    "verdict",
    "outcome",
    "hop",
    "stage",
    "signature",
    "seconds",
    "reason",
    "known_issue",
)


def render_json(report: RunReport) -> str:
    """One JSON object, one line per top-level key and per result, ending in a newline."""
    head = {"format": FORMAT, **_run(report), **_findings(report)}
    lines = [f"{json.dumps(key)}: {_dump(value)}" for key, value in head.items()]
    rows = ",\n".join(_dump(_row(r)) for r in report.results)
    lines.append(f'"results": {{"columns": {_dump(_COLUMNS)}, "rows": [\n{rows}\n]}}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _dump(value: Any) -> str:
    """Compact JSON; unpaired surrogates are written as escapes, so the file is valid UTF-8."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def _run(report: RunReport) -> dict[str, Any]:
    answer = report.answer()
    host = report.host
    return {
        "title": report.title,
        "matrix": {"name": report.matrix, "file": report.matrix_file},
        "answer": {
            "ship": answer.ship,
            "headline": answer.headline,
            "sentence": answer.sentence,
            "limits": answer.limits,
        },
        "exit_code": int(report.exit_code),
        "interrupted": report.interrupted,
        "started": report.started.isoformat(),
        "finished": report.finished.isoformat(),
        "command": report.command,
        "run_dir": report.run_dir,
        "seed": report.seed,
        "shard": report.shard,
        "selection": list(report.selection),
        "paths": list(report.paths),
        "missing_shards": list(report.missing_shards),
        "unmet": list(report.unmet),
        "harness_version": report.harness_version,
        "host": {
            "kernel": host.kernel,
            "cpus": host.cpus,
            "engine": host.engine,
            "other": {},  # published as required, and never filled
        },
        "builds": [
            {"id": b.id, "version": b.version, "package": b.package, "origin": b.origin, "digest": b.digest}
            for b in report.builds
        ],
        "profiles": [{"name": p.name, "args": p.args} for p in report.profiles],
    }


def _findings(report: RunReport) -> dict[str, Any]:
    return {
        "cells": {
            "planned": report.cells_planned,
            "total": len(report.results),
            "verdicts": dict(sorted(report.verdicts().items())),
            "outcomes": dict(sorted(report.outcomes().items())),
        },
        "hops": {"executed": report.legs.executed, "reused": report.legs.reused},
        "groups": {
            section.value: [_group(g, report.explained(g)) for g in report.groups(section)]
            for section in Section
        },
        "untested": [
            {
                "verdict": one.verdict,
                "reason": one.reason,
                "cells": one.cells,
                "machines": one.machines,
                "profiles": one.profiles,
                "example": one.example,
            }
            for one in report.untested()
        ],
        "notes": [asdict(one) for one in report.noted()],
        "unlike": [asdict(one) for one in report.unlike()],
        "chains": [_chain(f) for f in chain_findings(report.results)],
        "dropped": [{"what": d.what, "reason": d.reason, "count": d.count} for d in report.dropped],
        "known_issues": [
            {
                "id": n.id,
                "state": n.state,
                "reason": n.reason,
                "link": n.link,
                "owner": n.owner,
                "expires": n.expires,
            }
            for n in report.known_issues
        ],
    }


def _group(found: Group, explained: Sequence[ExplanationNote]) -> dict[str, Any]:
    return {
        "signature": found.signature,
        "cells": found.cells,
        "own": found.own,
        "variants": [
            {"signature": one.signature, "cells": one.cells, "device": one.cause.device if one.cause else ""}
            for one in found.variants
        ],
        "outcomes": dict(found.outcomes),
        "machines": found.machines,
        "profiles": found.profiles,
        "routes": found.routes,
        "smallest": found.smallest.to_json(),
        "command": visible(found.command),
        "explanation": dict(explained[0].data) if explained else None,
        "explanations": [dict(note.data) for note in explained],
    }


def _chain(found: ChainFinding) -> dict[str, Any]:
    return {
        "kind": found.kind,
        "path": found.path,
        "cells": found.cells,
        "direct_passes": found.direct,
        "machines": found.machines,
        "profiles": found.profiles,
        "example": found.example.cell.id,
    }


def _row(result: CellResult) -> list[Any]:
    data = result.to_json()
    return [data[column] for column in _COLUMNS]
