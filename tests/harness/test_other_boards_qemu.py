# SPDX-License-Identifier: Apache-2.0
"""Real QEMU of another architecture: its emulator by `binary`, addresses of its bus, `explain` and compat commands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lab import Lab

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(900)]

ARM = {"provider": "debian", "suite": "bookworm", "package": "qemu-system-arm", "binary": "qemu-system-arm"}


def test_memory_mapped_devices_of_arm(lab: Lab) -> None:
    matrix = lab.root / "arm.yaml"
    matrix.write_text(
        json.dumps(
            {
                "builds": {"a": {**ARM, "args": ["-device", "virtio-rng-device"]}, "b": ARM},
                "machines": ["virt-7.2"],
                "profiles": {"define": {"bare": {"args": ["-m", "64", "-nodefaults"]}}},
                "paths": {"pairs": ["a>b", "b>b"]},
            }
        )
    )
    done = lab.run(matrix)
    assert done.returncode == 1, done.stderr
    results = lab.results()
    assert {r["signature"] for r in results.values()} == {"missing-device virtio-rng", None}
    explained = lab.call(lab.command("explain", str(lab.root / "out"), "--json"))
    assert explained.returncode == 0, explained.stderr
    (found,) = json.loads(explained.stdout)
    assert found["fix"]["reason"] == "told differently"
    assert "-device virtio-rng-device against nothing" in found["fix"]["summary"]
    static = lab.call(lab.command("compat", "static", str(lab.root / "out")))
    assert "static tools see 0 of 1 red cells" in static.stdout, static.stderr
