# SPDX-License-Identifier: Apache-2.0
"""What a virtio device sends once a guest's driver uses it, piece by piece, in the layout of Virtio 1.2 and of QEMU's streams."""

from __future__ import annotations

import struct
from typing import Final

import pytest
from virtio_bytes import DRIVER, KINDS, MODERN, PORT, made, proxy, section, sent

from migmatrix.emulator.devices.pci.config import BRIDGE
from migmatrix.emulator.devices.virtio.ring import NO_VECTOR, Ring
from migmatrix.vmstate.device.source import BytesSource
from migmatrix.vmstate.view.pci import ConfigSpace

LEGACY: Final = [name for name, (_, _, old) in KINDS.items() if old]

# -- identity ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("behind", [False, True])
def test_identity_follows_the_slot(kind: str, behind: bool) -> None:
    """Transitional on the root bus, where it can be; modern and an express device behind a port. Virtio 1.2, 4.1.2."""
    machine = made(kind, ",bus=p" if behind else "", *PORT)
    function = proxy(machine)
    _, number, old = KINDS[kind]
    legacy = bool(old) and not behind
    assert function.space.read(0, 4) == ((old if legacy else 0x1040 + number) << 16 | 0x1AF4)
    assert function.space.read(8, 1) == (0 if legacy else 1)
    assert (len(function.space.data), function.space.data[0x0E] & 0x7F != BRIDGE) == (
        4096 if behind else 256,
        True,
    )
    assert bool(function.space.read(0x10, 4) & 1) == legacy, "legacy registers are in I/O space"
    assert function.get("disable-legacy") == ("off" if legacy else "on")


@pytest.mark.parametrize("kind", LEGACY)
@pytest.mark.parametrize(
    ("name", "words", "legacy", "modern"),
    [
        ("", "", True, True), ("-transitional", "", True, True), ("-non-transitional", "", False, True),
        ("", ",disable-legacy=on", False, True), ("", ",disable-legacy=off", True, True),
        ("", ",disable-modern=on", True, False), ("", ",disable-modern=on,disable-legacy=off", True, False),
    ],
)  # fmt: skip
def test_modes(kind: str, name: str, words: str, legacy: bool, modern: bool) -> None:
    function = proxy(made(f"{kind}{name}", words))
    windows = [
        c.name for c in ConfigSpace(bytes(function.space.data)).capabilities if c.name.startswith("Virtio")
    ]
    assert (function.legacy, function.modern) == (legacy, modern)
    assert len(windows) == (5 if modern else 0)
    assert bool(function.backend.host_features >> 32 & 1) == modern
    assert (0 in function.space.bars, 4 in function.space.bars) == (legacy, modern)


def test_windows_are_those_of_virtio() -> None:
    """Common, ISR, device, notify in one register, in pages of their own; Virtio 1.2, 4.1.4."""
    raw = bytes(proxy(made("virtio-rng-pci")).space.data)
    windows = {}
    for capability in ConfigSpace(raw).capabilities:
        if capability.name.startswith("Virtio"):
            kind, bar = raw[capability.offset + 3], raw[capability.offset + 4]
            windows[kind] = (bar, *struct.unpack_from("<II", raw, capability.offset + 8))
    assert windows == {1: (4, 0, 0x1000), 3: (4, 0x1000, 0x1000), 4: (4, 0x2000, 0x1000), 2: (4, 0x3000, 0x1000),
                       5: (0, 0, 0)}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "words", "smp", "vectors"),
    [
        ("virtio-net-pci", "", "1", 4), ("virtio-net-pci", ",vectors=0", "1", 0), ("virtio-net-pci", ",vectors=17", "1", 17),
        ("virtio-blk-pci", "", "1", 2), ("virtio-blk-pci", "", "4", 5), ("virtio-blk-pci", ",num-queues=2", "4", 3),
        ("virtio-scsi-pci", "", "1", 4), ("virtio-scsi-pci", "", "3", 6), ("virtio-serial-pci", "", "4", 2),
        ("virtio-rng-pci", "", "4", 2), ("virtio-balloon-pci", "", "1", 2), ("virtio-mem-pci", "", "1", 2),
    ],
)  # fmt: skip
def test_the_table_is_as_long_as_there_are_vectors(kind: str, words: str, smp: str, vectors: int) -> None:
    """16 bytes each, masked after reset; without vectors there is neither a table nor its base register."""
    machine = made(kind, words, "-smp", smp)
    found = sent(machine, kind)
    assert found.vectors == (bytes(12) + b"\1\0\0\0") * vectors
    assert found.config_vector == (NO_VECTOR if vectors else None)
    assert (1 in proxy(machine).space.bars) == bool(vectors)
    assert {len(ring) for ring in found.rings} == {4 if vectors else 3}


