# SPDX-License-Identifier: Apache-2.0
"""What devices refuse on the command line, in the words of real QEMU of each build; cases are `device_cases.REFUSED`."""

from __future__ import annotations

import pytest
from device_cases import BACKENDS, REFUSED, RELEASES
from real_devices import BUILDS, recorded, small_machine

from migmatrix.emulator.errors import EmulatorError

# what the emulator answers otherwise, and why
OTHERWISE = {
    "blk-no-drive": "a disk may be without a drive: no request is made",
    "hda-no-drive": "q35's controller offers no buses here",
    "bridge-slot-0": "5.2 says it in other words; later releases take it",
    "chipset": "the words of 5.2",
    "host-bridge": "the words of 5.2",
}
CASES = [(build, case) for build in BUILDS for case in REFUSED]


def refused(build: str, devices: tuple[str, ...]) -> str:
    """What is printed, "" when the machine starts."""
    words = [word for device in devices for word in ("-device", device)]
    try:
        small_machine(RELEASES[build], "q35", *BACKENDS, *words)
    except EmulatorError as why:
        return str(why)
    return ""


def _differs(build: str, case: str) -> bool:
    return bool(refused(build, REFUSED[case]) != recorded(build)["refusals"][case])


@pytest.mark.parametrize(("build", "case"), [c for c in CASES if c[1] not in OTHERWISE])
def test_refused_in_the_words_of_the_build(build: str, case: str) -> None:
    assert refused(build, REFUSED[case]) == recorded(build)["refusals"][case]


@pytest.mark.parametrize("case", OTHERWISE)
def test_what_is_known_to_differ_does(case: str) -> None:
    assert any(_differs(build, case) for build in BUILDS)


def test_most_cases_are_refused_by_every_build() -> None:
    """A record of nothing but acceptance would make the tests above empty."""
    accepted = {case for build in BUILDS for case in REFUSED if not recorded(build)["refusals"][case]}
    assert accepted <= {
        "addr-behind-port", "blk-queues-many", "bridge-slot-0", "gpu-outputs-0", "port-full", "xhci-no-ports",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("device", "name", "values"),
    [
        ("virtio-blk-pci", "queue-size", ("4", "128", "256", "1024")),
        ("virtio-blk-pci", "num-queues", ("1", "4", "1023")),
        ("virtio-net-pci", "rx_queue_size", ("256", "512", "1024")),
        ("virtio-net-pci", "tx_queue_size", ("256",)),
        ("virtio-scsi-pci", "num_queues", ("1", "1022")),
        ("virtio-scsi-pci", "virtqueue_size", ("3", "128")),
        ("virtio-serial-pci", "max_ports", ("1", "31", "32", "33", "511")),
        ("virtio-gpu-pci", "max_outputs", ("1", "16")),
        ("virtio-rng-pci", "period", ("1", "0xffffffff")),
        ("virtio-rng-pci", "max-bytes", ("0", "0x7fffffffffffffff")),
        ("vhost-vsock-pci", "guest-cid", ("3", "0xffffffff")),
    ],
)
def test_the_ends_of_a_range_are_taken_and_migrate(device: str, name: str, values: tuple[str, ...]) -> None:
    """Next to each refusal above: the last value that is no mistake makes a section that loads."""
    from migmatrix.vmstate.device.source import BytesSource

    for value in values:
        words = (
            "-device",
            f"{device},{name}={value}"
            + ",guest-cid=3" * (device == "vhost-vsock-pci" and name != "guest-cid"),
        )
        one, other = (small_machine("10.0", "pc-q35-10.0", *words) for _ in range(2))
        saved = next(e for e in one.registry if e.idstr.startswith("0000:00:01.0/"))
        incoming = BytesSource(saved.save().data)
        other.registry.find(saved.idstr, 0).load(incoming, saved.version_id)
        assert not incoming.left, value
