# SPDX-License-Identifier: Apache-2.0
"""What a virtio device refuses of a stream, and what it takes although it differs."""

from __future__ import annotations

import pytest
from virtio_bytes import DRIVER, made, proxy, section, sent

from migmatrix.vmstate.device.errors import VMStateError
from migmatrix.vmstate.device.source import BytesSource


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (0x00, 0x86, "i=0x0 read: 86 device: f4"),
        (0x02, 0x99, "i=0x2 read: 99 device: 5"),
        (0x08, 0x01, "i=0x8 read: 1 device: 0"),
        (0x0B, 0x02, "i=0xb read: 2 device: 0"),
        (0x34, 0x40, "i=0x34 read: 40 device: 98"),
        (0x9A, 0x05, "i=0x9a read: 5 device: 1"),
    ],
)
def test_another_function_is_refused(offset: int, value: int, message: str) -> None:
    """Vendor, device, revision, class, first capability, number of vectors."""
    machine = made("virtio-rng-pci")
    entry = section(machine, "virtio-rng-pci")
    data = bytearray(entry.save().data)
    data[4 + offset] = value
    with pytest.raises(VMStateError, match=message):
        entry.load(BytesSource(bytes(data)), entry.version_id)


@pytest.mark.parametrize("bit", [35, 36, 37, 41, 63])
def test_a_feature_that_this_side_has_not_is_refused(bit: int) -> None:
    source, destination = made("virtio-rng-pci", DRIVER), made("virtio-rng-pci")
    proxy(source).backend.guest_features |= 1 << bit
    with pytest.raises(VMStateError, match=r"Features 0x\w+ unsupported. Allowed features: 0x\w+"):
        section(destination, "virtio-rng-pci").load(
            BytesSource(section(source, "virtio-rng-pci").save().data), 1
        )


@pytest.mark.parametrize("change", [-3, 3])
def test_another_length_of_the_device_config_is_taken(change: int) -> None:
    """QEMU reads what fits and skips the rest: it has to, since configs grew between releases."""
    machine = made("virtio-blk-pci")
    found = sent(machine, "virtio-blk-pci")
    at = found.data.index(len(found.config).to_bytes(4, "big") + found.config)
    new = (found.config + b"\7" * 3)[: len(found.config) + change]
    data = found.data[:at] + len(new).to_bytes(4, "big") + new + found.data[at + 4 + len(found.config) :]
    incoming = BytesSource(data)
    section(machine, "virtio-blk-pci").load(incoming, 2)
    assert (incoming.left, len(sent(machine, "virtio-blk-pci").config)) == (0, len(found.config))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("memaddr", 0x140000000, "Property 'memaddr' changed from 0x100000000 to 0x140000000"),
        ("node", 3, "Property 'node' changed from 0 to 3"),
    ],
)
def test_memory_of_another_shape_is_refused(name: str, change: int, message: str) -> None:
    source, destination = (
        made("virtio-mem-pci", release="7.2"),
        made("virtio-mem-pci", f",{name}={change}", release="7.2"),
    )
    with pytest.raises(VMStateError, match=message):
        section(destination, "virtio-mem-pci").load(
            BytesSource(section(source, "virtio-mem-pci").save().data), 1
        )


@pytest.mark.parametrize(
    ("theirs", "ours", "left"),
    [("31", "31", 0), ("31", "32", 0), ("1", "32", 0), ("33", "64", 0), ("33", "31", 4), ("511", "31", 60)],
)
def test_a_console_reads_as_many_words_of_ports_as_it_has(theirs: str, ours: str, left: int) -> None:
    """32 ports are a word; what is left over then fails as the next section. The number of ports is not looked at."""
    source, destination = (made("virtio-serial-pci", f",max_ports={number}") for number in (theirs, ours))
    data = section(source, "virtio-serial-pci").save().data
    incoming = BytesSource(data)
    section(destination, "virtio-serial-pci").load(incoming, 3)
    common = len(sent(source, "virtio-serial-pci").rest) - 8 - 4 * ((int(theirs) + 31) // 32) - 4
    assert incoming.left == (left + common if left else 0)


@pytest.mark.parametrize(
    ("theirs", "at", "value", "message"),
    [
        ("31", 8, 3, "other ports are there"),
        ("31", 12, 1, "ports are active"),
        ("31", 12, 0xFFFFFFFF, "ports are active"),
    ],
)
def test_a_console_with_ports_in_use_is_refused(theirs: str, at: int, value: int, message: str) -> None:
    machine = made("virtio-serial-pci", f",max_ports={theirs}")
    found = sent(machine, "virtio-serial-pci")
    data = bytearray(found.data)
    place = len(data) - len(found.rest) + at
    data[place : place + 4] = value.to_bytes(4, "big")
    with pytest.raises(VMStateError, match=message):
        section(machine, "virtio-serial-pci").load(BytesSource(bytes(data)), 3)


def test_a_console_with_more_words_reads_on_into_what_follows() -> None:
    source, destination = (made("virtio-serial-pci", f",max_ports={number}") for number in ("31", "33"))
    with pytest.raises(VMStateError, match="ports are active"):
        section(destination, "virtio-serial-pci").load(
            BytesSource(section(source, "virtio-serial-pci").save().data), 3
        )
