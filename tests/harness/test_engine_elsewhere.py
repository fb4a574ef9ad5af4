# SPDX-License-Identifier: Apache-2.0
"""A harness in a container with the engine's socket: its files reach the builds, or it says at once that they cannot.

The harness's container has this host's Python by read-only mounts, so that no image must be made of it; its other
files, processes and network are its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from debian import MATRICES
from needs import missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab import Lab

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(600)]

IMAGE = "migmatrix/debian:trixie"  # any that is there: what counts is mounted over it
REPOSITORY = Path(__file__).parents[2]
SELECT = ("machine=pc-q35-7.2", "profile=virtio-rng", "path=qemu-7.2>qemu-10.0")
RUN = [sys.executable, "-m", "migmatrix", "run", "-f", str(MATRICES / "debian.yaml"), "--out", "/out/run"]
RUN += ["--store", "/out/store", *(word for term in SELECT for word in ("--select", term))]


def socket() -> Path:
    """The engine's socket on this host."""
    address = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not address.startswith("unix://"):
        missing("an engine with a UNIX socket")
    return Path(address.removeprefix("unix://")).resolve()


def read_only() -> Iterator[str]:
    """What the harness is made of: the interpreter, its libraries, packages, and this repository."""
    paths = {
        Path(p).resolve() for p in (*sys.path, sys.prefix, sys.base_prefix, "/usr", str(REPOSITORY)) if p
    }
    inside = {path for path in paths if any(other in path.parents for other in paths)}
    for path in sorted(paths - inside):
        if path.is_dir():
            yield f"{path}:{path}:ro"


def contained(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the cell in a container that has the socket, `/out` and nothing else of this host."""
    mounts = [f"{socket()}:/var/run/docker.sock", f"{out}:/out", *read_only()]
    argv = ["docker", "run", "--rm", "--network", "none", "--workdir", "/", "--entrypoint", RUN[0]]
    argv += [word for mount in mounts for word in ("--volume", mount)]
    return subprocess.run([*argv, *options, IMAGE, *RUN[1:]], capture_output=True, text=True, check=False)


def results(out: Path) -> list[tuple[str, str]]:
    """Verdicts and messages of the cells."""
    records = [json.loads(line) for line in (out / "run" / "results.jsonl").read_text().splitlines()]
    return [(record["verdict"], (record["cause"] or {"message": ""})["message"]) for record in records]


@pytest.fixture
def volume() -> Iterator[str]:
    """A volume of the engine's, by name."""
    made = subprocess.run(["docker", "volume", "create"], capture_output=True, text=True, check=True)
    yield made.stdout.strip()
    subprocess.run(
        ["docker", "volume", "rm", "--force", made.stdout.strip()], capture_output=True, check=True
    )


@pytest.mark.parametrize("kind", ["volume", "directory", "same path"])
def test_files_go_in_by_what_is_mounted_into_the_harness(kind: str, lab: Lab, volume: str) -> None:
    other = lab.root / "shared"
    other.mkdir()
    mount = {"volume": f"{volume}:/mm", "directory": f"{other}:/mm", "same path": f"{other}:{other}"}[kind]
    place = mount.partition(":")[2]

    done = contained(lab.root / "out", "--volume", mount, "--env", f"TMPDIR={place}")

    assert done.returncode == 0, done.stdout + done.stderr
    assert {verdict for verdict, _ in results(lab.root / "out")} == {"pass"}


def test_a_container_that_shares_no_directory_is_told_so(lab: Lab) -> None:
    done = contained(lab.root / "out", "--env", "TMPDIR=/dev/shm")  # nothing of this host's, other than /tmp

    assert done.returncode == 3, done.stdout + done.stderr
    assert_named(lab.root / "out", "/dev/shm/migmatrix-0/")  # noqa: S108 - a container's own


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a directory that the engine does not see")
def test_a_directory_that_the_engine_does_not_see_is_named(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("no unshare (util-linux)")
    shell = 'mount -t tmpfs none "$TMPDIR" && exec "$@"'
    run = [word.replace("/out/", f"{tmp_path}/") for word in RUN]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", shell, "sh", *run],
        env={**os.environ, "TMPDIR": "/mnt"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert_named(tmp_path, "/mnt/migmatrix-0/")


def assert_named(out: Path, directory: str) -> None:
    """All cells say that the engine does not see this directory."""
    found = results(out)
    assert found
    for verdict, message in found:
        assert verdict == "error"
        assert f"the container engine does not see '{directory}" in message
