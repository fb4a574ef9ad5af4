# SPDX-License-Identifier: Apache-2.0
"""`migmatrix explore`, from a plan to what it leaves: a directory with findings, coverage, and profiles for a matrix."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import yaml

from migmatrix.harness.errors import UserError
from migmatrix.harness.explain.options import groups
from migmatrix.harness.explore.arguments import Writer
from migmatrix.harness.explore.findings import Problem
from migmatrix.harness.explore.order import Order
from migmatrix.harness.explore.records import Phase
from migmatrix.harness.explore.reproduce import recipe_of, script
from migmatrix.harness.explore.search import Budget, Plan, Search
from migmatrix.harness.explore.space import space_of
from migmatrix.harness.explore.table import load_table
from migmatrix.harness.files import PUBLIC, write_whole
from migmatrix.harness.run.definition import Origin, definition
from migmatrix.harness.run.opening import opened
from migmatrix.harness.run.pipeline import engine_specs, known_of, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.explore.findings import Finding
    from migmatrix.harness.known import KnownIssue
    from migmatrix.harness.run.pipeline import Prepared

__all__ = ["ExploreOptions", "Outcome", "explore"]

_BARE = "-nodefaults"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploreOptions:
    """What the command line says; `devices` is a glob of device types. `order` is what a comparison may replace."""

    store: Path
    out: Path
    jobs: int = 2
    devices: str = "*"
    depth: Phase = Phase.WALK
    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    shard: tuple[int, int] = (1, 1)
    every_machine: bool = False
    order: type[Order] = Order


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search found; `new` are the steady findings that no known issue names, and no emulator tells."""

    findings: Sequence[Finding]
    facts: dict[str, Any]

    @property
    def new(self) -> list[Finding]:
        """Findings that nobody knew; none that an emulator says itself."""
        return [
            finding
            for finding in self.findings
            if finding.steady and not finding.known and finding.kind is not Problem.UNMIGRATABLE
        ]

    def to_json(self) -> dict[str, Any]:
        """What ``findings.json`` holds."""
        return {**self.facts, "findings": [finding.to_json() for finding in self.findings]}


async def explore(
    prepared: Prepared,
    options: ExploreOptions,
    log: Callable[[str], None],
    tell: Callable[[Search], None],
) -> Outcome:
    """Search, and leave ``findings.json``, ``profiles-found.yaml`` and scripts in the directory, after each batch.

    UserError when the plan has no cells, or no device is meant by the glob.
    """
    plan = _plan(prepared, options)
    table = load_table()
    known = known_of(prepared.matrix)
    given = prepared.matrix.default_args
    options.out.mkdir(parents=True, exist_ok=True)

    def told(search: Search) -> None:
        _keep(options.out, _outcome(search, known), given, plan.builds)
        tell(search)

    settings = settings_of(prepared.matrix, options.jobs)
    async with opened(options.store, settings, log) as where:
        space = await space_of(where, plan.builds, plan.machines, plan.arguments, table, options.devices, log)
        order = options.order(space, table, options.devices, options.seed)
        if not order.chosen():
            raise UserError(f"--devices {options.devices!r} means no device that is tried")
        search = Search(plan, where, order, Writer(space, table), options.budget, log, told)
        await search.run()
        outcome = _outcome(search, known)
        _keep(options.out, outcome, given, plan.builds)
        return outcome


def _plan(prepared: Prepared, options: ExploreOptions) -> Plan:
    cells = prepared.plan.cells
    if not cells:
        raise UserError("the plan has no cells: it says no machine and no builds to search")
    origin = Origin.of_matrix(prepared.matrix, prepared.builds)
    used = {build for cell in cells for build in cell.path}
    return Plan(
        builds={id_: build for id_, build in prepared.builds.items() if id_ in used},
        machines=tuple(dict.fromkeys(cell.machine for cell in cells)),
        arguments=_common(origin.default_args),
        mode=origin.modes[cells[0].mode],
        guest=origin.guests[cells[0].guest],
        depth=options.depth,
        every_machine=options.every_machine,
        shard=options.shard,
        origin=_origin(prepared),
    )


def _origin(prepared: Prepared) -> dict[str, Any]:
    """What a run keeps of itself, without the profiles, which a search does not use."""
    matrix = replace(prepared.matrix, profiles=())
    facts = ((id_, build.facts) for id_, build in prepared.builds.items())
    return {
        "definition": definition(matrix, engine_specs(matrix, None)),
        "builds": [{"id": id_, "version": f.version, "digest": f.digest} for id_, f in facts],
    }


def _common(given: tuple[str, ...]) -> tuple[str, ...]:
    """What every command line has: the matrix's own, and no device that nobody asked for."""
    return given if _BARE in given else (*given, _BARE)


def _outcome(search: Search, known: Sequence[KnownIssue]) -> Outcome:
    findings = list(search.collector.findings.values())
    for finding in findings:
        finding.known = next((issue.id for issue in known if issue.has_signature(finding.signature)), "")
        finding.profile = _profile_name(finding) if finding.steady and finding.kind.fails else ""
    facts = {
        "format": 1,
        "legs": search.spent,
        "builds": {id_: build.facts.version for id_, build in search.plan.builds.items()},
        "machines": list(search.plan.machines),
        "origin": search.plan.origin,
        "coverage": search.coverage.to_json(),
        "sections_and_fields": len(search.seen.features),
        "refused": search.refusals.words(),
        "blocked": {said: sorted(what) for said, what in sorted(search.collector.blocked.items())},
    }
    return Outcome(findings, facts)


def _profile_name(finding: Finding) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "-", finding.signature).strip("-").lower()
    return f"found-{words[:60].rstrip('-')}"


def _keep(
    directory: Path, outcome: Outcome, common: tuple[str, ...], builds: Mapping[str, PreparedBuild]
) -> None:
    """Write what was found; the profiles are what a matrix with the same common arguments takes up."""
    text = json.dumps(outcome.to_json(), indent=1)
    write_whole(directory / "findings.json", f"{text}\n".encode(), PUBLIC)
    profiles = {
        finding.profile: {
            "description": f"found by explore: {finding.signature}",
            "args": list(_without(finding.arguments, common)),
        }
        for finding in outcome.findings
        if finding.profile
    }
    dumped = yaml.safe_dump(profiles, sort_keys=False, default_flow_style=None, width=100) if profiles else ""
    write_whole(directory / "profiles-found.yaml", dumped.encode(), PUBLIC)
    for finding in outcome.findings:
        if finding.profile and finding.mode == "snapshot":  # a script migrates by a file, as that mode does
            text = script(recipe_of(finding, builds))
            write_whole(directory / f"{finding.profile}.sh", text.encode(), PUBLIC)


def _without(arguments: tuple[str, ...], common: tuple[str, ...]) -> Iterator[str]:
    """The arguments without those that a matrix gives every cell anyway."""
    given = {group.words for group in groups(common)}
    for group in groups(arguments):
        if group.words not in given:
            yield from group.words
