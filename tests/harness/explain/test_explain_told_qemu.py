# SPDX-License-Identifier: Apache-2.0
"""Real failures whose cause is what the two sides are told: the answer names it, and blames no version."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lab import Lab

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(900)]

ARGUMENTS = {
    "queues": (
        ["-device", "virtio-scsi-pci,num_queues=4"],
        ["-device", "virtio-scsi-pci,num_queues=2"],
        "-device virtio-scsi-pci,num_queues=4 against -device virtio-scsi-pci,num_queues=2",
    ),
    "processors": (["-smp", "4"], ["-smp", "2"], "-smp 4 against -smp 2"),
    "memory": (["-m", "128"], ["-m", "256"], "-m 128 against -m 256"),
}


def explained(lab: Lab, **changes: Any) -> list[dict[str, Any]]:
    """Run a matrix of one machine and explain all that fails in it."""
    matrix = lab.matrix(profiles={"define": {"guest": {"args": ["-nodefaults"]}}}, **changes)
    assert lab.run(matrix).returncode == 1
    done = lab.call(lab.command("explain", str(lab.root / "out"), "--json"))
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("source", "destination", "difference"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_other_arguments_are_named(
    lab: Lab, source: list[str], destination: list[str], difference: str
) -> None:
    builds = {
        "old": {"provider": "debian", "suite": "bookworm", "args": source},
        "new": {"provider": "debian", "suite": "trixie", "args": destination},
    }
    (found,) = explained(lab, builds=builds, paths={"pairs": ["old>new"]})
    assert found["fix"]["reason"] == "told differently"
    assert difference in found["fix"]["summary"]
    assert "no version is to blame" in found["fix"]["summary"]
    assert found["fix"]["compat"] == ""


def test_a_setting_of_one_side_is_named(lab: Lab) -> None:
    mode = {
        "name": "compression",
        "transport": "tcp",
        "capabilities": ["multifd"],
        "source": {"parameters": {"multifd-compression": "zlib"}},
        "destination": {"parameters": {"multifd-compression": "none"}},
    }
    ignore = {"name": "ignore", "transport": "tcp", "source": {"capabilities": ["x-ignore-shared"]}}
    builds = {"q": {"provider": "debian", "suite": "trixie"}}
    found = explained(lab, builds=builds, paths={"pairs": ["q>q"]}, modes=[mode, ignore])
    assert {one["fix"]["reason"] for one in found} == {"told differently"}
    said = " ".join(one["fix"]["summary"] for one in found)
    assert "multifd-compression" in said
    assert "x-ignore-shared" in said
    assert {one["fix"]["compat"] for one in found} == {""}
