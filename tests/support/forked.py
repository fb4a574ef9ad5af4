# SPDX-License-Identifier: Apache-2.0
"""Many short runs of the emulator's program, each in a process of its own that costs a few milliseconds.

One process loads the program and then forks for every command line: it reads a JSON line
``{"argv": [...], "given": "..."}``, and writes ``[status, lines of standard error]``. What is given is on standard
input, which stays open until the run ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Runs"]

ROOT = Path(__file__).parents[2]
_PROGRAM = """
import json, os, sys, tempfile
from migmatrix.emulator.main import main
import migmatrix.emulator.guest, migmatrix.emulator.help, migmatrix.emulator.qmp.syntax, migmatrix.emulator.qmp.human

def child(argv, given, errors):
    reader, writer = os.pipe()
    os.write(writer, given.encode())
    os.set_inheritable(writer, True)
    os.dup2(reader, 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(errors, 2)
    try:
        status = main(argv)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 99
    sys.stderr.flush()
    os._exit(status)

for line in sys.stdin:
    run = json.loads(line)
    with tempfile.TemporaryFile() as errors:
        pid = os.fork()
        if not pid:
            child(run["argv"], run["given"], errors.fileno())
        _, status = os.waitpid(pid, 0)
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    print(json.dumps([os.waitstatus_to_exitcode(status), said.splitlines()]), flush=True)
"""


class Runs:
    """A context manager; `run` is one run after another."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, argv: Sequence[str], given: str = "") -> tuple[int, list[str]]:
        """Exit status and the lines of standard error, without the program's name."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"argv": list(argv), "given": given}) + "\n")
        self._process.stdin.flush()
        status, lines = json.loads(self._process.stdout.readline())
        return status, [line.removeprefix("qemu-system-x86_64: ") for line in lines]
