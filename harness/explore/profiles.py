# SPDX-License-Identifier: Apache-2.0
"""Findings as profiles that a matrix takes up, and their names. Pure.

1. A finding has a name of its own, which is its script's too. No two have the same.
2. A command line is one profile, by the name of the first finding that has it: it shows all of them.
3. Profiles of one root follow each other, and say so.
"""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING, Any

import yaml

from migmatrix.harness.explore.roots import by_root, without

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from migmatrix.harness.explore.findings import Finding

__all__ = ["give_names", "profiles_text"]

_LONGEST = 60  # of a signature's part in a name


def give_names(findings: Iterable[Finding]) -> None:
    """Rule 1; a name for each finding that came again and is a failure, none for the others."""
    taken: set[str] = set()
    for finding in findings:
        finding.profile = ""
        if finding.steady and finding.kind.fails:
            finding.profile = next(name for name in _names(finding.signature) if name not in taken)
            taken.add(finding.profile)


def _names(signature: str) -> Iterator[str]:
    words = re.sub(r"[^A-Za-z0-9]+", "-", signature).strip("-").lower()
    name = f"found-{words[:_LONGEST].rstrip('-')}"
    yield name
    yield from (f"{name}-{number}" for number in count(2))


def profiles_text(findings: Iterable[Finding], common: Sequence[str]) -> str:
    """The profiles as YAML, without `common`, what a matrix gives every cell anyway; empty when there are none."""
    profiles: dict[str, dict[str, Any]] = {}
    for alike in by_root(finding for finding in findings if finding.profile):
        lines: dict[tuple[str, ...], list[Finding]] = {}
        for finding in alike:
            lines.setdefault(tuple(without(finding.arguments, common)), []).append(finding)
        for args, shown in lines.items():
            words = ", ".join(dict.fromkeys(finding.signature for finding in shown))
            root = (
                "" if shown[0] is alike[0] else f" (of the same root as {alike[0].profile}: {alike[0].root})"
            )
            profiles[shown[0].profile] = {
                "description": f"found by explore: {words}{root}",
                "args": list(args),
            }
    if not profiles:
        return ""
    return yaml.safe_dump(profiles, sort_keys=False, default_flow_style=None, width=100)
