# SPDX-License-Identifier: Apache-2.0
"""A field of trials: one matrix, what it gives undisturbed, and how far a disturbed run and its repetition are from that.

1. `told`: a cell of the disturbed run has a verdict that is not true (`error` says nothing and is no lie).
2. `stored`: the same of the repetition, which had it from the store.
3. `lost`: the repetition lacks a cell, or calls it an error.
4. `left`: processes, workspaces, containers and networks that are there after the repetition.
5. `codes`: exit codes that do not go with what the run says; an error that nobody handled is 70.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    from lab import Lab

LOGS = ("log", "log-other", "again")
MARK = "MIGMATRIX_RUN"
# A run that takes this many seconds hangs: undisturbed it takes a few, on a very busy machine a hundred times that.
HANGS = 900.0

Told = tuple[str, str | None, str | None, int | None]


@dataclass
class Score:
    """What one trial showed, by kind; nothing is what is wanted."""

    told: list[str] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)

    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.told or self.stored or self.lost or self.left or self.codes)


@dataclass
class Field:
    """A lab with a matrix whose results are known."""

    lab: Lab
    matrix: Path
    truth: dict[str, Told] = field(default_factory=dict)
    code: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, lab: Lab, matrix: dict[str, Any]) -> Self:
        """A field of a matrix, whose truth is learnt here; JSON is YAML."""
        path = lab.root / "field.yaml"
        path.write_text(json.dumps(matrix))
        field = cls(lab, path)
        field.learn()
        return field

    def learn(self) -> None:
        """Run undisturbed, and keep the store for trials that begin with a full one."""
        self.lab.call(self.lab.command("builds", "prepare", "-f", str(self.matrix)))
        began = time.monotonic()
        done = self.lab.run(self.matrix, out="truth")
        self.seconds = time.monotonic() - began
        self.truth, self.code = told(self.lab.root / "truth"), done.returncode
        assert self.truth, done.stderr
        assert "error" not in {verdict for verdict, *_ in self.truth.values()}, done.stderr
        shutil.copytree(self.hops, self.lab.root / "full")

    @property
    def hops(self) -> Path:
        """Where the store has its legs."""
        return self.lab.root / "store" / "hops"

    def clear(self) -> None:
        """Forget all runs, and all legs."""
        runs = [self.lab.root / name for name in ("out", "other", *LOGS)]
        for path in (self.hops, *runs):
            remove(path)

    def fill(self) -> None:
        """Begin with the store of the undisturbed run."""
        shutil.copytree(self.lab.root / "full", self.hops)

    def start(
        self, out: str = "out", log: str = "log", environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start the run, in a group of its own; `environment` is added to the lab's, what is "" there is taken away."""
        argv = self.lab.run_arguments(self.matrix, out=out)
        env = {k: v for k, v in {**self.lab.env(), **(environment or {})}.items() if v}
        assert log in LOGS, log
        with (self.lab.root / log).open("wb") as file:
            return subprocess.Popen(
                argv, cwd=self.lab.root, env=env, stdout=file, stderr=file, start_new_session=True
            )

    def moment(self, dice: Random, *processes: subprocess.Popen[bytes]) -> None:
        """Let a random part of a run's time pass, or all of it when one of the processes ends: that is what is tried."""
        deadline = time.monotonic() + dice.random() * self.seconds
        while time.monotonic() < deadline and all(process.poll() is None for process in processes):
            time.sleep(0.005)

    def finish(self, process: subprocess.Popen[bytes]) -> int | None:
        """Its exit code, None when it hangs."""
        try:
            return process.wait(HANGS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return None

    # -- who runs for this lab

    def marked(self) -> list[psutil.Process]:
        """Processes that the process engine started, at whatever remove."""
        base = f"{self.lab.root}/"
        return [p for p in psutil.process_iter() if environment(p).get(MARK, "").startswith(base)]

    def supervisors(self) -> list[psutil.Process]:
        """Processes that start emulators: marked, their parents are not; in a container the first."""
        marked = {p.pid: p for p in self.marked()}
        return [p for p in marked.values() if parent(p) not in marked] + list(self._first())

    def emulators(self) -> list[psutil.Process]:
        """Children of supervisors."""
        return [
            child for p in self.supervisors() for child in children(p) if name(child) not in ("sh", "cat")
        ]

    def _first(self) -> Iterator[psutil.Process]:
        for container in self.containers():
            pid = docker("inspect", "--format", "{{.State.Pid}}", container)
            if pid and pid[0] != "0":
                yield psutil.Process(int(pid[0]))

    def containers(self) -> list[str]:
        """Ids of containers whose workspace is below the lab."""
        return self._of_lab("ps", "-aq")

    def networks(self) -> list[str]:
        """Ids of such networks."""
        return self._of_lab("network", "ls", "-q")

    def _of_lab(self, *command: str) -> list[str]:
        name = self.base / "name"
        if not name.exists() or shutil.which("docker") is None:
            return []
        return docker(*command, "--filter", f"label=migmatrix.base={name.read_text()}")

    @property
    def base(self) -> Path:
        """The directory of workspaces."""
        return self.lab.root / f"migmatrix-{os.getuid()}"

    def left(self) -> Iterator[str]:
        """What is there and should not be."""
        yield from (f"process {p.pid} {p.cmdline()}" for p in self.marked())
        yield from (f"container {name}" for name in self.containers())
        yield from (f"network {name}" for name in self.networks())
        yield from (f"workspace {p.name}" for p in self.base.glob("*") if p.is_dir())

    # -- what came out

    def score(self, codes: dict[str, int | None]) -> Score:
        """Compare disturbed runs with the truth, then give the first one's command again and compare that.

        `codes` are the exit codes of the disturbed runs by their directories; None is a hang.
        """
        score = Score()
        for out, code in codes.items():
            self._compare(told(self.lab.root / out), score.told)
            self._check_code(out, code, score)
        again = self.finish(self.start(log="again"))
        found = told(self.lab.root / "out")
        self._compare(found, score.stored)
        score.lost += [cell for cell in self.truth if found.get(cell, ("error",))[0] == "error"]
        if again != self.code:
            score.codes.append(f"repeated: {again}, not {self.code}: {tail(self.lab.root / 'again')}")
        score.left += self.left()
        return score

    def _compare(self, found: dict[str, Told], wrong: list[str]) -> None:
        for cell, what in found.items():
            if what[0] != "error" and what != self.truth.get(cell):
                wrong.append(f"{cell}: {what}, not {self.truth.get(cell)}")

    def _check_code(self, out: str, code: int | None, score: Score) -> None:
        """0 and 1 are for whole runs without errors; a run that was killed or refused says nothing."""
        found = told(self.lab.root / out)
        whole = found.keys() == self.truth.keys() and not any(v == "error" for v, *_ in found.values())
        if code is None:
            score.codes.append("hangs")
        elif code not in (2, 3, 130, -9, self.code) or (code in (0, 1) and not whole):
            log = "log-other" if out == "other" else "log"
            score.codes.append(f"{out}: {code}: {tail(self.lab.root / log)}")


def told(run: Path) -> dict[str, Told]:
    """Verdict, signature, stage and hop by cell; what a killed run has written whole."""
    path = run / "results.jsonl"
    if not path.is_file():
        return {}
    found: dict[str, Told] = {}
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            record: dict[str, Any] = json.loads(line)
            found[record["cell"]] = tuple(record[key] for key in ("verdict", "signature", "stage", "hop"))
    return found


def text(path: Path) -> str:
    """A log; nothing when there is none."""
    return path.read_text(errors="replace") if path.exists() else ""


def tail(path: Path) -> str:
    """The last line of a log."""
    lines = text(path).strip().splitlines()
    return lines[-1] if lines else ""


def remove(path: Path) -> None:
    """Remove a file or a tree."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def docker(*words: str) -> list[str]:
    """Lines of what the engine's command line says, none when it has nothing to say."""
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=False).stdout.split()


def environment(process: psutil.Process) -> dict[str, str]:
    """A process's environment; nothing when it ends or is not ours to read."""
    try:
        found: dict[str, str] = process.environ()
    except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
        return {}
    return found


def parent(process: psutil.Process) -> int:
    """A process's parent; 0 when it has ended."""
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return 0


def name(process: psutil.Process) -> str:
    """A process's name; that of a shell when it has ended, as nobody wants it then."""
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return "sh"


def children(process: psutil.Process) -> list[psutil.Process]:
    """A process's children, at whatever remove."""
    try:
        found: list[psutil.Process] = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return found
