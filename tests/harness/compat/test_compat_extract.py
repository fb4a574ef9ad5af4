# SPDX-License-Identifier: Apache-2.0
"""A build is asked for its compat entries: however long its answer is, and however fast it quits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.builds.facts import BuildFacts, PreparedBuild
from migmatrix.harness.builds.shell import said
from migmatrix.harness.compat.extract import fetch
from migmatrix.harness.errors import UnusableBuild

if TYPE_CHECKING:
    from pathlib import Path

# As QEMU does with its character devices: no wait for a pipe that is full, and what is left is lost at the end.
HASTY = """\
#!{python}
import os
os.set_blocking(1, False)
left = b"x" * {size}
while left:
    try:
        left = left[os.write(1, left):]
    except BlockingIOError:
        break
"""


def test_an_answer_that_no_pipe_holds_is_not_cut_off(tmp_path: Path) -> None:
    size = 1 << 20
    binary = tmp_path / "emulator"
    binary.write_text(HASTY.format(python=sys.executable, size=size))
    binary.chmod(0o755)
    build = PreparedBuild("hasty", "binary", "test", BuildFacts("digest", "9.1", "", (), (), ()), str(binary))
    assert len(said(build, '"$1"')) == size


TELLS = """\
#!/bin/sh
echo '{"QMP": {}}'
echo '{"return": {}}'
echo '{"return": [{"name": "pc-q35-9.2", "compat-props":
 [{"qom-type": "nic", "property": "tso", "value": "off"}]}, {"name": "none"}], "id": "machines"}' | tr -d '\\n'
echo
"""
REFUSES = """\
#!/bin/sh
echo '{"id": "machines", "error": {"desc": "Parameter compat-props is unexpected"}}'
"""


def fake(tmp_path: Path, script: str) -> PreparedBuild:
    """A build whose emulator only prints."""
    binary = tmp_path / "emulator"
    binary.write_text(script)
    binary.chmod(0o755)
    return PreparedBuild("told", "binary", "test", BuildFacts("d", "9.1", "", (), (), ()), str(binary))


def test_a_build_tells_its_entries_per_machine_type(tmp_path: Path) -> None:
    assert fetch(fake(tmp_path, TELLS)) == {"pc-q35-9.2": [("nic", "tso", "off")], "none": []}


def test_a_build_that_does_not_tell_is_named_with_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(UnusableBuild, match="Parameter compat-props is unexpected"):
        fetch(fake(tmp_path, REFUSES))
