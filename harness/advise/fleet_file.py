# SPDX-License-Identifier: Apache-2.0
"""A fleet file: which builds are in service, and which guests run on them.

    builds: [qemu-7.2, qemu-8.0, qemu-8.0.1, qemu-8.2]   # ids of the run; any order
    goal: qemu-8.2                                       # default: the newest of them
    machines: ["pc-q35-*"]                               # globs, default all of the run
    profiles: ["*"]

Names are checked against the run; mistakes have file:line:column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from migmatrix.harness.config.nodes import read_document
from migmatrix.harness.config.records import ConfigModel, Name, Text, validate
from migmatrix.harness.errors import ConfigError, did_you_mean
from migmatrix.harness.releases import version_key
from migmatrix.harness.select import glob_match

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from migmatrix.harness.advise.verdicts import Verdicts

__all__ = ["Fleet", "load_fleet"]


class _FleetFile(ConfigModel):
    builds: tuple[Name, ...]
    goal: Name | None = None
    machines: tuple[Text, ...] = ("*",)
    profiles: tuple[Text, ...] = ("*",)


_FILE = TypeAdapter(_FleetFile)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Builds in service, oldest first; kinds of guests as (machine, profile)."""

    builds: tuple[str, ...]
    goal: str
    kinds: tuple[tuple[str, str], ...]


def load_fleet(path: Path, known: Verdicts) -> Fleet:
    """Read a fleet file for a run; ConfigError with its position for what the run does not have."""
    document = read_document(path)
    spec = validate(_FILE, document)
    for at, name in enumerate(spec.builds):
        if name not in known.builds:
            hint = did_you_mean(name, list(known.builds))
            raise ConfigError(f"the run has no build {name!r}: {hint}", document.position(("builds", at)))
    builds = sorted(spec.builds, key=lambda b: version_key(known.builds[b].facts.version))
    if not builds:
        raise ConfigError("a fleet needs builds", document.position(("builds",)))
    goal = spec.goal or builds[-1]
    if goal not in builds:
        raise ConfigError(f"goal {goal!r} is none of the builds", document.position(("goal",)))
    kinds = tuple(dict.fromkeys((r.cell.machine, r.cell.profile) for r in known.results))
    chosen = tuple(k for k in kinds if _any(k[0], spec.machines) and _any(k[1], spec.profiles))
    if not chosen:
        raise ConfigError("no machine and profile of the run is selected", document.position(()))
    return Fleet(tuple(builds), goal, chosen)


def _any(name: str, globs: Iterable[str]) -> bool:
    return any(glob_match(name, glob) for glob in globs)
