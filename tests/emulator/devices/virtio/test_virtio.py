# SPDX-License-Identifier: Apache-2.0
"""What virtio devices send, read by the stream reader, and what they refuse; the document's queue story."""

import pytest

from migmatrix.emulator.machine import Machine, build_machine
from migmatrix.emulator.options.parse import parse
from migmatrix.emulator.release import load
from migmatrix.vmstate.check.virtio import VirtioPci, read_virtio_pci
from migmatrix.vmstate.device.errors import VMStateError
from migmatrix.vmstate.device.source import BytesSource


def machine(release: str, type_: str, *argv: str) -> Machine:
    given = ["--release", release, "-M", type_, "-m", "16", "-nodefaults", "-S", *argv]
    made = build_machine(load(release), parse(given))
    made.reset()
    return made


def sent(made: Machine, name: str) -> tuple[str, bytes]:
    entry = next(e for e in made.registry if e.idstr.endswith(f"/{name}"))
    return entry.idstr, entry.save().data


def read(made: Machine, name: str) -> VirtioPci:
    found = read_virtio_pci(sent(made, name)[1])
    assert found is not None
    return found


def migrate(source: Machine, destination: Machine, name: str) -> None:
    idstr, data = sent(source, name)
    incoming = BytesSource(data)
    entry = destination.registry.find(idstr, 0)
    entry.load(incoming, entry.version_id)
    assert not incoming.left


BLK = ("-smp", "4", "-device", "virtio-blk-pci")


@pytest.mark.parametrize(
    ("case", "source", "destination", "type_", "queues"),
    [
        (1, "5.2", "5.2", "pc-q35-5.2", 4),
        (2, "5.1", "5.1", "pc-q35-5.1", 1),
        (3, "5.2", "5.2", "pc-q35-5.1", 1),
        (5, "5.2", "5.1", "pc-q35-5.1", 1),
        (6, "5.1", "5.2", "pc-q35-5.1", 1),
    ],
)
def test_queues_of_the_document(case: int, source: str, destination: str, type_: str, queues: int) -> None:
    """`How backwards compatibility works`: 5.2 took the number of processors, and its table put the 1 back."""
    one, other = machine(source, type_, *BLK), machine(destination, type_, *BLK)
    assert len(read(one, "virtio-blk").sizes) == len(read(other, "virtio-blk").sizes) == queues, case
    migrate(one, other, "virtio-blk")


def test_case_4_is_not_possible() -> None:
    from migmatrix.emulator.errors import FatalError

    with pytest.raises(FatalError, match="unsupported machine type"):
        machine("5.1", "pc-q35-5.2", *BLK)


def test_without_the_entry_the_cases_fail() -> None:
    """What the table saves: 5.2 with the queues of its own machine, sent to a 5.1."""
    changed = machine("5.2", "pc-q35-5.1", "-global", "virtio-blk-device.num-queues=4", *BLK)
    with pytest.raises(VMStateError, match="i=0x9a read: 4 device: 1"):
        migrate(changed, machine("5.1", "pc-q35-5.1", *BLK), "virtio-blk")


def test_a_running_driver_is_kept() -> None:
    net = ("-device", "virtio-net-pci,romfile=,x-guest=driver")
    source, destination = (
        machine("8.2", "pc-q35-8.2", *net),
        machine("8.2", "pc-q35-8.2", *net, "-incoming", "defer"),
    )
    assert read(source, "virtio-net").features
    assert not read(destination, "virtio-net").features
    migrate(source, destination, "virtio-net")
    assert sent(source, "virtio-net") == sent(destination, "virtio-net")


HOST = ("-device", "virtio-net-pci,romfile=,x-guest=driver", "-global", "virtio-device.x-host-features={}")
A, B = 0x1_3000_0003, 0x1_3000_0021  # each host has a feature that the other has not


def test_different_features_on_both_sides() -> None:
    """`A device with different features on both sides`: the intersection works, either side's own set does not."""
    a, b, both = (tuple(word.format(bits) for word in HOST) for bits in (A, B, A & B))
    for source, destination in ((a, b), (b, a)):
        with pytest.raises(VMStateError, match=r"Features 0x\w+ unsupported\. Allowed features: 0x"):
            migrate(
                machine("8.2", "pc-q35-8.2", *source),
                machine("8.2", "pc-q35-8.2", *destination),
                "virtio-net",
            )
    for destination in (a, b):
        migrate(machine("8.2", "pc-q35-8.2", *both), machine("8.2", "pc-q35-8.2", *destination), "virtio-net")


def test_ring_sizes_are_checked_since_11_1() -> None:
    large = ("-device", "virtio-net-pci,romfile=,rx_queue_size=1024")
    small = ("-device", "virtio-net-pci,romfile=")
    migrate(machine("10.0", "pc-q35-10.0", *large), machine("10.0", "pc-q35-10.0", *small), "virtio-net")
    with pytest.raises(VMStateError) as refused:
        migrate(machine("11.1", "pc-q35-10.0", *large), machine("11.1", "pc-q35-10.0", *small), "virtio-net")
    assert refused.value.facts["message"] == "VQ 0 vring.num 1024 exceeds allocated max 256"


@pytest.mark.parametrize(
    ("name", "device_id", "bars"),
    [("", 0x1005, True), ("-transitional", 0x1005, True), ("-non-transitional", 0x1044, False)],
)
def test_three_names(name: str, device_id: int, bars: bool) -> None:
    config = read(machine("7.2", "pc-q35-7.2", "-device", f"virtio-rng-pci{name}"), "virtio-rng").config
    assert int.from_bytes(config[2:4], "little") == device_id
    assert bool(config[0x10]) == bars
