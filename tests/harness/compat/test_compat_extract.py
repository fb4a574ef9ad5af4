"""A build is asked for its compat entries: however long its answer is, and however fast it quits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from migmatrix.harness.builds.facts import BuildFacts, PreparedBuild
from migmatrix.harness.builds.shell import said

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
