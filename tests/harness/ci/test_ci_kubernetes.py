# SPDX-License-Identifier: Apache-2.0
"""Manifests follow the schemas of Kubernetes, and their pods do here what they would do there."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import kubernetes_validate
import pytest
import yaml
from ci_servers import on_path
from lab import MIGMATRIX, timeless
from signed import waiver, write_key

if TYPE_CHECKING:
    from pathlib import Path

    from lab import Lab

NAME = "my matrices/it's $(JOB) a matrix.yaml"
MATRIX = {
    "builds": {f"qemu-{v}": {"provider": "emulator", "release": v} for v in ("7.2", "8.0")},
    "machines": ["pc-q35-7.2"],
    "profiles": {"file": "profiles.yaml", "define": {"plain": {"args": ["-nodefaults"]}}},
    "known_issues": "known issues.yaml",
}
PROFILES = {"port": {"args": ["-nodefaults", "-device", "pcie-root-port,id=rp0"]}}


@pytest.fixture
def repository(lab: Lab) -> Path:
    place = lab.root / "repository"
    (place / NAME).parent.mkdir(parents=True)
    (place / NAME).write_text(json.dumps(MATRIX))
    (place / "my matrices" / "profiles.yaml").write_text(json.dumps(PROFILES))
    (place / "my matrices" / "known issues.yaml").write_text("[]\n")
    return place


def call(repository: Path, *words: str, server: str = "kubernetes") -> subprocess.CompletedProcess[str]:
    command = [*MIGMATRIX, "ci", server, *words]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)


def emitted(repository: Path, *words: str, server: str = "kubernetes") -> dict[str, Any]:
    done = call(repository, "-f", NAME, "--shards", "2", *words, server=server)
    assert (done.returncode, done.stderr) == (0, "")
    documents = list(yaml.safe_load_all(done.stdout))
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in documents}


def signing(repository: Path) -> tuple[str, ...]:
    """The words for a policy, which waives what fails; both files are in a directory with a blank in its name."""
    place = repository / "my matrices"
    (place / "policy.yaml").write_text(json.dumps(
        {"require": [{"select": {"profile": "*"}, "pass": "100%"}], "waivers": "my waivers.yaml"}
    ))  # fmt: skip
    entry = waiver(selector={"profile": "port"})
    entry["expires"] = dt.date.fromisoformat(entry["expires"])
    for name in ("my waivers.yaml", "known issues.yaml"):
        (place / name).write_text(yaml.safe_dump([entry]))
    return ("--policy", "my matrices/policy.yaml")


@pytest.mark.parametrize("version", ["1.31", "1.34"])
def test_manifests_follow_the_schemas(repository: Path, version: str) -> None:
    found = emitted(repository, "--storage-class", "nfs", *signing(repository))
    assert list(found) == [
        "PersistentVolumeClaim/migmatrix",
        "ConfigMap/migmatrix",
        "CronJob/migmatrix-shards",
        "CronJob/migmatrix-merge",
    ]
    for document in found.values():
        kubernetes_validate.validate(document, version, strict=True)


def test_the_schemas_refuse_what_is_no_manifest(repository: Path) -> None:
    job = emitted(repository)["CronJob/migmatrix-shards"]
    job["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rule"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.31", strict=True)


def test_exit_codes_fail_an_index_or_are_tried_again(repository: Path) -> None:
    job = emitted(repository)["CronJob/migmatrix-shards"]["spec"]["jobTemplate"]["spec"]
    assert (job["completionMode"], job["completions"], job["backoffLimitPerIndex"]) == ("Indexed", 2, 2)
    fail, ignore = job["podFailurePolicy"]["rules"]
    assert (fail["action"], fail["onExitCodes"]["values"]) == ("FailIndex", [1, 2, 70])
    assert ignore["action"] == "Ignore"
    assert job["template"]["spec"]["restartPolicy"] == "Never"


class Cluster:
    """Runs the pods of manifests: files laid as their volumes say, the script as their command says."""

    def __init__(self, lab: Lab, found: dict[str, Any]) -> None:
        self._root, self._found = lab.root, found
        self._path = f"{on_path(lab.root / 'bin')}{os.pathsep}{os.environ['PATH']}"
        self.data = lab.root / "data"

    def pod(self, name: str, job: str, index: int = 0) -> subprocess.CompletedProcess[str]:
        spec = self._found[f"CronJob/{name}"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        work = self._root / f"work-{job}-{index}"
        for item in next(v["configMap"] for v in spec["volumes"] if "configMap" in v)["items"]:
            file = work / item["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self._found["ConfigMap/migmatrix"]["data"][item["key"]])
        assert not any("$(" in word for word in container["command"])
        environment = {"DATA": str(self.data), "JOB": job, "JOB_COMPLETION_INDEX": str(index)}
        secrets = [v["secret"]["secretName"] for v in spec["volumes"] if "secret" in v]
        if secrets:
            assert secrets == ["migmatrix-signing-key"]
            environment["KEY"] = str(self._root / "key.pem")
        assert {"HOME", "TMPDIR", *environment} - {"JOB_COMPLETION_INDEX"} == {
            e["name"] for e in container["env"]
        }
        assert [m["name"] for m in container["volumeMounts"]] == [v["name"] for v in spec["volumes"]]
        return subprocess.run(
            container["command"],
            cwd=work,
            env={**os.environ, "PATH": self._path, "TMPDIR": str(self._root), **environment},
            capture_output=True,
            text=True,
            check=False,
        )


def test_a_night_without_shards_is_loud(lab: Lab, repository: Path) -> None:
    done = Cluster(lab, emitted(repository)).pod("migmatrix-merge", "merge-1")
    assert (done.returncode, done.stderr) == (3, "no shard has run since the last merge\n")


@pytest.mark.slow
def test_the_pods_of_a_night_give_one_run_as_if_it_had_not_been_cut(lab: Lab, repository: Path) -> None:
    cluster = Cluster(lab, emitted(repository))

    shards = [cluster.pod("migmatrix-shards", "night-1", index) for index in (0, 1)]
    merged = cluster.pod("migmatrix-merge", "merge-1")
    again = cluster.pod("migmatrix-merge", "merge-2")

    whole = lab.run(repository / NAME, out="whole")
    assert max(done.returncode for done in shards) == merged.returncode == whole.returncode == 1, (
        merged.stderr
    )
    assert timeless(lab.results("data/runs/night-1/nightly")) == timeless(lab.results("whole"))
    assert len((cluster.data / "history" / "history.jsonl").read_text().splitlines()) == 1
    assert (again.returncode, again.stderr) == (3, "no shard has run since the last merge\n")


@pytest.mark.slow
def test_the_merge_signs_by_a_policy(lab: Lab, repository: Path) -> None:
    cluster = Cluster(lab, emitted(repository, *signing(repository)))
    key = write_key(lab.root)
    for index in (0, 1):
        done = cluster.pod("migmatrix-shards", "night-1", index)
        assert done.returncode == 0, done.stderr
    merged = cluster.pod("migmatrix-merge", "merge-1")
    assert merged.returncode == 0, merged.stderr
    signed = cluster.data / "runs" / "night-1" / "signed"
    command = [*MIGMATRIX, "verify", str(signed), "--key", str(key.with_suffix(".pub.pem"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_builds_in_containers_are_refused(repository: Path) -> None:
    (repository / "m.yaml").write_text(
        json.dumps(
            {**MATRIX, "builds": {"a": {"provider": "debian", "suite": "bookworm"}}, "known_issues": None}
        )
    )
    (repository / "profiles.yaml").write_text(json.dumps(PROFILES))
    done = call(repository, "-f", "m.yaml", "--shards", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "migmatrix: 'm.yaml' has builds that run in containers, and a pod has no container engine\n"
    )


# --- Tekton: no schema of its resources is at hand, so its shape is checked as its documentation has it


def tasks(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    spec = found["Pipeline/migmatrix"]["spec"]
    return {task["name"]: task for task in (*spec["tasks"], *spec["finally"])}


def test_a_pipeline_has_the_shards_and_a_merge_that_always_runs(repository: Path) -> None:
    found = emitted(repository, server="tekton")
    pipeline = found["Pipeline/migmatrix"]
    assert (pipeline["apiVersion"], set(pipeline["spec"])) == ("tekton.dev/v1", {"tasks", "finally"})
    assert [task["name"] for task in pipeline["spec"]["finally"]] == ["merge"]
    assert list(tasks(found)) == ["shard-1", "shard-2", "merge"]
    for task in tasks(found).values():
        assert not any(key in task for key in ("runAfter", "retries", "when"))
        assert task["params"] == [{"name": "run", "value": "$(context.pipelineRun.name)"}]
        (step,) = task["taskSpec"]["steps"]
        assert step["script"].startswith("#!/bin/sh -e\n")
        assert "$(" not in step["script"]
        assert "command" not in step
        assert {m["name"] for m in step["volumeMounts"]} == {v["name"] for v in task["taskSpec"]["volumes"]}
        pod = {**{k: v for k, v in step.items() if k not in ("script", "computeResources")}}
        whole = {"containers": [pod], "volumes": task["taskSpec"]["volumes"]}
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": whole}
        kubernetes_validate.validate(document, "1.31", strict=True)


@pytest.mark.slow
def test_the_tasks_of_a_pipeline_give_one_run_as_if_it_had_not_been_cut(lab: Lab, repository: Path) -> None:
    found = emitted(repository, server="tekton")
    path = f"{on_path(lab.root / 'bin')}{os.pathsep}{os.environ['PATH']}"
    codes = {}
    for name, task in tasks(found).items():
        (step,) = task["taskSpec"]["steps"]
        script = lab.root / f"{name}.sh"
        script.write_text(step["script"])
        environment = {
            "DATA": str(lab.root / "data"),
            "JOB": "night-1",
            "TMPDIR": str(lab.root),
            "PATH": path,
        }
        done = subprocess.run(
            ["sh", "-e", str(script)], cwd=repository, env={**os.environ, **environment}, check=False
        )
        codes[name] = done.returncode

    whole = lab.run(repository / NAME, out="whole")
    assert codes == {"shard-1": 0, "shard-2": 0, "merge": whole.returncode}
    assert whole.returncode == 1
    assert timeless(lab.results("data/runs/night-1/nightly")) == timeless(lab.results("whole"))
