# SPDX-License-Identifier: Apache-2.0
"""A plan in a file: what `migmatrix plan --json` prints and `migmatrix run --plan` runs, here or on another machine.

1. The file has all cells and legs, and what tells whether they mean the same here: the matrix's definition, each
   build's digest, and a digest of the plan.
2. Builds are made ready from the matrix file; what differs from the plan is refused by name. Nothing is planned anew.
3. A leg's key is computed again from its inputs. So a file that was changed by hand, or by a bad disk, is refused too.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from migmatrix.harness.config import load_matrix
from migmatrix.harness.errors import UserError
from migmatrix.harness.plan import from_json
from migmatrix.harness.plan.keys import BuildDigests, GroupKeys
from migmatrix.harness.run.definition import definition
from migmatrix.harness.run.opening import silent
from migmatrix.harness.run.pipeline import Prepared, engine_specs, prepare_specs
from migmatrix.harness.run.plandocument import ORIGIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.plan import Leg, Plan
    from migmatrix.harness.run.pipeline import RunOptions
    from migmatrix.harness.run.plandocument import Origin, PlannedBuild

__all__ = ["prepare_plan_file"]


def prepare_plan_file(
    path: Path, options: RunOptions, log: Callable[[str], None] = silent, *, own_matrix: bool = True
) -> tuple[Prepared, RunOptions]:
    """Read a plan and get its builds ready; return it with the options to run it with.

    The matrix is the one that the plan names, or `options.file` without `own_matrix`. UserError when the file is no
    plan or a damaged one, and when a build, a profile, a mode or a guest is another than the plan's.
    """
    plan, origin = _read(path)
    file = Path(origin.file) if own_matrix else options.file
    if own_matrix and not file.exists():
        raise UserError(f"there is no {str(file)!r}, which the plan names as its matrix: name it with -f")
    matrix = load_matrix(file)
    engine = options.engine or origin.engine
    specs = engine_specs(matrix, engine)
    for difference in _differences(plan, origin.definition, definition(matrix, specs)):
        raise UserError(f"{difference} of {str(file)!r} is another than that of the plan {str(path)!r}")
    for row in origin.builds:
        if row.id not in specs:
            raise UserError(f"{str(file)!r} has no build {row.id!r}, which the plan {str(path)!r} has")
    builds = prepare_specs(matrix, {row.id: specs[row.id] for row in origin.builds}, options.store, log)
    for row in origin.builds:
        _refuse_another(row, builds[row.id])
    _refuse_changed(path, plan, builds)
    chosen = replace(
        options,
        file=file,
        select=origin.select,
        paths=origin.paths,
        shard=origin.shard,
        seed=origin.seed,
        engine=engine,
    )
    return Prepared(matrix, builds, plan), chosen


def _read(path: Path) -> tuple[Plan, Origin]:
    """A plan and its origin; UserError for every file that is something else, or damaged."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise UserError(f"cannot read {str(path)!r}: {err.strerror or err}") from err
    except (ValueError, RecursionError) as err:
        raise UserError(f"{str(path)!r} is no plan: it is no JSON: {err}") from err
    if not isinstance(data, dict) or not {"format", "hops", "cells", "digest", "origin"} <= data.keys():
        raise UserError(f"{str(path)!r} is no plan that `migmatrix plan --json` printed")
    try:
        plan, origin = from_json(data), ORIGIN.validate_python(data["origin"])
        intact = plan.digest == data["digest"]
    except (AttributeError, LookupError, TypeError, ValueError) as err:
        raise UserError(f"the plan {str(path)!r} is damaged: {_one_line(err)}") from err
    if not intact:
        raise UserError(f"the plan {str(path)!r} is damaged: its cells do not have its digest")
    return plan, origin


def _one_line(err: Exception) -> str:
    if isinstance(err, ValidationError):
        first = err.errors()[0]
        return f"{'.'.join(map(str, ('origin', *first['loc'])))}: {first['msg'].lower()}"
    return f"no {err}" if isinstance(err, LookupError) else str(err).partition("\n")[0]


def _differences(plan: Plan, planned: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """What the plan's cells use and the matrix has otherwise: arguments, profiles, modes, guests."""
    if planned.get("default_args") != here["default_args"]:
        yield "'default_args'"
    used = {
        "profile": {cell.profile for cell in plan.cells},
        "mode": {cell.mode for cell in plan.cells},
        "guest": {cell.guest for cell in plan.cells},
    }
    for kind, names in used.items():
        one, other = (_named(side.get(f"{kind}s", ())) for side in (planned, here))
        yield from (f"{kind} {name!r}" for name in sorted(names) if one.get(name) != other.get(name))


def _named(rows: Any) -> dict[str, Any]:
    return {row["name"]: row for row in rows}


def _refuse_another(planned: PlannedBuild, build: PreparedBuild) -> None:
    if build.facts.digest != planned.digest:
        raise UserError(
            f"build {planned.id!r} is {build.facts.version} with digest {build.facts.digest[:12]} here, another than the"
            f" plan's {planned.version} with {planned.digest[:12]}"
        )


def _refuse_changed(path: Path, plan: Plan, builds: Mapping[str, PreparedBuild]) -> None:
    """Refuse a plan with a leg whose key does not follow from its inputs (rule 3)."""
    digests = BuildDigests(builds)
    for leg in plan.legs.values():
        if _key(leg, digests.of(leg.arguments)) != leg.key:
            raise UserError(
                f"the plan {str(path)!r} is damaged: leg {leg.key[:16]} does not have its key; or a file that its"
                " arguments name is another one now"
            )


def _key(leg: Leg, digests: Mapping[str, bytes]) -> str:
    group = GroupKeys(leg.machine, leg.arguments, leg.mode, leg.guest)
    source = None if leg.source is None else digests.get(leg.source, b"")
    return group.key(digests.get(leg.build, b""), leg.incoming, source)
