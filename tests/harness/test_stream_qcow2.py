# SPDX-License-Identifier: Apache-2.0
"""The state of a guest in a snapshot of a qcow2 image: read, or told why not."""

from __future__ import annotations

import gzip
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.errors import UserError
from migmatrix.harness.streams.file import open_stream

if TYPE_CHECKING:
    from pathlib import Path

STREAM = b"QEVM\0\0\0\3" + os.urandom(9000)
OTHER = b"QEVM\0\0\0\3" + os.urandom(700)


@dataclass
class Image:
    """An image by QEMU's docs/interop/qcow2.rst, as far as its snapshots go: (name, state) of each, sizes in bytes."""

    snapshots: tuple[tuple[str, bytes], ...] = (("first", STREAM),)
    bits: int = 12
    disk: int = 5 << 20
    version: int = 3
    encryption: int = 0
    features: int = 0
    claimed: int = 0  # more bytes of state than there are
    holes: bool = False  # clusters of zeros are not stored
    same: bool = False  # all entries lead to one cluster
    packed: int = 0  # flag of the entries

    @property
    def cluster(self) -> int:
        return 1 << self.bits

    def made(self) -> bytes:
        """The file."""
        self.clusters = [b""] * 2  # header and snapshot table come last
        rows = [self._row(number, *snapshot) for number, snapshot in enumerate(self.snapshots, 7)]
        names = (self.version, 0, 0, self.bits, self.disk, self.encryption, 0, 0, 0, 0)
        head = struct.pack(">4sIQIIQIIQQI", b"QFI\xfb", *names)
        self.clusters[0] = head + struct.pack(">IQQ", len(rows), self.cluster, self.features)
        self.clusters[1] = b"".join(rows)
        return b"".join(part.ljust(self.cluster, b"\0") for part in self.clusters)

    def _row(self, number: int, name: str, state: bytes) -> bytes:
        size = len(state) + (self.claimed if state else 0)
        table = self._table(state)
        ident = str(number).encode()
        entry = struct.pack(">QIHHIIQII", table[0], table[1], len(ident), len(name), 0, 0, 0, 0, 16)
        entry += struct.pack(">QQ", size, self.disk) + ident + name.encode()
        return entry.ljust(-(-len(entry) // 8) * 8, b"\0")

    def _table(self, state: bytes) -> tuple[int, int]:
        width = 16 if self.features & 16 else 8
        per = self.cluster // width
        starts = range(0, len(state), self.cluster)
        places = [self._stored(state[at : at + self.cluster]) for at in starts[: 1 if self.same else None]]
        places *= len(starts) if self.same else 1
        parts = (places[at : at + per] for at in range(0, len(places), per))
        tables = [self._add(b"".join(word[:width] for word in words)) for words in parts]
        first = -(-self.disk // (per * self.cluster))
        entries = first + len(tables)
        place = self._add(struct.pack(f">{len(tables)}Q", *tables))
        return place - 8 * first, entries

    def _stored(self, data: bytes) -> bytes:
        """The words of an L2 entry; the second has a bit for each part that is there."""
        if self.holes and not any(data):
            return struct.pack(">QQ", 1 if self.version > 2 else 0, 0)
        parts = range(32)
        size = self.cluster // 32
        there = sum(1 << n for n in parts if any(data[n * size : (n + 1) * size]))
        junk = b"".join(
            data[n * size : (n + 1) * size].ljust(size, b"\0") if there >> n & 1 else b"j" * size
            for n in parts
        )
        stored = junk if self.features & 16 else data
        return struct.pack(">QQ", self._add(stored) | self.packed, there)

    def _add(self, data: bytes) -> int:
        place = len(self.clusters) * self.cluster
        self.clusters += [data[at : at + self.cluster] for at in range(0, len(data), self.cluster)] or [b""]
        return place


def written(tmp_path: Path, image: Image) -> str:
    path = tmp_path / "disk"
    path.write_bytes(image.made())
    return str(path)


def found(path: str, offset: int = 0) -> tuple[bytes, str]:
    with open_stream(path, offset) as source:
        return bytes(source.data), source.inside


def refusal(path: str) -> str:
    with pytest.raises(UserError) as caught:
        found(path)
    return str(caught.value).replace(path.partition(",")[0], "disk")


@pytest.mark.parametrize("bits", [9, 12, 16])
@pytest.mark.parametrize("features", [0, 16])
def test_the_only_state_is_read(tmp_path: Path, bits: int, features: int) -> None:
    path = written(tmp_path, Image(bits=bits if bits > 9 or not features else 14, features=features))
    assert found(path) == (STREAM, "snapshot 'first' of a qcow2 image")


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("features", [0, 16])
def test_what_is_not_stored_is_zero(tmp_path: Path, version: int, features: int) -> None:
    """Features are of version 3 only: those of version 2 are other bytes."""
    stream = STREAM[:5000] + bytes(20000) + STREAM[5000:] + bytes(6000)
    features = features if version > 2 else 0
    image = Image((("first", stream),), holes=True, version=version, features=features)
    assert found(written(tmp_path, image))[0] == stream


def test_one_of_several(tmp_path: Path) -> None:
    names = (("first", STREAM), ("two, b", OTHER), ("disk", b""), ("7", OTHER[:100]))
    path = written(tmp_path, Image(names))
    assert found(f"{path},snapshot=first")[0] == STREAM
    assert found(f"{path},snapshot=two, b") == (OTHER, "snapshot 'two, b' of a qcow2 image")
    assert found(f"{path},snapshot=8")[0] == OTHER
    assert found(f"{path},snapshot=7")[0] == OTHER[:100]
    held = "'disk' is a qcow2 image with the snapshots 'first', 'two, b', 'disk', '7'"
    assert refusal(path) == f"{held}: choose one, as 'disk,snapshot=first'"
    assert refusal(f"{path},snapshot=two") == f"{held}, none 'two'"
    assert (
        refusal(f"{path},snapshot=disk")
        == "snapshot 'disk' of 'disk' is of the disk only: it has no migration stream"
    )


def test_wrapped_and_at_an_offset(tmp_path: Path) -> None:
    raw, path = Image().made(), tmp_path / "disk"
    path.write_bytes(gzip.compress(raw))
    assert found(str(path)) == (STREAM, "gzip, snapshot 'first' of a qcow2 image")
    path.write_bytes(bytes(5000) + raw)
    assert found(f"{path},offset=5000,snapshot=first")[0] == STREAM
    path.write_bytes(Image((("first", gzip.compress(STREAM)),)).made())
    assert found(str(path)) == (STREAM, "snapshot 'first' of a qcow2 image, gzip")


def test_a_file_whose_name_looks_like_a_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "file,snapshot=first"
    path.write_bytes(STREAM)
    assert found(str(path))[0] == STREAM
    assert (
        refusal(f"{path},snapshot=first").endswith("so that it has no snapshot 'first,snapshot=first'")
        is False
    )


def test_no_qcow2_image(tmp_path: Path) -> None:
    path = tmp_path / "stream"
    for data in (STREAM, b"text"):
        path.write_bytes(data)
        assert refusal(f"{path},snapshot=a") == "'disk' is no qcow2 image, so that it has no snapshot 'a'"


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (Image(()), "'disk' is a qcow2 image without snapshots, no migration stream"),
        (Image((("a", b""),)), "'disk' is a qcow2 image with the snapshots 'a', no migration stream: they are of the disk only"),
        (Image(tuple((name, b"") for name in "abcdefg")), "snapshots 'a', 'b', 'c', 'd', 'e', ..., no migration stream"),
        (Image(encryption=2), "the image is encrypted"),
        (Image(features=4), "its data is in another file"),
        (Image(bits=40), "the header or the snapshot table is damaged"),
        (Image(claimed=1 << 40), "its table ends before its state"),
        (Image(claimed=1 << 62), "its table ends before its state"),
        (Image((("a", STREAM * 1000),), same=True), "clusters are used more than once"),
        (Image(packed=1 << 62), "its state has compressed clusters"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told(tmp_path: Path, image: Image, why: str) -> None:
    bits, image.bits = image.bits, min(image.bits, 12)
    raw = bytearray(image.made())
    raw[20:24] = bits.to_bytes(4)
    path = tmp_path / "disk"
    path.write_bytes(raw)
    assert why in refusal(str(path))


def test_a_cut_image_is_told_at_every_length(tmp_path: Path) -> None:
    raw, path = Image(bits=9, disk=1 << 18).made(), tmp_path / "disk"
    path.write_bytes(raw)
    assert found(str(path))[0] == STREAM
    for end in range(5, len(raw) - 1000, 97):
        path.write_bytes(raw[:end])
        assert refusal(str(path)).endswith(("the image ends early", "without snapshots, no migration stream"))
