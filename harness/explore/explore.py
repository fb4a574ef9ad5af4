# SPDX-License-Identifier: Apache-2.0
"""`migmatrix explore`, from a plan to what it leaves: a directory with findings, coverage, and profiles for a matrix."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from migmatrix.harness import interrupt
from migmatrix.harness.errors import InfrastructureError, UserError, did_you_mean
from migmatrix.harness.explore.arguments import Writer
from migmatrix.harness.explore.described import differing
from migmatrix.harness.explore.kept import Keeper, Outcome
from migmatrix.harness.explore.order import Order
from migmatrix.harness.explore.plan import Budget, Plan
from migmatrix.harness.explore.records import Phase
from migmatrix.harness.explore.search import Search
from migmatrix.harness.explore.space import by_age, space_of
from migmatrix.harness.explore.table import load_table
from migmatrix.harness.run.definition import Origin, definition
from migmatrix.harness.run.opening import opened, silent
from migmatrix.harness.run.pipeline import engine_specs, known_of, settings_of
from migmatrix.harness.select import glob_match

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from migmatrix.harness.explore.table import Table
    from migmatrix.harness.model import LegEvidence
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
    store_limit: int = 20 << 30  # bytes of streams to leave in the store


async def explore(
    prepared: Prepared,
    options: ExploreOptions,
    log: Callable[[str], None],
    tell: Callable[[Search], None],
    on_leg: Callable[[LegEvidence, bool], None] = silent,
) -> Outcome:
    """Search, and leave ``findings.json``, ``profiles-found.yaml`` and scripts in the directory, while it goes on too.

    A signal ends the search, and what was found until then is kept. UserError when the plan has no cells, no device is
    meant by the glob, or the directory cannot be written to.
    """
    plan = _plan(prepared, options)
    table = load_table()
    keeper = Keeper(options.out, known_of(prepared.matrix), prepared.matrix.default_args)
    keeper.make()

    def told(search: Search) -> None:
        keeper.keep_now_and_then(search)
        tell(search)

    settings = settings_of(prepared.matrix, options.jobs)
    async with opened(options.store, settings, log) as where:
        space = await space_of(where, plan.builds, plan.machines, plan.arguments, table, options.devices, log)
        space = replace(space, described=differing(by_age(plan.builds), plan.machines, log))
        order = options.order(space, table, options.devices, options.seed)
        if not order.chosen():
            raise _no_devices(options.devices, plan, table)
        search = Search(plan, where, order, Writer(space, table), options.budget, log, told, on_leg)
        ended = "interrupted"
        try:
            ended = await search.run()
        except (asyncio.CancelledError, InfrastructureError):
            if not interrupt.asked():
                ended = "host failed"
                raise
        finally:
            outcome = keeper.keep(search, ended)
            where.store.evict(options.store_limit)
        return outcome


def _no_devices(glob: str, plan: Plan, table: Table) -> UserError:
    """Why a glob means nothing: all that it names stays away, or no build has such a device."""
    names = sorted({name for build in plan.builds.values() for name in build.facts.devices})
    away = {table.away_device(name): name for name in names if glob_match(name, glob)}
    if why := "; ".join(f"{name}: {reason}" for reason, name in away.items() if reason):
        return UserError(f"--devices {glob!r} means no device that is tried: {why}")
    tried = [name for name in names if not table.away_device(name)]
    return UserError(f"--devices {glob!r} means no device that is tried: {did_you_mean(glob, tried)}")


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
