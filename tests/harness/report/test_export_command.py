# SPDX-License-Identifier: Apache-2.0
"""`migmatrix report RUN --export FORMAT[=FILE]`: files whole or not at all, exit codes of the run, mistakes in one line."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import MIGMATRIX, Lab

from migmatrix.harness.exports.formats import FORMATS

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

PAGE = Path(__file__).parents[3] / "docs" / "exports.md"


@pytest.fixture(scope="module")
def red() -> Iterator[Lab]:
    """A run with regressions, in `out`."""
    root = Path(tempfile.mkdtemp(prefix="mm-", dir="/tmp"))
    lab = Lab(root)
    builds = lab.builds({"old": [], "aer": ["-fake", "state=aer"]})
    done = lab.run(lab.matrix(builds=builds, paths={"pairs": "all"}))
    assert done.returncode == 1, done.stderr
    yield lab
    shutil.rmtree(root)


def report(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    return lab.call([*MIGMATRIX, "report", "out", *words])


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_written_to_the_run_or_a_file_or_printed(red: Lab, name: str) -> None:
    written = report(red, "--export", name, "--export", f"{name}=elsewhere")
    printed = report(red, "--export", f"{name}=-")
    assert (written.returncode, printed.returncode) == (1, 1)
    assert written.stdout.startswith("do not ship: ")
    text = (red.root / "out" / FORMATS[name].file).read_bytes()
    assert text == (red.root / "elsewhere").read_bytes() == printed.stdout.encode()
    assert text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--export", "ctrff"], "unknown format 'ctrff': did you mean 'ctrf'?"),
        (["--export", "ctrf="], "--export 'ctrf=': no file behind '='; '-' is standard output"),
        (["--export", "ctrf=no/such/file"], "cannot write 'no/such/file': No such file or directory"),
        (["--export", "ctrf=-", "--export", "ctrf=-"], "only one thing at a time goes to standard output"),
        (["--export", "ctrf=-", "--json"], "only one thing at a time goes to standard output"),
    ],
)
def test_a_mistake_is_one_line(red: Lab, words: list[str], told: str) -> None:
    done = report(red, *words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"migmatrix: {told}\n")


def test_a_selection_is_exported_alone(red: Lab) -> None:
    done = report(red, "--select", "path=old>old", "--export", "ctrf=-")
    assert done.returncode == 0
    assert '"failed": 0' in done.stdout


def test_the_page_has_each_format_and_its_file() -> None:
    rows = re.findall(r"^\| `([a-z]+)` \| `([^`]+[.][a-z]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert dict(rows) == {name: format_.file for name, format_ in FORMATS.items()}
