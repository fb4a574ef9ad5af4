# SPDX-License-Identifier: Apache-2.0
"""What no part of the program expected: a bug is 70, a full disk 3, a closed pipe 141, and never 1, the code of regressions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# A program that breaks one of its own modules before it runs as the command does.
BROKEN = """
import sys
from migmatrix.harness import cli
from migmatrix.harness.commands import plan as module

def plan():
    {does}

module.plan = plan
sys.argv = ["migmatrix", "plan"]
cli.main()
"""


def ended(does: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """The program whose `plan` does that."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    program = BROKEN.format(does=does)
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "does",
    [
        "raise KeyError('state')",
        "raise ValueError('two\\nlines')",
        "raise ExceptionGroup('many', [OSError('x')])",
        "(lambda f: f(f))(lambda f: f(f))",
    ],
)
def test_a_bug_is_one_line_and_its_traceback_is_kept(does: str, tmp_path: Path) -> None:
    done = ended(does, tmp_path)
    (kept,) = tmp_path.glob("migmatrix-bug-*.txt")
    assert done.returncode == 70
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("migmatrix: a bug of migmatrix: ")
    assert str(kept) in done.stderr
    assert "Traceback (most recent call last)" in kept.read_text()
    assert kept.read_text().startswith("$ migmatrix plan\n")


def test_a_bug_with_no_room_for_its_file_shows_the_traceback(tmp_path: Path) -> None:
    program = (
        "import tempfile, errno\n    def full(**_): raise OSError(errno.ENOSPC, 'No space left on device')\n"
    )
    done = ended(f"{program}    tempfile.mkstemp = full; raise KeyError('state')", tmp_path)
    assert done.returncode == 70
    assert "Traceback (most recent call last)" in done.stderr
    assert "please report it with the traceback above" in done.stderr


def test_a_full_disk_is_the_hosts(tmp_path: Path) -> None:
    done = ended("import errno; raise OSError(errno.ENOSPC, 'No space left on device', 'run.db')", tmp_path)
    assert (done.returncode, done.stderr) == (
        3,
        "migmatrix: the host failed: [Errno 28] No space left on device: 'run.db'\n",
    )


@pytest.mark.parametrize("does", ["raise KeyboardInterrupt", "import typer; raise typer.Abort"])
def test_an_interrupt_is_130(does: str, tmp_path: Path) -> None:
    done = ended(does, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_output_that_nobody_reads_is_141() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "migmatrix", "--help"]
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")


def test_output_to_a_full_disk_is_the_hosts() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "migmatrix", "--help"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        3,
        "migmatrix: the host failed: [Errno 28] No space left on device\n",
    )


def test_a_signal_while_a_class_is_made_is_an_interrupt(tmp_path: Path) -> None:
    """Python 3.11 makes a RuntimeError of whatever a field's __set_name__ raises."""
    does = "type('Made', (), {'field': type('Field', (), {'__set_name__': lambda *_: os.kill(os.getpid(), 1)})()})"
    done = ended(f"import os; {does}", tmp_path)

    assert (done.returncode, done.stderr) == (130, "")
