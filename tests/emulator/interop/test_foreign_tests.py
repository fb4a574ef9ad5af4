# SPDX-License-Identifier: Apache-2.0
"""QEMU's own migration tests, test bodies and `QEMUMachine` unchanged, pass on the emulator.

7.2's (avocado) take the default machine type, 10.0's take `microvm`, which the emulator does not have: they skip
themselves, and pass on the machine types that it has. `$MIGMATRIX_QEMU_SOURCE` names the directories of QEMU's
source, with `:` between; Debian's source packages are fetched for what they lack.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import foreign_tests
import needs
import pytest
from bare import ROOT
from debian_source import fetch_source

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow
_SUITES = {"7.2": "bookworm", "10.0": "trixie"}
_TESTS = {"7.2": foreign_tests.AVOCADO, "10.0": foreign_tests.FUNCTIONAL}
_NEEDED = {"7.2": "nc", "10.0": "ncat"}  # by `test_migration_with_exec`
_NAMES = ("test_migration_with_exec", "test_migration_with_tcp_localhost", "test_migration_with_unix")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The directory of a release's source."""
    fetched: dict[str, Path] = {}

    def find(release: str) -> Path:
        for named in os.environ.get("MIGMATRIX_QEMU_SOURCE", "").split(os.pathsep):
            if named and (Path(named) / _TESTS[release]).is_file():
                return Path(named)
        if release not in fetched:
            directory = tmp_path_factory.mktemp("source")
            wanted = ["python/qemu", _TESTS[release].rpartition("/")[0]]
            if why := fetch_source(directory, _SUITES[release], wanted):
                needs.missing(f"a source with {_TESTS[release]} in $MIGMATRIX_QEMU_SOURCE, or {why}")
            fetched[release] = directory
        return fetched[release]

    return find


def emulator(directory: Path, release: str) -> Path:
    """A program with QEMU's name."""
    program = directory / "qemu-system-x86_64"
    run = f"{sys.executable} -m migmatrix.emulator --release {release}"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {run} "$@"\n')
    program.chmod(0o755)
    return program


def outcomes(source: Path, release: str, directory: Path, *machine: str) -> dict[str, str]:
    (directory / "out").mkdir()
    words = (source, emulator(directory, release), directory / "out", *machine)
    done = subprocess.run(
        [sys.executable, foreign_tests.__file__, *map(str, words)], capture_output=True, text=True, check=True
    )
    told: dict[str, str] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("machine", ["pc", "q35", "none"])
@pytest.mark.parametrize("release", _SUITES)
def test_they_pass(source: Callable[[str], Path], release: str, machine: str, tmp_path: Path) -> None:
    told = outcomes(source(release), release, tmp_path, machine)
    lacks = "" if shutil.which(_NEEDED[release]) else f"{_NEEDED[release]!r}"
    passed = {name: told[name] for name in _NAMES if not lacks or "exec" not in name}
    assert set(passed.values()) == {"passed"}, told
    if lacks:
        needs.missing(f"{lacks} for test_migration_with_exec; the others passed")


def test_those_of_7_2_pass_with_their_own_machine(source: Callable[[str], Path], tmp_path: Path) -> None:
    told = outcomes(source("7.2"), "7.2", tmp_path)
    assert {told[name] for name in _NAMES[1:]} == {"passed"}, told


def test_those_of_10_0_find_that_there_is_no_microvm(source: Callable[[str], Path], tmp_path: Path) -> None:
    told = outcomes(source("10.0"), "10.0", tmp_path)
    assert {told[name] for name in _NAMES[1:]} == {"skipped: no support for machine microvm"}
