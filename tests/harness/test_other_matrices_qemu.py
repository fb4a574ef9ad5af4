# SPDX-License-Identifier: Apache-2.0
"""Real QEMU of riscv64: a guest arrives at its own build, and breaks as the track record says; `explain` says why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lab import Lab

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(1800)]

RISCV = {"provider": "debian", "package": "qemu-system-riscv", "binary": "qemu-system-riscv64"}
OLD, NEW = "qemu-10.0", "qemu-11.1"


def test_the_processors_state_of_riscv(lab: Lab) -> None:
    matrix = lab.root / "riscv.yaml"
    builds = {OLD: {**RISCV, "suite": "trixie"}, NEW: {**RISCV, "suite": "trixie-backports"}}
    profiles = {
        "rng": {"args": ["-nodefaults", "-device", "virtio-rng-device"], "architectures": ["riscv*"]},
        "elsewhere": {"args": ["-cpu", "cortex-a57"], "architectures": ["aarch64"]},
    }
    matrix.write_text(
        json.dumps({"builds": builds, "machines": ["virt"], "profiles": {"define": profiles}}),
        encoding="utf-8",
    )
    done = lab.run(matrix)
    assert done.returncode == 1, done.stderr
    found = {(tuple(r["path"]), r["profile"]): r["signature"] for r in lab.results().values()}
    assert found == {
        ((OLD, OLD), "rng"): None,
        ((NEW, NEW), "rng"): None,
        ((OLD, NEW), "rng"): "vmsd-version cpu cpu",
        ((NEW, OLD), "rng"): "section-version cpu",
    }
