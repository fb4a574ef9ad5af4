# SPDX-License-Identifier: Apache-2.0
"""Sides of postcopies that somebody kills (SIGKILL) while the harness runs them: named, with signal, stage and status.

``MIGMATRIX_KILLED_LEGS=30`` makes so many trials of each row, by default one; `trial_counts` tells how to have a table.
What emulators do without a harness when a side is killed: `test_killed_postcopies.py`.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from fault_field import Field, remove, text
from lab import Lab, wait_until
from needs import missing
from trial_counts import note, share

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

TRIALS = share("MIGMATRIX_KILLED_LEGS", 1, 1)
WHO = ("source", "destination", "both")
TRICKLE = {"max-postcopy-bandwidth": 50_000}  # so that a postcopy takes seconds
MATRIX: dict[str, Any] = {
    "machines": ["pc-q35-7.2"],
    "profiles": {"define": {"plain": {"args": ["-m", "64", "-nodefaults"]}}},
    "paths": {"pairs": ["old>new"]},
    "modes": [
        {
            "name": "postcopy",
            "transport": "unix",
            "capabilities": ["postcopy-ram"],
            "postcopy": True,
            "source": {"parameters": TRICKLE},
        }
    ],
    "policy": {"retries": 0},
}
EMULATED = {
    "old": {"provider": "emulator", "release": "7.2"},
    "new": {"provider": "emulator", "release": "11.1"},
}
REAL = {
    "old": {"provider": "debian", "suite": "bookworm"},
    "new": {"provider": "debian", "suite": "trixie-backports"},
}
_SECONDS = 2.5  # from the start of both sides until most of the postcopy is over
_STILL = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
BUILDS = {"source": "old", "destination": "new"}
_TOLD = re.compile(r"(source|destination) '(\w+)' by (SIGKILL) (?:while '([\w-]+)'|before its migration)")


def field_of(builds: dict[str, Any], engine: str) -> Iterator[Field]:
    root = Path(tempfile.mkdtemp(prefix="mm-", dir="/tmp"))
    root.chmod(0o755)
    yield Field.of(Lab(root), {**MATRIX, "builds": builds, "engine": engine})
    remove(root)


@pytest.fixture(scope="module")
def emulated() -> Iterator[Field]:
    yield from field_of(EMULATED, "process")


@pytest.fixture(scope="module")
def real(container_engine: object) -> Iterator[Field]:
    del container_engine
    yield from field_of(REAL, "docker")


def only_the_migration(field: Field) -> None:
    """Have in the store what the undisturbed run left, but for the leg with two sides."""
    field.clear()
    field.fill()
    for path in field.hops.glob("*/*/evidence.json"):
        if len(json.loads(path.read_bytes())["emulators"]) == 2:
            remove(path.parent)


def sides(field: Field, run: subprocess.Popen[bytes]) -> dict[str, psutil.Process]:
    """Both sides of the one migration as soon as they are there, the source was started first; none when nobody saw them."""
    while run.poll() is None:
        with suppress(psutil.NoSuchProcess):
            there = sorted(field.emulators(), key=lambda p: p.create_time())
            if len(there) == 2:
                return dict(zip(BUILDS, there, strict=True))
    return {}


def kill(processes: dict[str, psutil.Process]) -> list[str]:
    """Kill these; the roles of those that still were there. They stand still first, so that none sees another's end."""
    for process in processes.values():
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    wait_until(lambda: all(state(p) in _STILL for p in processes.values()))
    killed = [role for role, process in processes.items() if state(process) == psutil.STATUS_STOPPED]
    for role in killed:
        processes[role].kill()
    return killed


def state(process: psutil.Process) -> str:
    """What the kernel says of it; a zombie when it is gone."""
    try:
        return str(process.status())
    except psutil.NoSuchProcess:
        return str(psutil.STATUS_ZOMBIE)


def trial(field: Field, who: str, dice: Random) -> str:
    """Kill at a random moment; what the evidence said, after it was held against what was done."""
    only_the_migration(field)
    run = field.start()
    there = sides(field, run)
    deadline = time.monotonic() + dice.random() * _SECONDS
    while time.monotonic() < deadline and run.poll() is None:
        time.sleep(0.005)  # a random moment is what is tried
    killed = kill({role: process for role, process in there.items() if who in (role, "both")})
    code = field.finish(run)
    (result,) = field.lab.results().values()
    said = judged(result, killed)
    assert code == (3 if result["verdict"] == "error" else 0), text(field.lab.root / "log")
    assert field.finish(field.start(log="again")) == 0, text(field.lab.root / "again")
    assert field.lab.verdicts() == {"pass": 1}
    assert list(field.left()) == []
    return said


def judged(result: dict[str, Any], killed: list[str]) -> str:
    """A kill that came too late has cost nothing; every other one is told, with who, what and when."""
    if result["verdict"] == "pass":
        return "after all"
    cause, stage = result["cause"], result["stage"]
    told = {role: (build, signal, status) for role, build, signal, status in _TOLD.findall(cause["message"])}
    assert (result["verdict"], cause["kind"], cause["field"]) == ("error", "killed", "SIGKILL"), result
    assert f" in {stage}: " in cause["message"]
    assert {role: build for role, (build, *_) in told.items()} == {role: BUILDS[role] for role in told}
    # who has nothing to do any more after a migration is told to quit, and may be gone
    assert set(told) == set(killed) if stage != "check" else told.keys() <= set(killed), result
    return f"{stage}, " + ", ".join(f"{role} {status or 'before'}" for role, (_, _, status) in told.items())


def hold(field: Field, kind: str, who: str) -> None:
    for number in range(TRIALS):
        said = trial(field, who, Random(f"{kind} {who} {number}"))
        note(f"{kind} killed under the harness", who, number, said)


@pytest.mark.parametrize("who", WHO)
def test_who_was_killed_is_told(emulated: Field, who: str) -> None:
    hold(emulated, "emulator", who)


@pytest.mark.qemu
@pytest.mark.parametrize("who", WHO)
def test_who_of_real_qemu_was_killed_is_told(real: Field, who: str) -> None:
    if shutil.which("docker") is None:
        missing("docker")
    hold(real, "qemu", who)
