#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the table of docs/interop.md: what passes between real QEMU and the emulator, and why the rest does not.

    scripts/interop_table.py RUN...     read runs of matrices/postcopy.yaml and matrices/multifd.yaml, and write; of a
                                        cell that several have the last counts
    scripts/interop_table.py            write again what is stored
    scripts/interop_table.py --check    exit 1 when the table is not that of what is stored

What is stored, docs/interop.json, has for each mode and board a letter for each pair of builds, source by source: `.` it
passed, `-` it was left out of the plan, else a cause.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from itertools import product
from pathlib import Path
from string import ascii_letters
from typing import Any, Final

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
BEGIN: Final = "<!-- made by scripts/interop_table.py -->"
END: Final = "<!-- end of what is made -->"
PASSED, LEFT_OUT = ".", "-"
DIRECTIONS: Final = ("real > real", "real > emulator", "emulator > real", "emulator > emulator")

_KIND: Final = re.compile(r"\b(?:qemu|emu)-(?=\d)")

Stored = dict[str, Any]
Pair = tuple[str, str]


def store(runs: list[Path]) -> Stored:
    """What is kept of some runs, whose builds must be the same."""
    reports = [json.loads((run / "report.json").read_text(encoding="utf-8")) for run in runs]
    lines = [
        line for run in runs for line in (run / "results.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    results = list({result["cell"]: result for result in map(json.loads, lines)}.values())
    builds = {build["id"]: build["version"] for build in reports[0]["builds"]}
    causes = _causes(results)
    found = {(r["mode"], r["machine"], *r["path"]): _letter(r, causes) for r in results}
    places = dict.fromkeys((r["mode"], r["machine"]) for r in results)
    return {
        "runs": [
            f"{r['started'][:10]}: `{r['matrix']['name']}`, {r['cells']['total']} cells" for r in reports
        ],
        "builds": builds,
        "pairs": {
            f"{mode} {board}": "".join(
                found.get((mode, board, *pair), LEFT_OUT) for pair in product(builds, repeat=2)
            )
            for mode, board in sorted(places, key=lambda place: _order(place, reports))
        },
        "causes": {letter: {"verdict": verdict, "told": told} for (verdict, told), letter in causes.items()},
        "left out": _left_out(reports),
    }


def _order(place: Pair, reports: list[Any]) -> Pair | tuple[int, str]:
    """Modes in the order of the matrices, boards as they come."""
    modes = [row[3] for report in reports for row in report["results"]["rows"]]
    return (modes.index(place[0]), place[1])


def _causes(results: list[Any]) -> dict[Pair, str]:
    told = Counter(_told(result) for result in results if result["verdict"] != "pass")
    return dict(zip((cause for cause, _ in told.most_common()), ascii_letters, strict=False))


def _told(result: Any) -> Pair:
    """Its verdict, and what was said."""
    cause = result["cause"] or {}
    return result["verdict"], cause.get("message", "") or result["reason"]


def _letter(result: Any, causes: dict[Pair, str]) -> str:
    return PASSED if result["verdict"] == "pass" else causes[_told(result)]


def _left_out(reports: list[Any]) -> list[dict[str, Any]]:
    """By reason, whichever the builds; a run of a selection is a part of one that tells all."""
    told: Counter[str] = Counter()
    for dropped in (d for report in reports if not report["selection"] for d in report["dropped"]):
        told[_KIND.sub("", dropped["reason"])] += dropped["count"]
    return [{"cells": cells, "reason": reason} for reason, cells in told.most_common()]


# -- the text ------------------------------------------------------------------------------------


def table(stored: Stored) -> str:
    """What stands between the markers."""
    parts = (_head(stored), _by_mode(stored), _by_pair(stored), _failures(stored), _without(stored))
    return "\n\n".join("\n".join(part) for part in parts if part)


def _head(stored: Stored) -> list[str]:
    versions = ", ".join(f"`{build}` {version}" for build, version in stored["builds"].items())
    return [f"* {run}" for run in stored["runs"]] + [f"* {versions}"]


def _cells(stored: Stored) -> list[tuple[str, str, Pair, str]]:
    """Mode, board, pair and letter of each."""
    pairs = list(product(stored["builds"], repeat=2))
    return [
        (*place.split(), pair, letter)
        for place, letters in stored["pairs"].items()
        for pair, letter in zip(pairs, letters, strict=True)
    ]


def _kind(build: str) -> str:
    return "emulator" if build.startswith("emu-") else "real"


def _direction(pair: Pair) -> str:
    return " > ".join(map(_kind, pair))


def _versions(pair: Pair) -> str:
    return " > ".join(build.partition("-")[2] for build in pair)


def _rows(stored: Stored, by: int, first: str) -> list[str]:
    counted = _count(stored, by)
    unsupported = {letter for letter, cause in stored["causes"].items() if cause["verdict"] == "unsupported"}
    lines = [f"| {first} | {' | '.join(DIRECTIONS)} |", "|---" * (len(DIRECTIONS) + 1) + "|"]
    for name, by_direction in counted.items():
        cells = (_share(by_direction.get(direction, Counter()), unsupported) for direction in DIRECTIONS)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _share(letters: Counter[str], unsupported: set[str]) -> str:
    """How many passed of those that were done, and how many were not."""
    without = sum(letters[letter] for letter in (LEFT_OUT, *unsupported))
    done = letters.total() - without
    return " ".join(
        filter(None, (f"{letters[PASSED]}/{done}" if done else "", f"({without} without)" if without else ""))
    )


def _count(stored: Stored, by: int) -> dict[str, dict[str, Counter[str]]]:
    """Letters by mode and board (0) or by versions (1), and direction."""
    found: dict[str, dict[str, Counter[str]]] = {}
    for mode, board, pair, letter in _cells(stored):
        name = _versions(pair) if by else f"`{mode}`, `{board}`"
        found.setdefault(name, {}).setdefault(_direction(pair), Counter())[letter] += 1
    return found


def _by_mode(stored: Stored) -> list[str]:
    return [
        "Passed of done, by mode and board; *without*: a build refuses the mode, or it was left out of the plan, see below.",
        "",
        *_rows(stored, 0, "mode, board"),
    ]


def _by_pair(stored: Stored) -> list[str]:
    return ["The same by versions:", "", *_rows(stored, 1, "source > destination")]


def _failures(stored: Stored) -> list[str]:
    if not stored["causes"]:
        return ["Nothing failed."]
    lines = [
        "What does not pass:",
        "",
        "| cells | what | modes | boards | versions | directions |",
        "|---" * 6 + "|",
    ]
    for letter, cause in stored["causes"].items():
        met = [cell for cell in _cells(stored) if cell[3] == letter]
        names = (
            [f"`{mode}`" for mode, *_ in met],
            [f"`{board}`" for _, board, *_ in met],
            [_versions(pair) for *_, pair, _ in met],
            [_direction(pair) for *_, pair, _ in met],
        )
        columns = " | ".join(", ".join(dict.fromkeys(part)) for part in names)
        told = cause["told"].replace("|", "\\|")
        lines.append(f"| {len(met)} | {cause['verdict']}: `{told}` | {columns} |")
    return lines


def _without(stored: Stored) -> list[str]:
    if not stored["left out"]:
        return []
    lines = [
        "Left out of the plan, since it is known before that it cannot work:",
        "",
        "| cells | why |",
        "|---|---|",
    ]
    return lines + [f"| {entry['cells']} | {entry['reason']} |" for entry in stored["left out"]]


# -- files ---------------------------------------------------------------------------------------


def put(page: str, made: str) -> str:
    """The page with the table in its place; ValueError when it has no such place."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"no {BEGIN!r} and {END!r} in the page")
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def main(arguments: list[str], docs: Path = DOCS) -> int:
    """Write, or check; the exit code."""
    kept, page = docs / "interop.json", docs / "interop.md"
    if arguments and arguments[0] != "--check":
        text = json.dumps(store([Path(name) for name in arguments]), indent=1)
        kept.write_text(text + "\n", encoding="utf-8")
    old = page.read_text(encoding="utf-8")
    new = put(old, table(json.loads(kept.read_text(encoding="utf-8"))))
    if arguments == ["--check"]:
        return int(new != old)
    page.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
