# SPDX-License-Identifier: Apache-2.0
"""Streams of real guests that ran, broken at random: the emulator takes none that real QEMU refuses, and never hangs.

`MIGMATRIX_MUTANTS` is how many of each line and board (default 25); `MIGMATRIX_MUTANTS_FROM` the first seed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from mutants import RELEASES, compare

if TYPE_CHECKING:
    from pathlib import Path

COUNT = int(os.environ.get("MIGMATRIX_MUTANTS", "25"))
FIRST = int(os.environ.get("MIGMATRIX_MUTANTS_FROM", "0"))

pytestmark = [
    pytest.mark.qemu, pytest.mark.slow, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(3600),
]  # fmt: skip


@pytest.mark.parametrize("line", list(RELEASES))
@pytest.mark.parametrize("board", ["q35", "i440fx"])
def test_the_emulator_takes_nothing_that_real_qemu_refuses(line: str, board: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    rows = list(compare(line, board, range(FIRST, FIRST + COUNT), tmp_path))
    assert len(rows) == COUNT
    verdicts = {(row["real"]["verdict"], row["ours"]["verdict"]) for row in rows}
    assert ("taken", "taken") in verdicts
    assert ("refused", "refused") in verdicts
    assert [row for row in rows if row["ours"]["verdict"] in ("hang", "crash")] == []
    lenient = [r for r in rows if (r["real"]["verdict"], r["ours"]["verdict"]) == ("refused", "taken")]
    strict = [r for r in rows if (r["real"]["verdict"], r["ours"]["verdict"]) == ("taken", "refused")]
    assert (lenient, strict) == ([], [])
