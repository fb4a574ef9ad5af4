# SPDX-License-Identifier: Apache-2.0
"""Kubernetes (1.29 or later): the shards as an Indexed Job each night, then a job that merges them.

1. Both are CronJobs, and nothing waits for anything: the shards have a deadline, and the merge comes after it. A shard that
   did not come is missing in the merged run, which says so (exit code 3); a night without any is no less loud.
2. A pod's exit code decides (`podFailurePolicy`): 1, 2 and 70 fail its index at once, as they would only come again; 3 counts
   and is tried again; a pod that the cluster took away does not count.
3. Store, runs and history are on one volume, which several nodes mount: its file system must have locks (flock).
4. With a policy the merge signs its run. The private key is `key.pem` of the Secret `SECRET`, which only that pod mounts.
5. Kubernetes replaces ``$(NAME)`` in arguments, which no script has (`scripts`, rule 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.ci import scripts
from migmatrix.harness.ci.yamltext import yaml_text
from migmatrix.harness.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.harness.ci.scripts import Night

__all__ = [
    "DATA",
    "NAME",
    "PLACE",
    "SIGN",
    "TOP",
    "Cluster",
    "container",
    "files_map",
    "render",
    "volume",
    "volumes",
]

_FINAL: Final = [int(ExitCode.REGRESSIONS), int(ExitCode.USAGE), int(ExitCode.BUG)]
NAME: Final = "migmatrix"
DATA: Final = "DATA"  # the variable with the place of the volume
SECRET: Final = f"{NAME}-signing-key"
_MOUNT, _WORK, _TEMPORARY, _KEY = "/data", "/work", "/tmp", "/key"  # noqa: S108 - a volume of the pod's own
_TRIES: Final = 2  # after the first
_USER: Final = 1000
_INDEX: Final = 'index=`expr "$JOB_COMPLETION_INDEX" + 1`'
PLACE: Final = "$DATA/runs/$JOB"
TOP: Final = "top=`pwd`\n"  # where the files are, before a script goes elsewhere
SIGN: Final = {"key": '"$KEY"', "top": '"$top"/'}
_NEWEST: Final = """\
newest=
for run in "$DATA"/runs/*/; do
  if [ -d "$run" ] && { [ -z "$newest" ] || [ "$run" -nt "$newest" ]; }; then newest=$run; fi
done
if [ -z "$newest" ] || [ -d "${newest}nightly" ]; then
  echo "no shard has run since the last merge" >&2
  exit 3
fi
cd "$newest"
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where it runs: the `image` with `migmatrix`, `size` of the volume, its `storage_class` ("" for the default).

    The merge begins by `merge_schedule` (cron); shards are ended after `hours`. `files` are the matrix and what it names,
    by the names that it uses.
    """

    image: str
    size: str
    storage_class: str
    merge_schedule: str
    hours: int
    files: Mapping[str, str]


def render(night: Night, cluster: Cluster, comment: list[str]) -> str:
    """The manifests, in the order in which they can be applied."""
    documents = [volume(cluster), files_map(cluster), _shards(night, cluster), _merge(night, cluster)]
    return yaml_text(documents, comment)


def volume(cluster: Cluster) -> dict[str, Any]:
    """The claim of the volume for store, runs and history."""
    chosen = {"storageClassName": cluster.storage_class} if cluster.storage_class else {}
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": cluster.size}}, **chosen}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": NAME}, "spec": spec}


def files_map(cluster: Cluster) -> dict[str, Any]:
    """The matrix and what it names. A key is no file name: `volumes` says what each is called."""
    data = {f"file-{index}": text for index, text in enumerate(cluster.files.values())}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME}, "data": data}


def _shards(night: Night, cluster: Cluster) -> dict[str, Any]:
    run = scripts.shard(night, f"$index/{night.shards}", out=f"{PLACE}/shard-$index", store='"$DATA/store"')
    script = "\n".join([_INDEX, f'mkdir -p "{PLACE}"', *run])
    rules = [
        {"action": "FailIndex", "onExitCodes": {"containerName": NAME, "operator": "In", "values": _FINAL}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
    job = {
        "completionMode": "Indexed",
        "completions": night.shards,
        "parallelism": night.shards,
        "backoffLimitPerIndex": _TRIES,
        "activeDeadlineSeconds": cluster.hours * 3600,
        "podFailurePolicy": {"rules": rules},
        "template": _pod(cluster, script),
    }
    return _cron(f"{NAME}-shards", night.schedule, job)


def _merge(night: Night, cluster: Cluster) -> dict[str, Any]:
    """Nothing that it ends with would be otherwise the next time."""
    script = TOP + _NEWEST + scripts.merge(night, "shard-*/", history='"$DATA/history"', **SIGN)
    codes = [*_FINAL, int(scripts.AGAIN)]
    rules = [{"action": "FailJob", "onExitCodes": {"containerName": NAME, "operator": "In", "values": codes}}]
    job = {
        "backoffLimit": _TRIES,
        "podFailurePolicy": {"rules": rules},
        "template": _pod(cluster, script, signs=bool(night.policy)),
    }
    return _cron(f"{NAME}-merge", cluster.merge_schedule, job)


def _cron(name: str, schedule: str, job: dict[str, Any]) -> dict[str, Any]:
    spec = {
        "schedule": schedule,
        "timeZone": "Etc/UTC",
        "concurrencyPolicy": "Forbid",
        "jobTemplate": {"spec": job},
    }
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": name}, "spec": spec}


def _pod(cluster: Cluster, script: str, *, signs: bool = False) -> dict[str, Any]:
    job = {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}}
    user = {"runAsNonRoot": True, "runAsUser": _USER, "runAsGroup": _USER, "fsGroup": _USER}
    return {
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {**user, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {**container(cluster, {"valueFrom": job}, signs=signs), "command": ["sh", "-ec", script]}
            ],
            "volumes": volumes(cluster, signs=signs),
        }
    }


def volumes(cluster: Cluster, *, signs: bool = False) -> list[dict[str, Any]]:
    """The volumes that `container` mounts."""
    key = [{"name": "key", "secret": {"secretName": SECRET, "defaultMode": 0o440}}] if signs else []
    items = [{"key": f"file-{index}", "path": name} for index, name in enumerate(cluster.files)]
    return [
        {"name": "data", "persistentVolumeClaim": {"claimName": NAME}},
        {"name": "files", "configMap": {"name": NAME, "items": items}},
        {"name": "temporary", "emptyDir": {}},
        *key,
    ]


def container(cluster: Cluster, run: Mapping[str, Any], *, signs: bool = False) -> dict[str, Any]:
    """A container without a command; `run` is what its variable ``JOB`` is, the name of the night. One that `signs` has ``KEY``."""
    key = [{"name": "KEY", "value": f"{_KEY}/key.pem"}] if signs else []
    mount = [{"name": "key", "mountPath": _KEY, "readOnly": True}] if signs else []
    return {
        "name": NAME,
        "image": cluster.image,
        "workingDir": _WORK,
        "env": [
            {"name": DATA, "value": _MOUNT},
            {"name": "HOME", "value": _TEMPORARY},
            {"name": "TMPDIR", "value": _TEMPORARY},
            {"name": "JOB", **run},
            *key,
        ],
        "volumeMounts": [
            {"name": "data", "mountPath": _MOUNT},
            {"name": "files", "mountPath": _WORK, "readOnly": True},
            {"name": "temporary", "mountPath": _TEMPORARY},
            *mount,
        ],
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
