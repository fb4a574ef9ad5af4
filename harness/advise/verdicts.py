# SPDX-License-Identifier: Apache-2.0
"""The verdict that a stored run has for a route, whatever names the builds have in its matrix.

1. A build that is another one of the run with more ``-global`` arguments is that build with overrides: the same content
   (digest) and the same settings are the same step of a route.
2. Only cells that were run count. A chain has a verdict only if it was run as that chain: pairs imply nothing.
3. Overrides that an explanation of the run verified are found by signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from migmatrix.harness.model import Verdict
from migmatrix.harness.releases import version_key
from migmatrix.harness.trials.records import Setting, Side, Step, setup_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.explain.records import Explanation
    from migmatrix.harness.model import CellResult
    from migmatrix.harness.trials.records import Setup

__all__ = ["Verdicts"]


@dataclass(frozen=True)
class Verdicts:
    """Verdicts by setup and route; several explanations may be of one signature."""

    builds: Mapping[str, PreparedBuild]
    results: tuple[CellResult, ...]
    explanations: tuple[Explanation, ...]

    @cached_property
    def base_builds(self) -> tuple[str, ...]:
        """Builds that are not another one with more arguments, oldest first: any guest can be sent there."""
        plain = [build for build in self.builds.values() if not self._is_variant(build)]
        return tuple(b.id for b in sorted(plain, key=lambda b: version_key(b.facts.version)))

    def _is_variant(self, build: PreparedBuild) -> bool:
        return any(
            other.facts.digest == build.facts.digest
            and len(other.args) < len(build.args)
            and other.args == build.args[: len(other.args)]
            for other in self.builds.values()
        )

    def canonical(self, step: Step) -> Step:
        """The step as a base build with all settings that it gets, in order (rule 1)."""
        base, more = self._bases[step.build]
        return Step(base, tuple(sorted({*more, *step.settings})))

    @cached_property
    def _bases(self) -> Mapping[str, tuple[str, tuple[Setting, ...]]]:
        return {id_: self._base(id_) for id_ in self.builds}

    def _base(self, id_: str) -> tuple[str, tuple[Setting, ...]]:
        build = self.builds[id_]
        alike = [b for b in self.builds.values() if b.facts.digest == build.facts.digest]
        for other in sorted(alike, key=lambda b: len(b.args)):
            more = _settings(build.args[len(other.args) :])
            if other.args == build.args[: len(other.args)] and more is not None:
                return other.id, more
        raise AssertionError("every build is its own base")

    def verdict(self, setup: Setup, route: Iterable[Step]) -> CellResult | None:
        """What the run has for a route; None when it has not run it."""
        return self._by_route.get((setup, tuple(self.canonical(step) for step in route)))

    @cached_property
    def _by_route(self) -> Mapping[tuple[Setup, tuple[Step, ...]], CellResult]:
        found = {}
        for result in self.results:
            cell = result.cell
            if result.verdict is not Verdict.ERROR and all(b in self.builds for b in cell.path):
                found[setup_of(cell), tuple(self.canonical(Step(b)) for b in cell.path)] = result
        return found

    def overrides(self, signature: str | None) -> tuple[tuple[Setting, ...], ...]:
        """Settings of a destination that took such a guest, as explanations verified them (rule 3)."""
        mine = [e for e in self.explanations if e.signature == signature]
        remedies = [r for e in mine for r in e.remedies]
        here = [r.settings for r in remedies if r.side is Side.DESTINATION]
        before = [r.instead_of for r in remedies if r.side is not Side.DESTINATION]
        rescues = [rescue.settings for e in mine for rescue in e.rescues]
        return tuple(dict.fromkeys(settings for settings in (*here, *rescues, *before) if settings))


def _settings(args: tuple[str, ...]) -> tuple[Setting, ...] | None:
    """``-global a.b=c`` pairs as settings; None when there is anything else."""
    found = []
    for option, text in zip(args[::2], args[1::2], strict=False):
        name, equals, value = text.partition("=")
        type_, dot, prop = name.rpartition(".")
        if option != "-global" or not (equals and dot):
            return None
        found.append(Setting(type_, prop, value))
    return tuple(sorted(found)) if len(args) % 2 == 0 else None
