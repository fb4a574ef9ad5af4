# SPDX-License-Identifier: Apache-2.0
"""What differs between a stream that was sent and what its destination says, on streams that are made here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from made_streams import END, FULL, foot, good, head, page, part, start, stream, u8, u32

from migmatrix.harness.run.echo import compare

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def differences(tmp_path: Path) -> Any:
    """The differences of two streams."""

    def of(sent: bytes, said: bytes) -> dict[str, Any]:
        for name, data in (("sent", sent), ("said", said)):
            (tmp_path / name).write_bytes(data)
        return compare(tmp_path / "sent", tmp_path / "said")

    return of


def machine(**payloads: bytes) -> bytes:
    """A stream of devices, each a buffer, with its description at the end."""
    sections, devices = [], []
    for number, (name, payload) in enumerate(payloads.items(), 7):
        sections.append(head(FULL, number, name, 0, 1) + payload + foot(number))
        fields = [{"name": "data", "type": "buffer", "size": len(payload)}] if payload else []
        devices.append({"name": name, "instance_id": 0, "vmsd_name": name, "version": 1, "fields": fields})
    told = json.dumps({"page_size": 4096, "devices": devices}).encode()
    return stream(start(), part(b"", kind=END), *sections) + u8(6) + u32(len(told)) + told


def test_equal_streams_have_no_differences(differences: Any) -> None:
    assert differences(good(), good()) == {"changes": [], "unread": ""}


@pytest.mark.parametrize(
    ("payload", "why"), [(b"\0\0", ""), (b"", "it held nothing, and the destination has no such section")]
)
def test_a_section_that_is_not_said_again_is_a_change_if_it_holds_anything(
    payload: bytes, why: str, differences: Any
) -> None:
    found = differences(machine(timer=payload, nic=b"1"), machine(nic=b"1"))
    assert found == {"changes": [["section", "timer#0", "", "present", "", why]], "unread": ""}


def test_each_part_of_a_buffer_that_differs_is_told(differences: Any) -> None:
    sent, said = bytearray(64), bytearray(64)
    sent[3], said[3] = 1, 2
    said[40:64] = b"\xff" * 24
    found = differences(machine(nic=bytes(sent)), machine(nic=bytes(said)))
    assert [row[1:5] for row in found["changes"]] == [
        ["nic#0", "data[0x3]", "01", "02"],
        ["nic#0", "data[0x28]", "00 x 24", "ff x 24"],
    ]


def test_memory_is_compared(differences: Any) -> None:
    found = differences(good(part(page())), good())
    assert [row[:3] for row in found["changes"]] == [["ram-content", "ram", "ram"]]


def test_what_cannot_be_read_to_its_end_is_said(differences: Any) -> None:
    assert differences(machine(nic=b"1"), machine(nic=b"1")[:60])["unread"]
