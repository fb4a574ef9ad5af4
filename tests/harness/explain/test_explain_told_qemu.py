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
    "device": (["-device", "virtio-rng-pci"], [], "-device virtio-rng-pci against nothing"),
    "legacy": (
        ["-device", "virtio-rng-pci,disable-legacy=on,disable-modern=off"],
        ["-device", "virtio-rng-pci"],
        "-device virtio-rng-pci,disable-legacy=on against -device virtio-rng-pci",
    ),
    "memory-name": (
        ["-object", "memory-backend-ram,id=ram0,size=128M", "-machine", "memory-backend=ram0"],
        [],
        "-machine memory-backend=ram0 against nothing",
    ),
    "port-hotplug": (
        ["-device", "pcie-root-port,hotplug=off"],
        ["-device", "pcie-root-port"],
        "-device pcie-root-port,hotplug=off against -device pcie-root-port",
    ),
    "rom": (
        ["-device", "virtio-net-pci", "-global", "virtio-net-pci.romfile=pxe-virtio.rom"],
        ["-device", "virtio-net-pci"],
        "-global virtio-net-pci.romfile=pxe-virtio.rom against nothing",
    ),
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
    postcopy = {"name": "postcopy", "transport": "tcp", "source": {"capabilities": ["postcopy-ram"]}}
    channels = {
        "name": "channels",
        "transport": "tcp",
        "capabilities": ["multifd"],
        "source": {"parameters": {"multifd-channels": 4}},
        "destination": {"parameters": {"multifd-channels": 2}},
    }
    builds = {"q": {"provider": "debian", "suite": "trixie"}}
    found = explained(
        lab,
        builds=builds,
        paths={"pairs": ["q>q"]},
        modes=[mode, ignore, postcopy, channels],
        policy={"deadline": {"migrate": 20}},  # too few channels: the destination waits for ever
    )
    assert len(found) == 4
    assert {one["fix"]["reason"] for one in found} == {"told differently"}
    said = " ".join(one["fix"]["summary"] for one in found)
    assert "multifd-compression" in said
    assert "x-ignore-shared" in said
    assert "capability postcopy-ram: on against nothing" in said
    assert "parameter multifd-channels: 4 against 2" in said
    assert {one["fix"]["compat"] for one in found} == {""}


def test_a_tls_object_that_nothing_makes_is_a_mistake_of_the_file(lab: Lab) -> None:
    builds = {"q": {"provider": "debian", "suite": "trixie"}}
    modes = [{"name": "unnamed", "transport": "tcp", "parameters": {"tls-creds": "tls0"}}]
    profiles = {"define": {"guest": {"args": ["-nodefaults"]}}}
    done = lab.run(lab.matrix(builds=builds, modes=modes, profiles=profiles, paths={"pairs": ["q>q"]}))
    assert done.returncode == 2
    assert "mode 'unnamed' names the TLS object 'tls0', which no argument makes" in done.stderr
