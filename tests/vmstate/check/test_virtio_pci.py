# SPDX-License-Identifier: Apache-2.0
"""The beginning of the ``virtio`` field of a PCI device, in each of its forms."""

from __future__ import annotations

import pytest

from migmatrix.vmstate.check.virtio import VirtioPci, adds_by_use, read_virtio_pci


def config(*, msix: int = 0, express: bool = False) -> bytes:
    """A config space with so many MSI-X vectors (0: no such capability), long when it is an express one."""
    space = bytearray(4096 if express else 256)
    space[0x06] = 0x10  # status: has capabilities
    space[0x34] = 0x40
    space[0x40:0x42] = bytes((0x10 if express else 0x09, 0x50 if msix else 0))  # express or vendor; next
    space[0x42] = 2 if express else 8
    if msix:
        space[0x50] = 0x11
        space[0x52:0x54] = (msix - 1).to_bytes(2, "little")  # table size less one
    return bytes(space)


def field(
    space: bytes,
    sizes: list[int],
    *,
    version: int = 2,
    msix: int = 0,
    queues: int | None = None,
    features: int = 0x30,
) -> bytes:
    rings = b"".join(size.to_bytes(4) + bytes(8) + bytes(2) + (b"\0\1" if msix else b"") for size in sizes)
    return (
        version.to_bytes(4) + space  # the PCI device
        + (bytes(16) if version > 1 else b"")  # interrupt lines
        + (bytes(16 * msix) + bytes(-(-msix // 8)) + b"\0\3" if msix else b"")  # table, pending bits, a vector
        + b"\x0f\1" + bytes(2)  # status, isr, queue selector
        + features.to_bytes(4)
        + (3).to_bytes(4) + b"cfg"  # the device's config
        + (len(sizes) if queues is None else queues).to_bytes(4) + rings  # size, address, index and vector of each
    )  # fmt: skip


FORMS = [
    (config(), 0, 1),
    (config(), 0, 2),
    (config(msix=3), 3, 2),
    (config(express=True), 0, 2),
    (config(express=True, msix=9), 9, 2),
]


@pytest.mark.parametrize(("space", "msix", "version"), FORMS)
def test_each_form(space: bytes, msix: int, version: int) -> None:
    raw = field(space, [256, 64], version=version, msix=msix)
    features = raw.index((0x30).to_bytes(4) + (3).to_bytes(4) + b"cfg")
    assert read_virtio_pci(raw) == VirtioPci(space, 0x30, features, (256, 64), b"")
    own = b"the device's own"
    assert read_virtio_pci(raw + own) == VirtioPci(space, 0x30, features, (256, 64), own)


@pytest.mark.parametrize(("space", "msix", "version"), FORMS)
def test_every_proper_prefix_is_of_another_form(space: bytes, msix: int, version: int) -> None:
    raw = field(space, [256, 64], version=version, msix=msix)
    assert [end for end in range(len(raw)) if read_virtio_pci(raw[:end]) is not None] == []


@pytest.mark.parametrize(
    "raw", [b"", field(config(), [1], version=3), field(config(), [], queues=1025), bytes(1000)]
)
def test_bytes_of_another_form(raw: bytes) -> None:
    assert read_virtio_pci(raw) is None


# -- what a guest in use adds ------------------------------------------------------------------


def sub(name: str, data: bytes = b"\1") -> bytes:
    return b"\5" + bytes([len(name)]) + name.encode() + (1).to_bytes(4) + data


def addresses(count: int) -> bytes:
    """The own part of a network device: the count of its filtered addresses, these, and what follows."""
    return b"\x52\x54" + bytes(16) + count.to_bytes(4) + bytes(6 * count) + bytes(40)


PCI, NET = "0000:00:01.0/virtio-blk", "0000:00:01.0/virtio-net"
MMIO_FIELD = b"".join(
    (
        bytes(12),  # selectors, page shift
        bytes(4 + 4),  # status, isr, queue selector; features
        (2).to_bytes(4) + b"cf",  # config
        (1).to_bytes(4) + (256).to_bytes(4) + bytes(4 + 8 + 2),  # one queue: size, alignment, ring, index
    )
)
STARTED = sub("virtio/started")
RINGS = sub("virtio/ringsize", bytes(4096))
NEWER = sub("virtio/128bit_features", bytes(8))  # of 11.1, which refuses nothing that older ones send


@pytest.mark.parametrize(
    ("beginning", "path"),
    [(field(config(msix=3), [256], msix=3), PCI), (MMIO_FIELD, "virtio-mmio@feb00e00/virtio-blk")],
    ids=["PCI", "MMIO"],
)
@pytest.mark.parametrize(
    ("sent", "here", "expected"),
    [
        (STARTED, b"", True),  # what 5.2, 7.2, 10.0 and 11.1 send after SeaBIOS used the disk, and load
        (RINGS + sub("virtio/disabled"), b"", True),
        (b"", STARTED, True),
        (b"own" + STARTED, b"own", True),
        (b"more" + STARTED, b"own", False),
        (NEWER, b"", False),  # 10.0 does not know it
        (NEWER + STARTED, NEWER, True),
        (sub("virtio-net-device/rss") + STARTED, b"", True),
        (sub("virtio-net-device/backend") + STARTED, b"", False),  # 10.0 does not know it
    ],
)
def test_subsections_that_every_build_knows_are_no_difference(
    beginning: bytes, path: str, sent: bytes, here: bytes, *, expected: bool
) -> None:
    assert adds_by_use(beginning + sent, beginning + here, path) is expected


def test_addresses_that_a_guest_filters_are_no_difference() -> None:
    start = field(config(), [256])
    sent, here = start + addresses(3) + STARTED, start + addresses(0)
    assert adds_by_use(sent, here, NET)
    assert not adds_by_use(sent, here, PCI)
    assert not adds_by_use(start + addresses(3) + b"more" + STARTED, here, NET)


def test_offloads_that_a_guest_chose_are_no_difference() -> None:
    """Linux with a packed ring on 11.1.3: 8 bytes more than the idle guest has, which 10.0.2 loads."""
    own = addresses(0) + STARTED
    sent = field(config(), [256], features=1 << 2) + own.replace(STARTED, bytes(8) + STARTED)
    here = field(config(), [256]) + own
    assert adds_by_use(sent, here, NET)
    assert not adds_by_use(sent, here, PCI)
    assert not adds_by_use(field(config(), [256]) + own.replace(STARTED, bytes(8) + STARTED), here, NET)


def test_more_queues_than_here_are_a_difference() -> None:
    more, fewer = field(config(), [256, 64]), field(config(), [256])
    assert not adds_by_use(more + STARTED, fewer, PCI)
    assert adds_by_use(fewer + STARTED, more, PCI)


def test_another_bus_is_a_difference() -> None:
    assert not adds_by_use(field(config(), [256]) + STARTED, STARTED, PCI)
