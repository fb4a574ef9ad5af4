# SPDX-License-Identifier: Apache-2.0
"""SARIF 2.1.0 (OASIS): findings that stand at a line of a file, for code scanning.

Three things are told so: mistakes in compat tables (`compat lint`), what two builds set differently (`compat diff`), and the
problems of a run. A problem stands at the table line that sets the property which heals it, as `migmatrix explain` found
it; one without such a line at the profile of its smallest cell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from migmatrix.harness import __version__
from migmatrix.harness.compat.tables import tables_directory
from migmatrix.harness.exports.clean import json_text
from migmatrix.harness.exports.problems import fingerprint, problems
from migmatrix.harness.exports.tablelines import TableLines
from migmatrix.harness.report.data import Section
from migmatrix.harness.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from migmatrix.harness.compat.diff import Differing
    from migmatrix.harness.compat.lint import Finding
    from migmatrix.harness.errors import Position
    from migmatrix.harness.exports.problems import Problem
    from migmatrix.harness.model import Cell
    from migmatrix.harness.report.data import RunReport

__all__ = ["diff_sarif", "lint_sarif", "render_sarif"]

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS: Final = {
    Section.PROBLEM: "error",
    Section.FLAKY: "warning",
    Section.KNOWN: "error",  # and suppressed
}


@dataclass(frozen=True, slots=True)
class _Result:
    """One finding; `suppressed` is the reason why it is accepted."""

    rule: str
    level: str
    text: str
    place: Position
    key: str
    suppressed: str | None = None
    properties: dict[str, Any] = field(default_factory=dict)


def lint_sarif(found: Iterable[Finding], directory: Path) -> str:
    """The findings of `compat lint` at the lines of the tables in a directory."""
    lines = TableLines(directory)
    return _document([_linted(one, lines) for one in found])


def _linted(one: Finding, lines: TableLines) -> _Result:
    # an entry is told as device.property=value, and neither device nor property has a "="
    device, _, name = one.entry.partition("=")[0].rpartition(".")
    text = f"{one.entry}: {one.message}"
    level = "error" if one.counts else "note"
    return _Result(one.rule, level, text, lines.of(one.table, device, name), f"{one.table} {text}")


def diff_sarif(found: Iterable[Differing], directory: Path, builds: Sequence[str], machine: str) -> str:
    """The differences of `compat diff`; expected ones are notes."""
    lines = TableLines(directory)
    return _document([_differs(one, lines, builds, machine) for one in found])


def _differs(one: Differing, lines: TableLines, builds: Sequence[str], machine: str) -> _Result:
    sides = (
        f"{build} {'does not set it' if v is None else f'sets {v!r}'}"
        for build, v in zip(builds, (one.a, one.b), strict=True)
    )
    rule = "expected-difference" if one.expected else "late-difference"
    text = f"{one.device}.{one.name} on {machine}: {', '.join(sides)}"
    place = lines.of(one.table, one.device, one.name)
    return _Result(rule, "note" if one.expected else "error", text, place, text)


def render_sarif(report: RunReport, place: Callable[[Cell], Position]) -> str:
    """The problems of a run that say something about a build: not the host's, not those that are gone."""
    lines = TableLines(tables_directory())
    return _document([_problem(report, one, lines, place) for one in problems(report, list(_LEVELS))])


def _problem(
    report: RunReport, found: Problem, lines: TableLines, place: Callable[[Cell], Position]
) -> _Result:
    group = found.group
    known = f"known issue {group.smallest.known_issue}" if found.section is Section.KNOWN else None
    where = next(_healing(report, found, lines), None) or place(group.smallest.cell)
    return _Result(
        rule=group.cause.kind if group.cause and group.cause.kind.strip() else "unclassified",
        level=_LEVELS[found.section],
        text="\n".join((found.title, *found.lines)),
        place=where,
        key=group.key,
        suppressed=known,
        properties={"cells": group.cells, "signature": group.signature, "command": group.command},
    )


def _healing(report: RunReport, found: Problem, lines: TableLines) -> Iterator[Position]:
    """The table lines that set what heals a problem, newest explanation's remedies first."""
    for note in report.explained(found.group):
        settings = [s for remedy in note.data.get("remedies", ()) for s in remedy["settings"]]
        settings += [cure["healthy"] for cure in note.data.get("cures", ())]
        owners = [o for remedy in note.data.get("remedies", ()) for o in remedy["owners"]]
        owners += [cure["owner"] for cure in note.data.get("cures", ())]
        for setting, owner in zip(settings, owners, strict=False):
            for table in lines.tables():
                for type_ in (owner, setting["type"]):
                    if position := lines.find(table, type_, setting["name"]):
                        yield position


# --- the document -------------------------------------------------------------------------------


def _document(results: Sequence[_Result]) -> str:
    rules = list(dict.fromkeys(one.rule for one in results))
    driver = {"name": "migmatrix", "version": __version__, "rules": [_rule(name) for name in rules]}
    return json_text(
        {
            "$schema": _SCHEMA,
            "version": "2.1.0",
            "runs": [
                {
                    "tool": {"driver": driver},
                    "columnKind": "unicodeCodePoints",
                    "results": [_result(one, rules.index(one.rule)) for one in results],
                }
            ],
        }
    )


def _rule(name: str) -> dict[str, Any]:
    return {"id": name, "shortDescription": {"text": name}}


def _result(one: _Result, rule: int) -> dict[str, Any]:
    region = {"startLine": one.place.line, "startColumn": one.place.column}
    suppressed = [{"kind": "external", "justification": one.suppressed}] if one.suppressed else None
    return {
        "ruleId": one.rule,
        "ruleIndex": rule,
        "level": one.level,
        "message": {"text": one.text},
        "locations": [
            {"physicalLocation": {"artifactLocation": {"uri": _uri(one.place.file)}, "region": region}}
        ],
        "partialFingerprints": {"problem/v1": fingerprint(one.rule, one.key)},
        **({"suppressions": suppressed} if suppressed else {}),
        **({"properties": one.properties} if one.properties else {}),
    }


def _uri(file: str) -> str:
    """A relative reference, or a file's URI for an absolute path (RFC 3986)."""
    path = Path(visible(file))
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())