@pytest.mark.parametrize(
    ("kind", "release", "vectors"),
    [
        ("virtio-rng-pci", "7.1", 0), ("virtio-rng-pci", "7.2", 2), ("virtio-balloon-pci", "9.2", 0),
        ("virtio-balloon-pci", "10.0", 2), ("virtio-mem-pci", "9.2", 0), ("virtio-mem-pci", "10.0", 2),
        ("virtio-net-pci", "5.2", 3), ("virtio-net-pci", "6.0", 4), ("virtio-gpu-pci", "10.0", 3),
    ],
)  # fmt: skip
def test_vectors_by_release(kind: str, release: str, vectors: int) -> None:
    assert len(sent(made(kind, release=release), kind).vectors) == 16 * vectors


# -- a driver ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_before_the_guest_nothing_is_set_up(kind: str) -> None:
    found = sent(made(kind), kind)
    assert (found.status, found.isr, found.queue_sel, found.features) == (0, 0, 0, 0)
    assert {ring[1:3] for ring in found.rings} == {(0, 0)}
    assert "started" not in found.subsections


@pytest.mark.parametrize("kind", KINDS)
def test_a_driver_sets_up_every_queue(kind: str) -> None:
    """Status is ACKNOWLEDGE, DRIVER, FEATURES_OK and DRIVER_OK; each queue has memory of its own. Virtio 1.2, 3.1.1."""
    machine = made(kind, DRIVER)
    found = sent(machine, kind)
    assert found.status == 1 | 2 | 8 | 4
    addresses = [ring[1] for ring in found.rings]
    assert len(set(addresses)) == len(addresses)
    assert all(address and not address % 16 for address in addresses), "descriptors are aligned to 16 bytes"
    assert {"virtqueues", "extra_state", MODERN, "started"} <= {*found.subsections}
    assert found.space.read(4, 2) & 7 == 7, "the function answers, and may use memory"


@pytest.mark.parametrize("kind", KINDS)
def test_a_driver_accepts_no_more_than_is_offered(kind: str) -> None:
    function = proxy(made(kind, DRIVER))
    accepted = function.backend.guest_features
    assert accepted & 1 << 32
    assert not accepted & ~function.backend.host_features
    assert not accepted & (1 << 24 | 1 << 27 | 1 << 30), "what a driver of Linux does not accept"
    assert sent(function.machine, kind).features == accepted & 0xFFFFFFFF, "the upper half has a subsection"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
def test_a_driver_is_kept_by_a_migration(kind: str, release: str) -> None:
    """The other side has no guest, and sends afterwards what it got."""
    source = made(kind, DRIVER, release=release)
    destination = made(kind, DRIVER, "-incoming", "defer", release=release)
    data = section(source, kind).save().data
    assert sent(destination, kind).status == 0, "a side that will load has no guest"
    incoming = BytesSource(data)
    section(destination, kind).load(incoming, section(source, kind).version_id)
    assert (incoming.left, section(destination, kind).save().data) == (0, data)


