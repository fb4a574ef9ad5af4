# SPDX-License-Identifier: Apache-2.0
"""Random misbehaviours of hostile builds, beside sound builds that must not notice.

`$MIGMATRIX_MISBEHAVIOURS` says how many hostile builds are tried (10), `$MIGMATRIX_SEED` which. Whatever a build does to
its job directory, its output, QMP and its sandbox: nothing of the host is read or written, nothing hangs, no traceback,
memory is bounded, all is removed, and the sound builds' cells are what they are without it.
`tests/support/hostile_qemu.py` says what a seed means.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import fake_qemu
import hostile_qemu
import misdeeds
import misdeeds_said
import pytest
from lab import timeless
from needs import missing
from real_matrix import seed

from migmatrix.harness.builds import prepare
from migmatrix.harness.builds.emulator import EmulatorSpec
from migmatrix.harness.store import default_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import docker
    from lab import Lab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

COUNT = int(os.environ.get("MIGMATRIX_MISBEHAVIOURS", "10"))
AT_ONCE = 10  # hostile builds of one run
WATCHDOG = 600.0  # seconds of one run; it needs a tenth
MEMORY = 700 << 10  # KiB
TOLD_NOBODY = "the host's own words"
PYTHON = "migmatrix/debian:trixie-python3"
PROGRAMS = (fake_qemu, hostile_qemu, misdeeds, misdeeds_said)
IMAGES = {name: f"migmatrix-test/misbehaviours:{name}-{os.getpid()}" for name in ("fake", "hostile")}

SEEDS = range(seed() * 1_000_000, seed() * 1_000_000 + COUNT)
GROUPS = [SEEDS[at : at + AT_ONCE] for at in range(0, COUNT, AT_ONCE)]


class Canary:
    """A directory of the host that only its owner may read, with what it held at first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "below").mkdir(parents=True)
        for name in ("secret", "below/secret"):
            (root / name).write_text(TOLD_NOBODY)
            (root / name).chmod(0o600)
        root.chmod(0o700)
        self.before = self.look()

    def look(self) -> dict[str, tuple[Any, ...]]:
        """Names, kinds, rights, owners, times and contents."""
        found = {}
        for path in (self.root, *sorted(self.root.rglob("*"))):
            told = path.lstat()
            # Hard links, where the kernel lets a process make them, change their count and the time of the inode.
            kept = (
                stat.S_IFMT(told.st_mode),
                told.st_mode,
                told.st_uid,
                told.st_gid,
                told.st_mtime_ns,
                told.st_size,
            )
            found[str(path.relative_to(self.root))] = (*kept, path.read_bytes() if path.is_file() else b"")
        return found


@pytest.fixture
def canary(lab: Lab) -> Canary:
    if os.geteuid() != 0:
        missing("root, so that the harness may do what a build may not")
    return Canary(lab.root / "canary")


def matrix(lab: Lab, builds: dict[str, Any], paths: list[str], **more: Any) -> Path:
    """A matrix on sound and hostile builds; a sound one meets its deadlines on a busy host, too."""
    path = lab.root / "lab.yaml"
    seconds = dict.fromkeys(("load", "save", "migrate", "run", "check", "quit"), 15.0)
    path.write_text(
        json.dumps(
            {
                "builds": builds,
                "machines": ["pc-q35-7.2"],
                "profiles": {"define": {"plain": {"args": []}}},
                "modes": ["snapshot", "unix"],
                "paths": {"pairs": paths, "chains": "none"},
                "policy": {"deadline": {"start": 20.0, **seconds}, "retries": 0},
                **more,
            }
        )
    )
    return path


def paths_of(sound: list[str], hostile: list[str]) -> list[str]:
    """Sound pairs, and each hostile build on either side."""
    pairs = [f"{a}>{b}" for a in sound for b in sound]
    return [*pairs, *(pair for name in hostile for pair in (f"{name}>{sound[0]}", f"{sound[1]}>{name}"))]


class Run:
    """One run, watched: its output, exit code and memory."""

    def __init__(self, lab: Lab, argv: list[str], env: dict[str, str]) -> None:
        with (lab.root / "terminal").open("wb") as file:
            process = subprocess.Popen(argv, cwd=lab.root, env={**lab.env(), **env}, stdout=file, stderr=file)
        watchdog = threading.Timer(WATCHDOG, process.kill)
        watchdog.start()
        _, status, used = os.wait4(process.pid, 0)
        watchdog.cancel()
        process.returncode = self.code = os.waitstatus_to_exitcode(status)
        self.memory = used.ru_maxrss
        self.said = (lab.root / "terminal").read_text(errors="replace")


