# SPDX-License-Identifier: Apache-2.0
"""Opaque fields to their parts: bytes of real guests, and bytes of no known form."""

from __future__ import annotations

import pytest

from migmatrix.vmstate.view.opaque import expand

MMIO = "virtio-mmio@00000000feb00e00/virtio-rng"
PREFIX = bytes.fromhex(
    "00000000 00000000 00000000"  # what virtio-mmio puts first: two selectors, guest page shift
    "00 00 0000 00000000 00000000"  # status, isr, queue selector, features, no configuration
    "00000001 00000008 00001000 0000000000000000 0000"  # one queue: size, alignment, address, last index
)
FEATURES = b"\x05\x15virtio/64bit_features" + bytes.fromhex("00000001 0000000000000000")
# virtio-rng-device of a paused microvm, as QEMU 5.2.0 and 11.1.3 saved it
REAL = {"5.2.0": PREFIX, "11.1.3": PREFIX + FEATURES}


@pytest.mark.parametrize("release", REAL)
def test_virtio_on_mmio(release: str) -> None:
    raw = REAL[release]
    found = {part.name: part.value for part in expand("virtio", raw, MMIO)}
    assert found["mmio.guest_page_shift"] == 0
    assert (found["queues"], found["queue[0].num"], found["queue[0].align"]) == (1, 8, 0x1000)
    assert ("/virtio/64bit_features" in found) == (release == "11.1.3")


@pytest.mark.parametrize("release", REAL)
def test_parts_cover_the_bytes(release: str) -> None:
    raw, at = REAL[release], 0
    for part in expand("virtio", raw, MMIO):
        assert part.offset == at
        at += part.size
    assert at == len(raw)


@pytest.mark.parametrize("cut", range(len(PREFIX)))
def test_what_ends_before_has_no_parts(cut: int) -> None:
    assert expand("virtio", PREFIX[:cut], MMIO) == ()


@pytest.mark.parametrize("idstr", ["virtio-rng", "0/virtio-ccw", "cpu"])
def test_other_buses_and_kinds_have_no_parts(idstr: str) -> None:
    assert expand("virtio", PREFIX, idstr) == ()
    assert expand("buffer", PREFIX, MMIO) == ()


def test_too_many_queues_have_no_parts() -> None:
    assert expand("virtio", PREFIX[:24] + (1 << 20).to_bytes(4) + bytes(1 << 10), MMIO) == ()


def subsection(name: str, data: bytes) -> bytes:
    return b"\5" + bytes((len(name),)) + name.encode() + (1).to_bytes(4) + data


def test_queues_of_a_subsection_are_parts_and_the_unused_ones_one() -> None:
    """Each subsection has 1024 queues, whatever the device has."""
    rings = b"".join(number.to_bytes(8) for number in range(4))
    packed = bytes.fromhex("0001 01 0002 00 00000003 ffff")
    raw = PREFIX + subsection("virtio/virtqueues", rings) + subsection("virtio/packed_virtqueues", packed)
    parts = expand("virtio", raw, MMIO)
    found = {part.name: part.value for part in parts}
    assert (found["/virtio/virtqueues[0].avail"], found["/virtio/virtqueues[0].used"]) == (0, 1)
    assert found["/virtio/virtqueues.unused"] == rings[16:]
    names = ("last_avail_idx", "last_avail_wrap_counter", "used_idx", "used_wrap_counter", "inuse")
    assert [found[f"/virtio/packed_virtqueues[0].{name}"] for name in names] == [1, 1, 2, 0, 3]
    assert found["/virtio/packed_virtqueues.unused"] == b"\xff\xff"
    assert sum(part.size for part in parts) == len(raw)


def test_a_subsection_that_is_too_short_for_its_queues_is_one_part() -> None:
    raw = PREFIX + subsection("virtio/ringsize", b"abc")
    assert expand("virtio", raw, MMIO)[-1].value == b"abc"