@pytest.mark.parametrize("size", [1, 2, 8, 64, 128, 256, 1024])
def test_parts_of_a_ring_do_not_overlap(size: int) -> None:
    """Descriptors take 16 bytes each, the available ring 6 and 2 each, the used one begins a page. Virtio 1.2, 2.7."""
    ring = Ring(size)
    ring.place(0x100000, 3)
    assert ring.avail - ring.desc == 16 * size
    assert ring.used >= ring.avail + 6 + 2 * size
    assert not ring.used % 4096
    assert (ring.vector, ring.enabled) == (3, True)


@pytest.mark.parametrize("address", [0x1000, 0x1_0000_0000, 0xFFFF_FFFF_F000])
def test_modern_registers_have_addresses_in_halves(address: int) -> None:
    ring = Ring(128)
    assert ring.modern() == bytes(28), "nothing before it is set up"
    ring.place(address, 1)
    size, enabled, *halves = struct.unpack(">HxB6I", ring.modern())
    found = [low | high << 32 for low, high in zip(halves[::2], halves[1::2], strict=True)]
    assert (size, enabled, found) == (128, 1, [ring.desc, ring.avail, ring.used])
    other = Ring(128)
    other.set_modern(ring.modern())
    assert other.enabled
    ring.reset()
    assert (ring.desc, ring.enabled, ring.vector, ring.modern()) == (0, False, NO_VECTOR, bytes(28))


# -- subsections -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "words", "globals_", "found"),
    [
        ("virtio-rng-pci", "", "", ["64bit_features", "virtqueues", "extra_state", MODERN]),
        ("virtio-rng-pci", DRIVER, "", ["64bit_features", "virtqueues", "extra_state", MODERN, "started"]),
        ("virtio-rng-pci", ",packed=on", "",
         ["64bit_features", "virtqueues", "extra_state", MODERN, "packed_virtqueues"]),
        ("virtio-rng-pci", ",disable-modern=on", "virtio-device.queue_reset=off", ["extra_state"]),
        ("virtio-rng-pci", ",migrate-extra=off", "", ["64bit_features", "virtqueues"]),
        ("virtio-rng-pci", f"{DRIVER},use-started=off", "", ["64bit_features", "virtqueues", "extra_state", MODERN]),
        ("vhost-vsock-pci", "", "", ["64bit_features", "virtqueues", "extra_state", MODERN, "disabled"]),
        ("vhost-vsock-pci", DRIVER, "", ["64bit_features", "virtqueues", "extra_state", MODERN, "started"]),
        ("vhost-vsock-pci", ",use-disabled-flag=off", "", ["64bit_features", "virtqueues", "extra_state", MODERN]),
    ],
)  # fmt: skip
def test_subsections_by_state(kind: str, words: str, globals_: str, found: list[str]) -> None:
    more = ("-global", globals_) if globals_ else ()
    assert sent(made(kind, words, *more), kind).subsections == found


def test_a_broken_device_says_so() -> None:
    machine = made("virtio-rng-pci")
    proxy(machine).backend.broken = True
    assert "broken" in sent(machine, "virtio-rng-pci").subsections
    other = made("virtio-rng-pci")
    entry = section(other, "virtio-rng-pci")
    entry.load(BytesSource(section(machine, "virtio-rng-pci").save().data), entry.version_id)
    assert proxy(other).backend.broken


def test_a_ring_that_the_guest_made_smaller_sends_its_size() -> None:
    """`ringsize` is what the device offers; without it the ring itself says both."""
    machine, other = made("virtio-rng-pci", DRIVER), made("virtio-rng-pci")
    proxy(machine).backend.rings[0].size = 4
    found = sent(machine, "virtio-rng-pci")
    assert ("ringsize" in found.subsections, found.rings[0][0]) == (True, 4)
    section(other, "virtio-rng-pci").load(BytesSource(found.data), 1)
    ring = proxy(other).backend.rings[0]
    assert (ring.size, ring.most) == (4, 8)
