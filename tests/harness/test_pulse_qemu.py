# SPDX-License-Identifier: Apache-2.0
"""The guest `pulse` on real QEMU: it runs on every version, goes on after a hop, and sees what changed under it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lab import Lab

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(1500)]

BUILDS = """
engine: docker
builds:
  qemu-5.2: {provider: debian, suite: bullseye}
  qemu-7.2: {provider: debian, suite: bookworm}
  qemu-10.0.2: {provider: debian, suite: bookworm-backports}
  qemu-10.0.13: {provider: debian, suite: trixie}
  qemu-11.1: {provider: debian, suite: trixie-backports}
"""


def run(lab: Lab, rest: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The results of a matrix by machine, guest and path."""
    matrix = lab.root / "matrix.yaml"
    matrix.write_text(BUILDS + rest)
    done = lab.run(matrix, "-j", "2")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return {(row["machine"], row["guest"], ">".join(row["path"])): row for row in lab.results().values()}


def told(row: dict[str, Any]) -> tuple[str, ...]:
    """Verdict, and of a failure kind, device and field."""
    cause = row["cause"]
    return (row["verdict"], *((cause["kind"], cause["device"], cause["field"]) if cause else ()))


def test_every_version_runs_it_and_it_sees_no_change_on_the_same(lab: Lab) -> None:
    rest = """
machines: [pc-q35-5.2, pc-i440fx-5.2]
profiles: {define: {virtio: {args: [-nodefaults, -m, "64", -smp, "2", -device, virtio-rng-pci]}}}
paths:
  pairs:
    - qemu-5.2>qemu-5.2
    - qemu-7.2>qemu-7.2
    - qemu-10.0.2>qemu-10.0.2
    - qemu-10.0.13>qemu-10.0.13
    - qemu-11.1>qemu-11.1
    - qemu-7.2>qemu-10.0.2
modes: [snapshot, unix]
guests: [pulse]
"""
    results = run(lab, rest)
    assert len(results) == 12
    assert {key: row for key, row in results.items() if told(row) != ("pass",)} == {}


def test_what_changed_under_it_is_the_verdict(lab: Lab) -> None:
    """A planted file, and two breaks of 10.0.2: SMRAM, and CPUID of an odd count of cores."""
    rest = """
  file: {provider: debian, suite: trixie, args: [-fw_cfg, "name=opt/planted,string=1"]}
machines: [pc-q35-10.0]
profiles: {define: {cores: {args: [-nodefaults, -m, "64", -cpu, Nehalem, -smp, "3,sockets=1,cores=3"]}}}
paths:
  pairs:
    - qemu-10.0.13>qemu-10.0.13
    - qemu-10.0.13>qemu-10.0.2
    - qemu-10.0.2>qemu-10.0.2
    - qemu-10.0.13>file
guests: [pulse, pulse-smram]
"""
    results = run(lab, rest)
    machine = "pc-q35-10.0"
    smram = ("fail", "abi-changed", "pci 00:00.0", "0x9c")
    cores = ("fail", "abi-changed", "cpuid 0/1.0", "ebx")
    assert {key[1:]: told(row) for key, row in results.items() if key[0] == machine} == {
        ("pulse", "qemu-10.0.13>qemu-10.0.13"): ("pass",),
        ("pulse-smram", "qemu-10.0.13>qemu-10.0.13"): ("pass",),
        ("pulse", "qemu-10.0.2>qemu-10.0.2"): ("pass",),
        ("pulse-smram", "qemu-10.0.2>qemu-10.0.2"): smram,
        ("pulse", "qemu-10.0.13>qemu-10.0.2"): cores,
        ("pulse-smram", "qemu-10.0.13>qemu-10.0.2"): cores,
        ("pulse", "qemu-10.0.13>file"): ("fail", "abi-changed", "fw_cfg opt/planted", ""),
        ("pulse-smram", "qemu-10.0.13>file"): ("fail", "abi-changed", "fw_cfg opt/planted", ""),
    }
    cause = results[machine, "pulse", "qemu-10.0.13>qemu-10.0.2"]["cause"]
    assert cause["message"].startswith("cpuid 0/1.0 ebx was 00080400, is 00080300")


def test_what_a_driver_took_is_migrated_or_refused(lab: Lab) -> None:
    """Rings of 1024 that are in use, a feature that was accepted and that the destination does not have, and what is right."""
    rest = """
machines: [pc-q35-5.2]
profiles: {use: [virtio-net, virtio-mem]}
paths: {explicit: [
  {path: qemu-5.2>qemu-11.1, profiles: [virtio-net]},
  {path: qemu-11.1>qemu-5.2, profiles: [virtio-net]},
  {path: qemu-10.0.13>qemu-10.0.13, profiles: [virtio-net]},
  {path: qemu-10.0.13>qemu-11.1, profiles: [virtio-net]},
  {path: qemu-7.2>qemu-7.2, profiles: [virtio-mem]},
  {path: qemu-7.2>qemu-10.0.2, profiles: [virtio-mem]},
  {path: qemu-10.0.13>qemu-7.2, profiles: [virtio-mem]},
], pairs: none}
guests: [pulse-drivers]
"""
    results = {path: row for (_, _, path), row in run(lab, rest).items()}
    offered = ("fail", "abi-changed", "virtio-features 00:01.0/24", "0x0")
    assert {path: told(row) for path, row in results.items()} == {
        "qemu-5.2>qemu-11.1": ("pass",),
        "qemu-11.1>qemu-5.2": ("pass",),
        "qemu-10.0.13>qemu-10.0.13": ("pass",),
        "qemu-10.0.13>qemu-11.1": ("fail", "virtio-ring", "0000:00:01.0/virtio-net", "vring.num"),
        "qemu-7.2>qemu-7.2": ("pass",),
        "qemu-7.2>qemu-10.0.2": offered,
        "qemu-10.0.13>qemu-7.2": ("fail", "virtio-features", "0000:00:01.0/virtio-mem", "0x4"),
    }
