# SPDX-License-Identifier: Apache-2.0
"""A plan as JSON with where it comes from: what `migmatrix plan --json` prints and a run directory keeps.

`planfile.py` reads it back and runs it; a merge of shards makes one of theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from migmatrix.harness.config.matrix import EngineName  # noqa: TC001 - pydantic reads the annotations
from migmatrix.harness.plan import to_json
from migmatrix.harness.run.definition import definition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.harness.builds import BuildSpec
    from migmatrix.harness.run.pipeline import Prepared, RunOptions

__all__ = ["ORIGIN", "Origin", "PlannedBuild", "plan_document"]


@dataclass(frozen=True)
class PlannedBuild:
    """A build of the plan: what it was where the plan was made."""

    id: str
    version: str
    digest: str


@dataclass(frozen=True)
class Origin:
    """What the plan was made from. Kept under the key ``origin``; `definition` as `run.definition` writes it."""

    file: str
    select: tuple[str, ...]
    paths: tuple[str, ...]
    shard: tuple[int, int] | None
    seed: int | None
    engine: EngineName | None
    builds: tuple[PlannedBuild, ...]
    definition: dict[str, Any]


ORIGIN = TypeAdapter(Origin)


def plan_document(prepared: Prepared, options: RunOptions, specs: Mapping[str, BuildSpec]) -> dict[str, Any]:
    """Return a plan as JSON data, with all that `prepare_plan_file` needs to run it; `specs` are the builds' as placed."""
    origin = Origin(
        file=str(options.file),
        select=options.select,
        paths=options.paths,
        shard=options.shard,
        seed=options.seed,
        engine=options.engine,
        builds=tuple(PlannedBuild(b.id, b.facts.version, b.facts.digest) for b in prepared.builds.values()),
        definition=definition(prepared.matrix, specs),
    )
    return {
        **to_json(prepared.plan),
        "digest": prepared.plan.digest,
        "origin": ORIGIN.dump_python(origin, mode="json"),
    }
