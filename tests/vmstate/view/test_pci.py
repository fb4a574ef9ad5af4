# SPDX-License-Identifier: Apache-2.0
"""PCI config spaces to registers, from bytes made here and from a real stream; malformed lists end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migmatrix.vmstate.view.decode import decode, leaves
from migmatrix.vmstate.view.pci import ConfigSpace, describe_offset
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from collections.abc import Callable


def space(size: int = 4096, **parts: bytes) -> bytes:
    raw = bytearray(size)
    raw[0x06] = 0x10  # has a capability list
    for place, data in parts.items():
        at = int(place[1:], 16)
        raw[at : at + len(data)] = data
    return bytes(raw)


def test_a_real_root_port(stream_bytes: Callable[[str], bytes]) -> None:
    stream = read_stream(stream_bytes("q35-7.2.22"))
    section = next(s for s in stream.sections if s.key[0].endswith("/pcie-root-port"))
    assert stream.vmdesc is not None
    device = stream.vmdesc.find(*section.key)
    assert device is not None
    assert section.payload is not None
    fields = leaves(decode(device, section.payload.raw))
    raw = next(n.value for _, n in fields if n.kind == "pci config")
    assert isinstance(raw, bytes)
    found = ConfigSpace(raw)
    assert found.describe(0x10A) == "AER capability (0x100) Uncorrectable Error Mask, byte 2"
    names = [c.name for c in found.capabilities]
    assert names == ["PCI Express", "MSI-X", "Bridge Subsystem", "AER", "ACS"]
    assert found.describe(0x19) == "Secondary Bus Number"
    assert found.describe(0x3E) == "Bridge Control, byte 0"
    unnamed = [i for i, byte in enumerate(raw) if byte and found.describe(i).startswith("config space")]
    assert unnamed == []
    assert found.problems == []


CASES = [
    (space(), 0x04, "Command, byte 0"),
    (space(), 0x2C, "Subsystem Vendor ID, byte 0"),
    (space(x0E=b"\1"), 0x2C, "Prefetchable Limit Upper 32 Bits, byte 0"),
    (space(x34=b"\x40", x40=b"\5\0\x80\1"), 0x48, "MSI capability (0x40) Message Upper Address, byte 0"),
    (space(x34=b"\x40", x40=b"\5\0\x80\1"), 0x50, "MSI capability (0x40) Mask Bits, byte 0"),
    (space(x34=b"\x40", x40=b"\5\0\0\0"), 0x48, "MSI capability (0x40) Message Data, byte 0"),
    (space(x34=b"\x40", x40=b"\1\0"), 0x44, "Power Management capability (0x40) Power Management Control/Status, byte 0"),
    (space(x34=b"\x40", x40=b"\x11\0"), 0x42, "MSI-X capability (0x40) Message Control, byte 0"),
    (
        space(x00=b"\xf4\x1a", x34=b"\x40", x40=b"\x09\0\x14\2"),
        0x50,
        "Virtio Notification capability (0x40) Notify Offset Multiplier, byte 0",
    ),
    (space(x34=b"\x40", x40=b"\x09\0\x08"), 0x44, "Vendor Specific capability (0x40) Vendor Data, byte 1"),
    (space(x100=b"\x1d\0\1\0"), 0x106, "DPC capability (0x100) DPC Control, byte 0"),
    (space(x100=b"\x0d\0\1\x14", x140=b"\x10\0\1\0"), 0x150, "SR-IOV capability (0x140) NumVFs, byte 0"),
    (space(x100=b"\x99\0\1\0"), 0x110, "config space 0x110, 0x10 after the start of unknown 0x0099 capability (0x100)"),
    (space(), 0x80, "config space 0x80"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "offset", "name"), CASES)
def test_names(raw: bytes, offset: int, name: str) -> None:
    assert describe_offset(raw, offset) == name


def test_a_list_that_loops_ends() -> None:
    found = ConfigSpace(space(x34=b"\x40", x40=b"\1\x50", x50=b"\5\x40", x100=b"\1\0\1\x10"))
    assert [c.offset for c in found.capabilities] == [0x40, 0x50, 0x100]
    assert found.problems == ["capability list leads to 0x40", "extended capability list leads to 0x100"]


def test_a_list_into_the_header_ends() -> None:
    found = ConfigSpace(space(x34=b"\x10"))
    assert found.capabilities == ()
    assert found.problems == ["capability list leads to 0x10"]


@given(st.binary(max_size=4096))
def test_any_bytes_give_registers(raw: bytes) -> None:
    found = ConfigSpace(raw)
    assert all(r.offset < len(raw) for r in found.registers)
    assert len(found.capabilities) <= 64 + 1024
    assert found.describe(0x40)
