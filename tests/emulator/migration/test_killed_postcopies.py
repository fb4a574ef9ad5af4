# SPDX-License-Identifier: Apache-2.0
"""Postcopies of which a side, or both, is killed (SIGKILL) at seeded moments, from before the advice until after the end.

``MIGMATRIX_KILLS=240`` makes so many in all, `MIGMATRIX_REAL_KILLS` (``-m qemu``) of real QEMU. What must be left is in
`fatal_postcopies`; `trial_counts` tells how to have a table. Through the harness: `test_killed_sides.py`.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from random import Random

import needs
import pytest
from fatal_postcopies import STAGES, WHO, Trial
from real_postcopies import RELEASES, saved
from trial_counts import note, share

CELLS = [(stage, who) for stage in STAGES for who in WHO]
COUNT = share("MIGMATRIX_KILLS", len(CELLS), len(CELLS))
REAL_COUNT = share("MIGMATRIX_REAL_KILLS", len(CELLS), len(CELLS))


def kill(kind: str, stage: str, who: str, count: int) -> None:
    """So many trials of one kind, by one release after the other."""
    for seed in range(count):
        release = RELEASES[(seed + CELLS.index((stage, who))) % len(RELEASES)]
        place = Path(tempfile.mkdtemp(prefix="kill-", dir="/tmp"))
        place.chmod(0o777)
        try:
            trial = Trial(kind, release, place, stage, who)
            left = trial.run(Random(f"{stage} {who} {seed}"), saved(release, place))
            note(f"{kind} killed", f"{release} {who}", seed, stage, left)
        finally:
            shutil.rmtree(place)


@pytest.mark.slow
@pytest.mark.timeout(300 + 60 * COUNT)
@pytest.mark.parametrize(("stage", "who"), CELLS)
def test_who_is_left_is_what_the_document_says(stage: str, who: str) -> None:
    kill("emulator", stage, who, COUNT)


@pytest.mark.qemu
@pytest.mark.timeout(300 + 60 * REAL_COUNT)
@pytest.mark.parametrize(("stage", "who"), CELLS)
def test_who_is_left_of_real_qemu_is_what_the_document_says(stage: str, who: str) -> None:
    if shutil.which("docker") is None:
        needs.missing("docker")
    kill("qemu", stage, who, REAL_COUNT)
