# SPDX-License-Identifier: Apache-2.0
"""A release of real QEMU: refused for what 11.1 does to rings of 10.0.13, then signed with a waiver, verified elsewhere."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from debian import MATRICES
from signed import Release, waiver, write_key

from migmatrix.harness.run.pipeline import RunOptions, execute, prepare_plan
from migmatrix.harness.signoff.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(900)]

SELECT = ("profile=virtio-blk", "machine=pc-q35-7.2")
RING = "virtio-ring virtio-blk vring.num"


def test_a_debian_run_is_refused_then_signed_and_verified_elsewhere(tmp_path: Path) -> None:
    release = Release(tmp_path)
    write_key(tmp_path)
    options = RunOptions(
        file=MATRICES / "debian.yaml", store=tmp_path / "store", select=SELECT, out=release.run
    )
    execute(prepare_plan(options), options)
    promised: dict[str, Any] = {
        "require": [{"select": {"profile": "virtio-blk"}}],
        "guests": ["paused"],
        "chains": 3,
        "max_age": "1d",
    }

    refused = release.sign(release.policy(**promised)).decision

    counts, failures = refused.reasons
    assert counts == "require profile=virtio-blk: 72 of 80 cells pass or are waived, 100% must"
    assert failures.startswith(f"require profile=virtio-blk: 8 cells fail, not waived: {RING}: ")
    assert not (tmp_path / "signed").exists()

    carried = waiver(id="vring", selector={"path": "*>qemu-11.1*"}, signature=RING)
    done = release.sign(release.policy([carried], **promised)).decision
    assert done.reasons == ()

    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "signed").rename(tmp_path / "elsewhere" / "release")
    for gone in ("run", "store"):
        shutil.rmtree(tmp_path / gone)
    found = verify(moved, release.public)
    assert (found.problems, found.cells, found.checked) == ([], 80, True)
    told = json.loads((moved / "decision.json").read_text())
    assert (told["accounting"]["passed"], told["accounting"]["waived"]) == (72, 8)
    assert {len(w["cells"]) for w in told["waivers"]} == {8}
