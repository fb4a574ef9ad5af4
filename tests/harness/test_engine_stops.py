# SPDX-License-Identifier: Apache-2.0
"""The engine stops in the middle of a run: tried on a second engine, so that nobody else's is touched.

And what it is about to remove by itself is gone when the harness has removed it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import pytest
from debian import debian_build
from lab import wait_until
from needs import missing

from migmatrix.harness.engines import Engines, Needs, Role, Workspace
from migmatrix.harness.engines.docker import LABEL, remove_left

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import docker
    from lab import Lab

    from migmatrix.harness.builds import PreparedBuild

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(600)]

IMAGE = "migmatrix/debian:trixie"


class Moment(IntEnum):
    """How much there is when the first cancellation comes."""

    NOTHING = 0
    NETWORK = 1
    CONTAINER = 2


@contextmanager
def second_engine(root: Path) -> Iterator[str]:
    """A dockerd of the test's own without networks; its DOCKER_HOST."""
    host = f"unix://{root}/docker.sock"
    # a network namespace of its own: without it `--bridge none` takes the bridge of the first engine away
    argv = [
        "unshare",
        "--net",
        "dockerd",
        "--host",
        host,
        "--data-root",
        f"{root}/data",
        "--exec-root",
        f"{root}/exec",
    ]
    argv += ["--pidfile", f"{root}/pid", "--bridge", "none", "--iptables=false", "--shutdown-timeout", "2"]
    with (root / "dockerd.log").open("ab") as log:
        daemon = subprocess.Popen(argv, stdout=log, stderr=log)
    try:
        wait_until(
            lambda: (
                subprocess.run(["docker", "-H", host, "version"], capture_output=True, check=False).returncode
                == 0
            )
        )
        yield host
    finally:
        daemon.terminate()
        daemon.wait()


@pytest.mark.usefixtures("container_engine")
def test_a_stopped_engine_is_an_error_and_the_run_resumes(lab: Lab) -> None:
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        missing("root and dockerd, to run a second engine")
    debian_build("qemu-10.0")  # makes the image
    matrix = lab.root / "lab.yaml"
    matrix.write_text(
        json.dumps(
            {
                "builds": {name: {"provider": "image", "image": IMAGE} for name in ("one", "two")},
                "machines": ["pc-q35-10.0", "pc-i440fx-10.0"],
                "profiles": {
                    "define": {
                        f"ram{size}": {"args": ["-nodefaults", "-m", str(size)]}
                        for size in range(32, 128)  # runs on until the engine is gone
                    }
                },
                "paths": {"pairs": "all"},
                "policy": {"retries": 0},
            }
        )
    )
    (lab.root / "engine").mkdir()
    archive = lab.root / "image.tar"
    subprocess.run(["docker", "save", "-o", str(archive), IMAGE], check=True)
    with second_engine(lab.root / "engine") as host:
        lab.environment["DOCKER_HOST"] = host
        subprocess.run(["docker", "-H", host, "load", "-i", str(archive)], check=True, capture_output=True)
        process = lab.start(lab.run_arguments(matrix, "-j", "1"))
        wait_until(lambda: lab.finished_legs() >= 3 or process.poll() is not None)
    assert process.wait() == 3, (lab.root / "log").read_text()
    kept = lab.finished_legs()
    verdicts = lab.verdicts()
    assert verdicts["error"] > 0
    assert verdicts.keys() <= {"pass", "error"}

    with second_engine(lab.root / "engine"):
        done = lab.run(matrix)

        assert done.returncode == 0, done.stderr
        assert set(lab.verdicts()) == {"pass"}
        report = json.loads((lab.root / "out" / "report.json").read_text())
        assert report["hops"]["reused"] >= kept
        left = subprocess.run(["docker", "-H", host, "ps", "-aq"], capture_output=True, text=True, check=True)
        assert left.stdout == ""


def test_a_container_that_removes_itself_is_waited_for(container_engine: docker.DockerClient) -> None:
    run = f"test-{os.getpid()}"
    options: dict[str, Any] = {
        "detach": True,
        "auto_remove": True,
        "stdin_open": True,
        "network_mode": "none",
    }
    for _ in range(6):  # in about two of them the engine is at it already, and refuses
        left = container_engine.containers.run(
            IMAGE, ["-c", "exec cat"], entrypoint=["/bin/sh"], labels={LABEL: run}, **options
        )
        kill = ["docker", "kill", left.id]
        with subprocess.Popen(kill, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            remove_left(container_engine, f"{LABEL}={run}")
        assert container_engine.containers.list(all=True, filters={"id": left.id}) == []


async def cancelled_at(client: docker.DockerClient, build: PreparedBuild, moment: Moment) -> list[Any]:
    """What is left when a task that opens a container is cancelled, and while its engine closes once more."""
    with Workspace() as workspace:
        wanted: dict[str, str | list[str] | bool] = {"label": f"{LABEL}={workspace.run_id}"}

        def there() -> list[Any]:
            return [
                *client.networks.list(filters=wanted),
                *client.containers.list(all=True, sparse=True, filters=wanted),
            ]

        async def run() -> None:
            async with Engines(workspace, print) as engine:
                await engine.sandbox(build, Role.SOURCE, Needs(network=True))

        running = asyncio.ensure_future(run())
        await asyncio.to_thread(wait_until, lambda: len(there()) >= moment)
        for _ in range(5):
            running.cancel()
            await asyncio.sleep(0.02)  # not to wait for anything: the next one comes somewhere on its way out
        with pytest.raises(asyncio.CancelledError):
            await running
        return there()


@pytest.mark.parametrize("moment", Moment)
def test_a_run_that_is_ended_leaves_nothing(container_engine: docker.DockerClient, moment: Moment) -> None:
    assert asyncio.run(cancelled_at(container_engine, debian_build("qemu-10.0"), moment)) == []