def check(lab: Lab, canary: Canary, run: Run, out: str) -> None:
    """What holds whatever a build does."""
    assert run.code in (0, 1, 3), run.said
    assert "Traceback" not in run.said
    assert "Task exception" not in run.said
    assert "a bug of migmatrix" not in run.said, run.said
    assert run.memory < MEMORY
    assert canary.look() == canary.before
    written = [file for file in (lab.root / out).rglob("*") if file.is_file()]
    assert written
    for file in [
        lab.root / "terminal",
        *written,
        *(p for p in (lab.root / "store").rglob("*") if p.is_file()),
    ]:
        assert TOLD_NOBODY.encode() not in file.read_bytes(), file
    assert_harmless(run.said)
    left = lab.root / f"migmatrix-{os.getuid()}"
    assert [path for path in left.iterdir() if path.is_dir()] == [], run.said


def assert_harmless(text: str) -> None:
    """No character that a terminal obeys or that turns the direction of writing."""
    assert all(c.isprintable() or c in "\n\t" for c in text.replace("\r\n", "\n")), text


def trial(lab: Lab, canary: Canary, sound: dict[str, Any], hostile: dict[str, Any], seeds: list[str]) -> None:
    """A run of sound builds only, and one with hostile ones among them."""
    undisturbed = timeless(results_of(lab, matrix(lab, sound, paths_of(list(sound), [])), "alone"))
    shutil.rmtree(lab.root / "store" / "hops")
    told = "; ".join(seeds)
    file = matrix(lab, {**sound, **hostile}, paths_of(list(sound), list(hostile)))

    run = Run(lab, lab.run_arguments(file, "-j", "6"), {"MIGMATRIX_TEST": TOLD_NOBODY})

    check(lab, canary, run, "out")
    found = timeless(lab.results())
    assert len(found) == 2 * (len(sound) ** 2 + 2 * len(hostile)), run.said
    disturbed = {cell: (alone, found[cell]) for cell, alone in undisturbed.items() if found[cell] != alone}
    assert disturbed == {}, f"{told}\n{json.dumps(disturbed, indent=1)}\n{run.said}"


def results_of(lab: Lab, file: Path, out: str) -> dict[str, dict[str, Any]]:
    done = lab.run(file, out=out)
    assert done.returncode == 0, done.stderr
    return lab.results(out)


def misbehaving(number: int, canary: Canary) -> list[str]:
    return ["-fake", f"misbehave={number}", "-fake", f"canary={canary.root}"]


@pytest.mark.parametrize("seeds", GROUPS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_a_process_that_misbehaves_disturbs_nobody(lab: Lab, canary: Canary, seeds: range) -> None:
    sound = lab.builds({"old": [], "new": []})
    fake_qemu.install(lab.root, "7.2.0")
    fake_qemu.install(lab.root, "8.0.0")
    path = fake_qemu.install(lab.root, "8.0.0", "hostile", program=hostile_qemu.__file__)
    hostile = {
        f"bad{n}": {"provider": "binary", "path": str(path), "args": misbehaving(n, canary)} for n in seeds
    }

    trial(lab, canary, sound, hostile, [str(n) for n in seeds])


@pytest.fixture(scope="module")
def images(container_engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Images of a sound and of a hostile fake emulator."""
    specs = {"python": EmulatorSpec(id="python", release="8.0", contained=True)}
    prepare(specs, cache=default_store() / "builds", log=print)  # makes the image that they are made from
    context = tmp_path_factory.mktemp("context")
    for program in PROGRAMS:
        shutil.copy(str(program.__file__), context)
    for name, tag in IMAGES.items():
        start = f'#!/bin/sh\\nexec python3 -S -E /opt/{name}_qemu.py 8.0.0 "$@"\\n'
        (context / "Dockerfile").write_text(
            f"FROM {PYTHON}\nUSER root\nCOPY *.py /opt/\n"
            f"RUN printf '{start}' > /usr/bin/qemu-system-x86_64 && chmod 755 /usr/bin/qemu-system-x86_64 /opt/*.py\n"
        )
        build = ["docker", "build", "-q", "--network", "none", "-t", tag, str(context)]
        subprocess.run(build, capture_output=True, check=True)
    yield
    for tag in IMAGES.values():
        container_engine.images.remove(tag, force=True)


@pytest.mark.qemu
@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("seeds", GROUPS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_an_image_that_misbehaves_disturbs_nobody(
    lab: Lab, canary: Canary, container_engine: docker.DockerClient, seeds: range
) -> None:
    sound = {name: {"provider": "image", "image": IMAGES["fake"]} for name in ("old", "new")}
    hostile = {
        f"bad{n}": {"provider": "image", "image": IMAGES["hostile"], "args": misbehaving(n, canary)}
        for n in seeds
    }

    trial(lab, canary, sound, hostile, [str(n) for n in seeds])

    # By the name of the lab's own workspaces: another run's images are the same ones.
    label = f"migmatrix.base={(lab.root / f'migmatrix-{os.getuid()}' / 'name').read_text()}"
    assert container_engine.containers.list(all=True, filters={"label": label}) == []
