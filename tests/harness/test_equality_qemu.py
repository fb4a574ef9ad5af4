# SPDX-License-Identifier: Apache-2.0
"""The check `equality` on real QEMU: a state that was taken without a word and read from the wrong places."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lab import Lab

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(900)]

OLD, NEW = "qemu-7.2", "qemu-10.0"
MATRIX: dict[str, Any] = {
    "builds": {
        OLD: {"provider": "debian", "suite": "bookworm"},
        NEW: {"provider": "debian", "suite": "trixie"},
    },
    "engine": "docker",
    "machines": ["pc-q35-7.2"],
    "defaults": {"args": ["-m", "64", "-display", "none"]},
    "profiles": {"use": ["am53c974", "e1000e", "virtio-blk"]},
    "paths": {"pairs": "all", "chains": "all"},
    "modes": ["equality"],
}


@pytest.mark.parametrize("guest", ["paused", "firmware"])
def test_the_wrong_logical_unit_is_found_and_nothing_else(guest: str, lab: Lab) -> None:
    """10.0 sends `lun`, `drq_state` of am53c974 where 7.2 reads `ti_cmd`, `lun`: docs/findings/0008-am53c974-drq.md."""
    matrix = lab.root / "matrix.yaml"
    matrix.write_text(json.dumps({**MATRIX, "guests": [guest]}))
    done = lab.run(matrix)
    assert done.returncode == 1, done.stderr
    rows = lab.results().values()
    failed = {
        (row["profile"], *row["path"][row["hop"] - 1 :][:2]): row for row in rows if row["verdict"] == "fail"
    }

    assert {key: row["signature"] for key, row in failed.items()} == {
        ("am53c974", OLD, NEW): "missing-footer pciespscsi",
        ("am53c974", NEW, OLD): "changed-state pciespscsi esp.lun",
    }
    assert {row["verdict"] for row in rows} == {"pass", "fail"}
    found = failed["am53c974", NEW, OLD]
    assert found["stage"] == "equality"
    assert "sent at byte 0x1a7, read at byte 0x1a8" in found["cause"]["message"]


def test_it_is_explained(lab: Lab) -> None:
    matrix = lab.root / "matrix.yaml"
    changes = {"profiles": {"use": ["am53c974"]}, "paths": {"pairs": [f"{NEW}>{OLD}"]}}
    matrix.write_text(json.dumps(MATRIX | changes))
    assert lab.run(matrix).returncode == 1
    done = lab.call(lab.command("explain", str(lab.root / "out")))
    assert "takes the state of pciespscsi that qemu-10.0 (10.0.13) sends, and not as it was" in done.stdout
    assert "-m 64 -nodefaults -device am53c974" in done.stdout
