# SPDX-License-Identifier: Apache-2.0
"""Feature bits that virtio devices offer, against what real QEMU says that it allows.

Recorded by loading a guest that uses all bits: the refusal names the allowed ones. The emulated network card has a peer
that can do everything, the recorded ones have none, so offloads are extra there, and nothing else.
"""

from __future__ import annotations

from typing import Any

import pytest
from device_cases import RELEASES
from real_devices import EVERY_MACHINE, emulated, recorded, small_machine

from migmatrix.vmstate.device.errors import VMStateError
from migmatrix.vmstate.device.source import BytesSource

# Virtio 1.2, 5.1.3: checksum and segmentation offloads; 54-56 are UDP segmentation (1.3)
OFFLOADS = {0, 1, 7, 8, 9, 10, 11, 12, 13, 14, 54, 55, 56}
USO = {54, 55, 56}
VERSION_1, PACKED, RESET = 32, 34, 40


def bits(mask: int) -> set[int]:
    """Numbers of the bits that are set."""
    return {n for n in range(64) if mask >> n & 1}


def offered(build: str, machine: str, section: str) -> set[int]:
    """What the emulated device of a section offers."""
    state: Any = emulated(build, machine).registry.find(section, 0).state
    return bits(state.host_features)


@pytest.mark.parametrize(("build", "machine"), EVERY_MACHINE)
def test_features_are_the_real_ones(build: str, machine: str) -> None:
    features = recorded(build)["machines"][machine]["features"]
    assert len(features) >= 13
    for section, allowed in features.items():
        ours, real = offered(build, machine, section), bits(allowed)
        extra = OFFLOADS if section.endswith("/virtio-net") else set()
        assert real <= ours, section
        assert ours - real <= extra, section


@pytest.mark.parametrize(("build", "machine"), EVERY_MACHINE)
def test_segmentation_of_udp_is_offered_from_8_2_on(build: str, machine: str) -> None:
    """By release and by machine type: the table for 8.1 and older takes it back (row 2 of the track record)."""
    version = [int(part) for part in machine.rpartition("-")[2].split(".")]
    release = [int(part) for part in RELEASES[build].split(".")[:2]]
    section = next(s for s in recorded(build)["machines"][machine]["features"] if s.endswith("/virtio-net"))
    known = release >= [8, 2] and version >= [8, 2]
    assert (offered(build, machine, section) >= USO) == known


@pytest.mark.parametrize(("build", "machine"), EVERY_MACHINE)
def test_reset_of_a_queue_came_with_7_2(build: str, machine: str) -> None:
    version = [int(part) for part in machine.rpartition("-")[2].split(".")]
    for section in recorded(build)["machines"][machine]["features"]:
        assert (RESET in offered(build, machine, section)) == (version >= [7, 2]), section


@pytest.mark.parametrize(("build", "machine"), EVERY_MACHINE)
def test_the_refusal_names_what_is_allowed(build: str, machine: str) -> None:
    """A guest that uses every feature of the other side and one more."""
    made = small_machine(RELEASES[build], machine, "-device", "virtio-rng-pci,id=rng")
    state: Any = next(e for e in made.registry if e.idstr.endswith("/virtio-rng")).state
    features = recorded(build)["machines"][machine]["features"]
    allowed = next(mask for name, mask in features.items() if name.endswith("/virtio-rng"))
    entry = next(e for e in made.registry if e.idstr.endswith("/virtio-rng"))
    state.guest_features = allowed | 1 << PACKED
    sent = entry.save().data
    with pytest.raises(VMStateError) as refused:
        entry.load(BytesSource(sent), entry.version_id)
    text = f"Features 0x{allowed | 1 << PACKED:x} unsupported. Allowed features: 0x{allowed:x}"
    assert refused.value.facts["message"] == text


@pytest.mark.parametrize(
    ("device", "switch", "bit"),
    [
        ("virtio-blk-pci", "discard=off", 13), ("virtio-blk-pci", "write-zeroes=off", 14),
        ("virtio-blk-pci", "config-wce=off", 11), ("virtio-net-pci", "csum=off", 0),
        ("virtio-net-pci", "guest_csum=off", 1), ("virtio-net-pci", "mrg_rxbuf=off", 15),
        ("virtio-net-pci", "status=off", 16), ("virtio-net-pci", "ctrl_vlan=off", 19),
        ("virtio-net-pci", "host_uso=off", 56), ("virtio-scsi-pci", "hotplug=off", 1),
        ("virtio-scsi-pci", "param_change=off", 2), ("virtio-serial-pci", "emergency-write=off", 2),
        ("virtio-balloon-pci", "page-poison=off", 4), ("virtio-gpu-pci", "edid=off", 1),
        ("virtio-rng-pci", "event_idx=off", 29), ("virtio-rng-pci", "indirect_desc=off", 28),
        ("virtio-rng-pci", "queue_reset=off", RESET), ("virtio-rng-pci", "any_layout=off", 27),
        ("virtio-rng-pci", "notify_on_empty=off", 24),
    ],
)  # fmt: skip
def test_a_property_switches_its_bit_and_no_other(device: str, switch: str, bit: int) -> None:
    def made(words: str) -> set[int]:
        machine = small_machine("10.0", "pc-q35-10.0", "-device", f"{device},id=d{words}")
        found: Any = machine.find("d")
        return bits(found.backend.host_features)

    assert made("") - made(f",{switch}") == {bit}


@pytest.mark.parametrize(
    ("device", "switch", "bit"),
    [
        ("virtio-balloon-pci", "deflate-on-oom=on", 2), ("virtio-balloon-pci", "free-page-hint=on", 3),
        ("virtio-balloon-pci", "free-page-reporting=on", 5), ("virtio-rng-pci", "packed=on", PACKED),
        ("virtio-rng-pci", "in_order=on", 35), ("virtio-net-pci", "mq=on", 22),
        ("virtio-net-pci", "guest_rsc_ext=on", 61), ("virtio-blk-pci", "num-queues=2", 12),
    ],
)  # fmt: skip
def test_what_is_off_can_be_switched_on(device: str, switch: str, bit: int) -> None:
    machine = small_machine(
        "10.0",
        "pc-q35-10.0",
        "-device",
        f"{device},id=off",
        "-device",
        f"{device.replace('balloon', 'rng')},id=other",
    )
    off: Any = machine.find("off")
    on: Any = small_machine("10.0", "pc-q35-10.0", "-device", f"{device},id=on,{switch}").find("on")
    assert bits(on.backend.host_features) - bits(off.backend.host_features) == {bit}


def test_without_modern_registers_there_is_no_version_1() -> None:
    made: Any = small_machine("10.0", "pc-q35-10.0", "-device", "virtio-rng-pci,id=d,disable-modern=on").find(
        "d"
    )
    assert VERSION_1 not in bits(made.backend.host_features)
    assert made.legacy
    assert not made.modern
