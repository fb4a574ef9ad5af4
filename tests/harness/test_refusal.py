# SPDX-License-Identifier: Apache-2.0
"""What `migmatrix show` says of a refused stream where it was refused, on a real stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import zstandard
from stream_data import load

from migmatrix.harness.model import Cause
from migmatrix.harness.stored.refusal import describe_refusal
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from pathlib import Path

STREAM = "q35-10.0.13"


def refusal(tmp_path: Path, kind: str, device: str, field: str, message: str) -> list[str]:
    path = tmp_path / "stream.zst"
    path.write_bytes(zstandard.compress(load(STREAM)))
    cause = Cause(kind=kind, device=device, field=field, message=message)
    return list(describe_refusal(path, cause))


@pytest.fixture(scope="module")
def virtio() -> str:
    """The section of a virtio device."""
    names = [section.start.idstr for section in read_stream(load(STREAM)).sections]
    return next(name for name in names if name.endswith("/virtio-scsi"))


def test_a_queue_of_a_virtio_device(tmp_path: Path, virtio: str) -> None:
    message = "VQ 1 vring.num 1024 exceeds allocated max 256"
    section, field = refusal(tmp_path, "virtio-ring", virtio, "vring.num", message)
    assert section.startswith(f"section   {virtio} instance 0, version ")
    assert "virtio.queue[1].num at 0x" in field
    assert field.endswith(": the stream holds 00 00 04 00 (1024)")


def test_a_queue_that_the_device_has_not(tmp_path: Path, virtio: str) -> None:
    lines = refusal(tmp_path, "virtio-ring", virtio, "vring.num", "VQ 999 vring.num 1024 exceeds")
    assert not any("queue[" in line for line in lines)


def test_a_register(tmp_path: Path) -> None:
    names = [section.start.idstr for section in read_stream(load(STREAM)).sections]
    bridge = next(name for name in names if name.endswith("/pcie-root-port"))
    lines = refusal(tmp_path, "pci-config", bridge, "0x10a", "")
    assert "AER capability" in lines[1]
    assert lines[1].startswith("register  ")
