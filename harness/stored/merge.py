# SPDX-License-Identifier: Apache-2.0
"""Combine the run directories of all shards into one, so that a run that was cut has one report.

1. Only shards of one run go together: same matrix, same builds, same selection and seed, same I/N cut, no cell twice.
2. Nothing is judged and nothing is lost: results, the evidence that they rest on, kept streams and explanations
   are taken over as they are.
3. The whole keeps one plan of those of its shards; where one has none (an older run), neither has the whole.
4. A shard that is missing, was interrupted or did not end leaves the whole incomplete. The report says so; merging goes on.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.errors import ExitCode, UserError
from migmatrix.harness.plan import Plan, from_json, to_json
from migmatrix.harness.store import RunStore, keep_plan, kept_plan
from migmatrix.harness.stored.reports import closing_code

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from migmatrix.harness.model import Cell
    from migmatrix.harness.plan import Leg

__all__ = ["merge"]

_SAME: Final = ("version", "definition", "selection", "paths", "seed", "policy")
_ELSEWHERE: Final = "--shard"  # what the planner names the cells of other shards by
# States of a known issue; the whole has the first of these that any shard saw.
_STATES: Final = ("expired", "active", "unmatched")
_FILES: Final = ("evidence", "explain")


def merge(directories: Sequence[Path], out: Path) -> None:
    """Write the run of all shards to `out`; UserError for directories that are not shards of one run."""
    with ExitStack() as stack:
        shards = [stack.enter_context(RunStore.open(directory)) for directory in directories]
        metas = [shard.meta() for shard in shards]
        _refuse_strangers(directories, metas)
        digest = hashlib.sha256(" ".join(sorted(meta["plan"] for meta in metas)).encode()).hexdigest()
        whole = stack.enter_context(RunStore.create(out, digest))
        for shard in shards:
            for result, (_, basis) in zip(shard.results(), shard.judged(), strict=True):
                whole.add(result, basis)
            for name in _FILES:
                if (shard.directory / name).is_dir():
                    shutil.copytree(shard.directory / name, out / name, dirs_exist_ok=True)
        _merge_plans(directories, out)
        facts = _facts(metas)
        whole.set_meta(facts | _closing(metas, facts, whole))


def _refuse_strangers(directories: Sequence[Path], metas: Sequence[Mapping[str, Any]]) -> None:
    first = metas[0]
    seen: dict[str, Path] = {}
    for directory, meta in zip(directories, metas, strict=True):
        name = meta["shard"]
        if not name:
            raise UserError(f"{str(directory)!r} is not the run of a shard")
        if other := _difference(first, meta):
            raise UserError(f"{str(directory)!r} differs from {str(directories[0])!r} in its {other}")
        if _count(name) != _count(first["shard"]):
            raise UserError(
                f"{str(directory)!r} is shard {name}, {str(directories[0])!r} is {first['shard']}"
            )
        if name in seen:
            raise UserError(f"{str(directory)!r} and {str(seen[name])!r} are both shard {name}")
        seen[name] = directory


def _difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Name what differs between two shards and must not; builds are compared by content."""
    if [(row["id"], row["digest"]) for row in one["builds"]] != [
        (row["id"], row["digest"]) for row in other["builds"]
    ]:
        return "builds"
    return next((key for key in _SAME if one.get(key) != other.get(key)), None)


def _merge_plans(directories: Sequence[Path], out: Path) -> None:
    """Keep the cells and legs of all shards' plans as one plan (rule 3); UserError for a damaged one."""
    documents = [document for one in directories if (document := kept_plan(one)) is not None]
    if len(documents) < len(directories):
        return
    try:
        plans = [from_json(document) for document in documents]
        origin = {**documents[0]["origin"], "shard": None}
    except (AttributeError, LookupError, TypeError, ValueError) as err:
        raise UserError(f"the plan of a shard is damaged: {err}") from err
    legs: dict[str, Leg] = {}
    cells: dict[Cell, tuple[str, ...]] = {}
    probes: dict[tuple[str, str, str], str] = {}
    for plan in plans:
        legs.update(plan.legs)
        cells.update(plan.cell_legs)
        probes.update(plan.probes)
    dropped = tuple(row for row in plans[0].dropped if row.what != _ELSEWHERE)
    whole = Plan(tuple(cells), legs, cells, probes, dropped, plans[0].seed)
    keep_plan(out, {**to_json(whole), "digest": whole.digest, "origin": origin})


def _count(shard: str) -> int:
    return int(shard.partition("/")[2])


def _facts(metas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Facts that a run knows before its first cell."""
    first = metas[0]
    elsewhere = sum(row["cells"] for row in first["dropped"] if row["what"] == _ELSEWHERE)
    return {
        **{key: value for key, value in first.items() if key not in {"plan", "finished"}},
        "command": " + ".join(meta["command"] for meta in metas),
        "started": min(meta["started"] for meta in metas),
        "cells_planned": first["cells_planned"] + elsewhere,
        "shard": "",
        "missing_shards": _missing(metas),
        "dropped": [row for row in first["dropped"] if row["what"] != _ELSEWHERE],
    }


def _missing(metas: Sequence[Mapping[str, Any]]) -> list[str]:
    """The shards that are not there, ``I/N``."""
    count, there = _count(metas[0]["shard"]), {meta["shard"] for meta in metas}
    return [name for index in range(1, count + 1) if (name := f"{index}/{count}") not in there]


def _closing(metas: Sequence[Mapping[str, Any]], facts: Mapping[str, Any], whole: RunStore) -> dict[str, Any]:
    """Facts that a run knows after its last cell; the whole is finished when every shard is."""
    interrupted = any(meta.get("interrupted") for meta in metas)
    complete = not facts["missing_shards"] and all("finished" in meta for meta in metas)
    code = closing_code(facts, list(whole.results())) if complete else ExitCode.INCOMPLETE
    legs: Counter[str] = Counter()
    for meta in metas:
        legs.update(meta.get("hops", {}))
    ends = [meta["finished"] for meta in metas if "finished" in meta]
    return {
        **({"finished": max(ends)} if ends else {}),
        "interrupted": interrupted,
        "exit_code": int(ExitCode.INTERRUPTED if interrupted else code),
        "hops": {"executed": legs["executed"], "reused": legs["reused"]},
        "known_issues": _known_issues(metas),
    }


def _known_issues(metas: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each entry once: an entry without a match in one shard may have one in another."""
    found: dict[str, dict[str, Any]] = {}
    for note in (note for meta in metas for note in meta.get("known_issues", ())):
        known = found.setdefault(note["id"], note)
        if _STATES.index(note["state"]) < _STATES.index(known["state"]):
            found[note["id"]] = note
    return list(found.values())
