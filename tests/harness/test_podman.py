# SPDX-License-Identifier: Apache-2.0
"""Podman's socket instead of Docker's, and images that go from one engine to the other, with real QEMU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from lab import MIGMATRIX, wait_until
from needs import missing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab import Lab

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(600)]

MATRIX = {
    "builds": {
        "old": {"provider": "debian", "suite": "bookworm"},
        "new": {"provider": "debian", "suite": "trixie"},
    },
    "machines": ["pc-q35-7.2"],
    "profiles": {"define": {"bare": {"args": ["-m", "64", "-nodefaults"]}}},
    "modes": [
        "snapshot",
        {"name": "live", "transport": "tcp"},
        {"name": "postcopy", "transport": "unix", "capabilities": ["postcopy-ram"], "postcopy": True},
    ],
    "paths": {"pairs": ["old>new", "old>old"]},  # before 8.1 and since, userfaultfd is opened otherwise
}
# Limits as low as any host's: without a right to raise them a container must not ask for more.
CONFIGURATION = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'


@contextmanager
def podman(root: Path) -> Iterator[str]:
    """The service of a Podman with images of its own; its DOCKER_HOST."""
    if shutil.which("podman") is None:
        missing("podman (Debian package podman)")
    if os.getuid() != 0:
        pytest.skip("needs root: the test's Podman mounts and makes networks")
    (root / "containers.conf").write_text(CONFIGURATION)
    host = f"unix://{root}/podman.sock"
    argv = ["podman", "--root", f"{root}/images", "--runroot", f"{root}/run", "--storage-driver", "vfs"]
    argv += ["--cgroup-manager", "cgroupfs", "--events-backend", "file"]
    argv += ["--runtime", "runc"] if shutil.which("runc") else []
    environment = {**os.environ, "CONTAINERS_CONF": str(root / "containers.conf")}
    limited = ["sh", "-c", 'ulimit -n 1024 -u 4096 2>/dev/null || ulimit -n 1024; exec "$@"', "sh"]
    with (root / "podman.log").open("ab") as log:
        service = subprocess.Popen(
            [*limited, *argv, "system", "service", "--time", "0", host],
            stdout=log,
            stderr=log,
            env=environment,
        )
    try:
        wait_until((root / "podman.sock").is_socket)
        yield host
    finally:
        service.terminate()
        service.wait()
        for mounted in (root / "images" / "vfs", root / "images"):  # Podman binds its store to itself
            subprocess.run(["umount", mounted], capture_output=True, check=False)


def test_images_and_their_identity_reach_another_engine(lab: Lab) -> None:
    matrix = lab.root / "matrix.yaml"
    matrix.write_text(json.dumps(MATRIX))
    first = lab.run(matrix, out="docker")
    assert first.returncode == 0, first.stderr
    exported = lab.call(lab.command("builds", "export", "-f", str(matrix), "--out", str(lab.root / "images")))
    assert exported.returncode == 0, exported.stderr
    listed = lab.call(lab.command("builds", "list", "-f", str(matrix), "--json"))

    with podman(lab.root) as host:
        lab.environment["DOCKER_HOST"] = host
        assert json.loads(lab.call(lab.command("builds", "list", "-f", str(matrix), "--json")).stdout) == {
            "old": None,
            "new": None,
        }
        imported = lab.call([*MIGMATRIX, "builds", "import", str(lab.root / "images")])
        assert imported.returncode == 0, imported.stderr
        there = lab.call(lab.command("builds", "list", "-f", str(matrix), "--json"))
        again = lab.run(matrix, out="again")
        fresh = lab.call([*MIGMATRIX, "run", "-f", str(matrix), "--out", str(lab.root / "podman"),
                          "--store", str(lab.root / "empty")])  # fmt: skip
        left = ["docker", "-H", host, "ps", "-aq"]
        wait_until(lambda: subprocess.check_output(left) == b"")  # Podman removes them when it gets to it

    assert json.loads(there.stdout) == json.loads(listed.stdout)
    assert "0 run" in again.stdout, "the same images have the same leg keys"
    assert fresh.returncode == 0, fresh.stdout + fresh.stderr
    results = [json.loads(line) for line in (lab.root / "podman" / "results.jsonl").read_text().splitlines()]
    assert {(result["mode"], result["verdict"]) for result in results} == {
        ("snapshot", "pass"),
        ("live", "pass"),
        ("postcopy", "pass"),
    }
