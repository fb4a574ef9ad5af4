# SPDX-License-Identifier: Apache-2.0
"""A small laboratory: matrices on fake emulators, run through the real command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fake_qemu
import warm_start

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE = 120.0  # seconds

MIGMATRIX = [sys.executable, "-c", "from migmatrix.harness.cli import main; main()"]


@dataclass
class Lab:
    """A directory with fake emulators, a matrix, a store and runs."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    def matrix(self, **changes: Any) -> Path:
        """Write a matrix on two fake builds; `changes` replace its top-level keys. JSON is YAML."""
        for version in ("7.2.0", "8.0.0"):
            fake_qemu.install(self.root, version)
        data: dict[str, Any] = {
            "builds": self.builds({"old": [], "new": []}),
            "machines": ["pc-q35-7.2"],
            "profiles": {"define": {"plain": {"args": []}, "nic": {"args": ["-device", "e1000"]}}},
            "paths": {"pairs": "all", "chains": "all"},
            "policy": {"deadline": {"start": 20.0, "load": 20.0, "save": 20.0}, "retries": 0},
        }
        data.update(changes)
        path = self.root / "lab.yaml"
        path.write_text(json.dumps(data, indent=1))
        return path

    def builds(self, args: dict[str, list[str]]) -> dict[str, Any]:
        """Builds whose every start is counted; `old` is 7.2.0, all others are 8.0.0."""
        touch = ["-fake", f"touch={self.root}/starts"]
        return {
            name: {
                "provider": "binary",
                "path": str(self.root / ("fake-7.2.0" if name.startswith("old") else "fake-8.0.0")),
                "args": [*touch, *more],
            }
            for name, more in args.items()
        }

    def starts(self) -> int:
        """How many emulators were started so far, probes of `builds prepare` aside."""
        path = self.root / "starts"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def command(self, *args: str) -> list[str]:
        """The command line of `migmatrix` with this lab's store."""
        return [*MIGMATRIX, *args, "--store", str(self.root / "store")]

    def run_arguments(self, matrix: Path, *args: str, out: str = "out") -> list[str]:
        """The command line of `migmatrix run`."""
        return self.command("run", "-f", str(matrix), "--out", str(self.root / out), *args)

    def run(self, matrix: Path, *args: str, out: str = "out") -> subprocess.CompletedProcess[str]:
        """Run the matrix to its end."""
        return self.call(self.run_arguments(matrix, *args, out=out))

    def call(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in the lab; one of `migmatrix` by fork, where its environment asks for nothing else."""
        if argv[: len(MIGMATRIX)] == MIGMATRIX and not self.environment:
            return warm_start.call(argv[len(MIGMATRIX) :], self.root, self.env())
        return subprocess.run(
            argv, cwd=self.root, env=self.env(), capture_output=True, text=True, check=False
        )

    def start(self, argv: list[str], log: str = "log") -> subprocess.Popen[bytes]:
        """Start a command in the background; its output goes to a file of the lab."""
        with (self.root / log).open("wb") as file:
            return subprocess.Popen(argv, cwd=self.root, env=self.env(), stdout=file, stderr=file)

    def finished_legs(self) -> int:
        """How many legs the store holds."""
        return len(list((self.root / "store" / "hops").glob("*/*/evidence.json")))

    def env(self) -> dict[str, str]:
        """The environment of commands."""
        return {**os.environ, "TMPDIR": str(self.root), **self.environment}

    def results(self, out: str = "out") -> dict[str, dict[str, Any]]:
        """results.jsonl by cell id."""
        lines = (self.root / out / "results.jsonl").read_text().splitlines()
        return {record["cell"]: record for record in map(json.loads, lines)}

    def verdicts(self, out: str = "out") -> Counter[str]:
        """Cells by verdict."""
        return Counter(record["verdict"] for record in self.results(out).values())


def wait_until(true: Callable[[], bool]) -> None:
    """Look until something has happened; the time that it takes is not what is tested."""
    deadline = time.monotonic() + _PATIENCE
    while not true():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


def timeless(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Results without what differs between equal runs."""
    return {cell: {k: v for k, v in record.items() if k != "seconds"} for cell, record in results.items()}


def heeds(process: subprocess.Popen[Any]) -> bool:
    """Whether the process has a handler for SIGTERM, or has ended."""
    if process.poll() is not None:
        return True
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)
