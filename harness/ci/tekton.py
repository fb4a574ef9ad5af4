# SPDX-License-Identifier: Apache-2.0
"""Tekton (API v1): a Pipeline with a task for each shard, and the merge as its `finally`.

1. All shards start at once, and `finally` runs whatever they end with, so that what is missing is told.
2. Tekton cannot decide by an exit code, so `scripts.settled` does.
3. Tekton replaces ``$(...)`` in scripts, which have none (`scripts`, rule 3); the run's name comes by a parameter and the
   environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.ci import scripts
from migmatrix.harness.ci.kubernetes import (
    DATA,
    NAME,
    PLACE,
    SIGN,
    TOP,
    container,
    files_map,
    volume,
    volumes,
)
from migmatrix.harness.ci.yamltext import yaml_text

if TYPE_CHECKING:
    from migmatrix.harness.ci.kubernetes import Cluster
    from migmatrix.harness.ci.scripts import Night

__all__ = ["render"]

_RUN: Final = "run"


def render(night: Night, cluster: Cluster, comment: list[str]) -> str:
    """The manifests, in the order in which they can be applied; `tkn pipeline start migmatrix` runs a night."""
    return yaml_text([volume(cluster), files_map(cluster), _pipeline(night, cluster)], comment)


def _pipeline(night: Night, cluster: Cluster) -> dict[str, Any]:
    shards = [_task(f"shard-{index}", _shard(night, index), cluster) for index in range(1, night.shards + 1)]
    merged = scripts.merge(night, "shard-*/", history=f'"${DATA}/history"', **SIGN)
    merge = _task("merge", f'{TOP}cd "{PLACE}"\n{merged}', cluster, signs=bool(night.policy))
    timeout = {"timeout": f"{cluster.hours}h"}
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "Pipeline",
        "metadata": {"name": NAME},
        "spec": {"tasks": [{**shard, **timeout} for shard in shards], "finally": [merge]},
    }


def _shard(night: Night, index: int) -> str:
    out = f"{PLACE}/shard-{index}"
    run = scripts.shard(night, f"{index}/{night.shards}", out=out, store=f'"${DATA}/store"')
    return f'mkdir -p "{PLACE}"\n{scripts.settled(run)}'


def _task(name: str, script: str, cluster: Cluster, *, signs: bool = False) -> dict[str, Any]:
    step = container(cluster, {"value": f"$(params.{_RUN})"}, signs=signs)
    step = {
        **step,
        "name": name,
        "computeResources": step["resources"],
        "script": f"#!/bin/sh -e\n{script}\n",
    }
    del step["resources"]
    return {
        "name": name,
        "params": [{"name": _RUN, "value": "$(context.pipelineRun.name)"}],
        "taskSpec": {
            "params": [{"name": _RUN, "type": "string"}],
            "steps": [step],
            "volumes": volumes(cluster, signs=signs),
        },
    }
