# SPDX-License-Identifier: Apache-2.0
"""Payloads walked by the descriptions of other streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.learned import LearnedDelimiter
from migmatrix.vmstate.view.vmdesc import DeviceDesc, FieldDesc, VmDesc, VmsdDesc
from migmatrix.vmstate.wire.events import Payload, Undelimited
from migmatrix.vmstate.wire.reader import StreamReader

if TYPE_CHECKING:
    from migmatrix.vmstate.wire.events import Event

HEAD = b"QEVM" + (3).to_bytes(4) + b"\x07" + (1).to_bytes(4) + b"m"  # magic, version; configuration
START = b"\x04" + (9).to_bytes(4) + b"\x03dev" + (0).to_bytes(4) + (1).to_bytes(4)  # FULL dev, version 1
FOOTER = b"\x7e" + (9).to_bytes(4)


def sub(name: str, version: int = 1) -> bytes:
    """Head of a subsection: type, name, version."""
    return b"\x05" + bytes((len(name),)) + name.encode() + version.to_bytes(4)


def bytes_of(name: str, size: int, count: int | None = None) -> FieldDesc:
    return FieldDesc(name, "buffer", size, count)


def described(*fields: FieldDesc, subsections: tuple[VmsdDesc, ...] = (), device: str = "dev") -> VmDesc:
    return VmDesc(4096, (DeviceDesc(device, 0, VmsdDesc("dev", 1, fields, subsections)),))


def read(payload: bytes, *descriptions: VmDesc) -> list[Event]:
    reader = StreamReader(delimiter=LearnedDelimiter(descriptions))
    reader.feed(HEAD + START + payload + FOOTER + b"\0")
    reader.close()
    return list(reader.events())


def payload(raw: bytes, *descriptions: VmDesc) -> bytes:
    event = read(raw, *descriptions)[3]
    assert isinstance(event, Payload)
    return bytes(event.raw)


MORE = VmsdDesc("dev/more", 1, (bytes_of("m", 2),))
INNER = VmsdDesc("inner", 1, (bytes_of("i", 1),), (VmsdDesc("inner/extra", 1, (bytes_of("e", 1),)),))


@pytest.mark.parametrize("raw", [b"abc", b"abc" + sub("dev/more") + b"mm"])
def test_subsections_are_those_in_the_bytes(raw: bytes) -> None:
    assert payload(raw, described(bytes_of("x", 3), subsections=(MORE,))) == raw


def test_a_subsection_that_only_another_description_has() -> None:
    raw = b"abc" + sub("dev/more") + b"mm"
    assert payload(raw, described(bytes_of("x", 3)), described(bytes_of("y", 1), subsections=(MORE,))) == raw


@pytest.mark.parametrize("raw", [b"ii", b"i" + sub("inner/extra") + b"e" + b"i"])
def test_each_struct_of_an_array_may_have_subsections(raw: bytes) -> None:
    field = FieldDesc("s", "struct", 1, 2, None, INNER)
    assert payload(raw, described(field)) == raw


def test_the_description_that_leads_to_the_footer_counts() -> None:
    descriptions = [described(bytes_of("x", size)) for size in (2, 100, 3)]
    assert payload(b"abc", *descriptions) == b"abc"


def test_when_none_leads_to_the_footer_the_last_says_why() -> None:
    with pytest.raises(StreamError) as raised:
        read(b"abc", described(bytes_of("x", 2)), described(bytes_of("x", 4)))
    assert raised.value.expected == "the footer of a section seen before"
    assert raised.value.offset == len(HEAD + START) + 4
    with pytest.raises(StreamError) as ended:
        read(b"abc", described(bytes_of("x", 2)), described(bytes_of("x", 200)))
    assert ended.value.found == f"read {3 + len(FOOTER) + 1}"


def test_a_subsection_that_no_description_has() -> None:
    with pytest.raises(StreamError, match=r"\(dev\): expected a subsection seen before, found 'dev/else'"):
        read(b"abc" + sub("dev/else") + b"m", described(bytes_of("x", 3)))


@pytest.mark.parametrize("tail", [b"\x05\x03abc", b"\x05\x08other/ab"])
def test_what_only_looks_like_a_subsection_is_none(tail: bytes) -> None:
    """Too short for a name below ``dev``, or below another parent."""
    assert (
        payload(b"abc" + tail, described(bytes_of("x", 3)), described(bytes_of("x", 3 + len(tail))))
        == b"abc" + tail
    )


def test_a_section_that_no_description_has_stays_undelimited() -> None:
    events = read(b"abc", described(bytes_of("x", 3), device="other"))
    assert isinstance(events[3], Undelimited)


def test_equal_descriptions_are_one() -> None:
    with pytest.raises(StreamError, match="the footer of a section seen before"):
        read(b"abc", *[described(bytes_of("x", 2))] * 3)
