# SPDX-License-Identifier: Apache-2.0
"""`import migmatrix`: the examples of docs/api.md, and that a name costs nothing until it is used."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from stream_data import DATA

import migmatrix

if TYPE_CHECKING:
    from lab import Lab

TOP = Path(__file__).parents[2]
API = (TOP / "docs" / "api.md").read_text()
RUN, STREAM = re.findall(r"```python\n(.*?)```", API, re.DOTALL)


def imported_by(code: str) -> list[str]:
    """The modules of this program, and `typing`, that are loaded after `code`, in a process of its own."""
    told = "print(*(m for m in sys.modules if m.startswith('migmatrix') or m == 'typing'))"
    argv = [sys.executable, "-S", "-c", f"import sys; sys.path.insert(0, {str(TOP)!r})\n{code}\n{told}"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()


def test_the_example_runs_a_matrix(lab: Lab) -> None:
    builds = lab.builds({"old": [], "aer": ["-fake", "state=aer"]})
    lab.matrix(builds=builds, paths={"pairs": ["aer>old"]}).rename(lab.root / "matrix.yaml")
    lab.environment = {"MIGMATRIX_STORE": str(lab.root / "store")}

    done = lab.call([sys.executable, "-c", RUN.replace("profile=minimal", "profile=nic")])

    assert done.stdout.splitlines() == [
        "1 cells",
        "exit code 1",
        "pc-q35-7.2/nic/aer>old/snapshot/paused pci-config e1000e 0x10a",
        "0 results changed",
    ], done.stderr
    assert list((lab.root / "store" / "hops").iterdir())
    assert (lab.root / "runs" / "minimal" / "report.html").is_file()


def test_the_example_reads_a_stream(tmp_path: Path) -> None:
    (tmp_path / "stream.gz").symlink_to(DATA / "q35-7.2.22.gz")
    argv = [sys.executable, "-c", f"import migmatrix\n{STREAM}"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert re.fullmatch(r"pc-q35-5.2 \d+ sections\n", done.stdout), done.stderr


def test_the_page_names_every_function() -> None:
    functions = [name for name in migmatrix.__all__ if name[0].islower()]
    assert len(functions) > 5
    assert not [name for name in functions if f"{name}(" not in API]


def test_every_name_is_there_and_listed() -> None:
    assert all(getattr(migmatrix, name) is not None for name in migmatrix.__all__)
    assert set(migmatrix.__all__) <= set(dir(migmatrix))
    with pytest.raises(AttributeError, match="has no attribute 'nonesuch'"):
        migmatrix.nonesuch  # noqa: B018 - what is tested is that looking for it fails


def test_importing_the_package_imports_nothing() -> None:
    assert imported_by("import migmatrix") == ["migmatrix"]


def test_running_needs_none_of_the_tools_that_run_trials() -> None:
    argv = [
        sys.executable,
        "-c",
        "import sys; from migmatrix.harness.run import pipeline; print(*sys.modules)",
    ]
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    rooms = {name.split(".")[2] for name in loaded if name.startswith("migmatrix.harness.")}
    assert "engines" in rooms
    assert not rooms & {"explain", "bisect", "advise", "mutate", "trials", "commands"}
    assert "typer" not in loaded
