# SPDX-License-Identifier: Apache-2.0
"""What a guest adds to a stream by running is no reason to refuse it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migmatrix.vmstate.check.cpu import CPU_SUBSECTIONS
from migmatrix.vmstate.check.items import items_of
from migmatrix.vmstate.check.schema import Schema, SchemaDescription, SchemaDevice, SchemaField
from migmatrix.vmstate.check.section import _Comparison
from migmatrix.vmstate.check.use import without_use
from migmatrix.vmstate.view.decode import Node
from migmatrix.vmstate.view.stream import Section
from migmatrix.vmstate.wire.constants import SectionType
from migmatrix.vmstate.wire.events import SectionStart

if TYPE_CHECKING:
    from migmatrix.vmstate.check.refusal import Refusal


def leaf(name: str, kind: str, size: int) -> Node:
    return Node(name=name, kind=kind, offset=0, size=size, value=0, children=(), version=None)


def struct(name: str, *children: Node, kind: str = "struct") -> Node:
    size = sum(child.size for child in children)
    return Node(name=name, kind=kind, offset=0, size=size, value=None, children=children, version=1)


def reasons(idstr: str, sent: Node, here: Node) -> list[str]:
    return [reason.message for reason in compared(idstr, sent, here)]


def compared(idstr: str, sent: Node, here: Node) -> list[Refusal]:
    start = SectionStart(SectionType.FULL, 1, idstr, 0, 1)
    return list(_Comparison(Section(start, (), None), 0, None, "").section(sent, here))


USED = struct("sq[1]", leaf("sqid", "uint16", 2), leaf("head", "uint32", 4))
UNUSED = leaf("sq[1]", "nullptr", 1)


@pytest.mark.parametrize(("sent", "here"), [(USED, UNUSED), (UNUSED, USED)])
def test_a_null_pointer_has_no_layout_that_differs(sent: Node, here: Node) -> None:
    after = leaf("last", "uint32", 4)
    assert reasons("nvme", struct("nvme", sent, after), struct("nvme", here, after)) == []


def test_a_field_more_beside_a_null_pointer_is_still_told() -> None:
    sent = struct("nvme", USED, leaf("more", "uint32", 4))
    assert reasons("nvme", sent, struct("nvme", UNUSED)) == ["'more' (4 bytes) sent, nothing (0 bytes) read"]


@pytest.mark.parametrize("name", ["cpu/msr_smi_count", "cpu/fpop_ip_dp", "cpu/pkru", "cpu/avx512"])
def test_a_cpu_that_ran_sends_what_every_build_knows(name: str) -> None:
    sub = struct(name, leaf("value", "uint64", 8), kind="subsection")
    assert name in CPU_SUBSECTIONS
    assert reasons("cpu", struct("cpu", sub), struct("cpu")) == []


@pytest.mark.parametrize(("idstr", "name"), [("cpu", "cpu/not_known"), ("disk", "cpu/pkru")])
def test_another_subsection_is_still_told(idstr: str, name: str) -> None:
    sub = struct(name, leaf("value", "uint64", 8), kind="subsection")
    assert reasons(idstr, struct(idstr, sub), struct(idstr)) == [f"there is no subsection {name!r} here"]


def number(name: str, value: int) -> Node:
    return Node(name=name, kind="uint8", offset=0, size=1, value=value, children=(), version=None)


@pytest.mark.parametrize("count", [2, 3, 300])
def test_elements_whose_number_is_told_are_no_difference(count: int) -> None:
    elements = [struct(f"aer_reqs[{i}]", leaf("status", "uint16", 2)) for i in range(count)]
    last = leaf("aer_queued", "int32", 4)
    sent = struct("nvme", number("outstanding_aers", count), *elements, last)
    here = struct("nvme", number("outstanding_aers", 1), *elements[:1], last)
    assert reasons("nvme", sent, here) == []
    assert reasons("nvme", here, sent) == []


def test_a_number_that_is_as_large_by_chance_tells_nothing() -> None:
    """sd-card of 10.0.2: `mode` is 2 after SeaBIOS, and `unused` has two parts, where 5.2.0 has one and `enable`."""
    sent = struct(
        "sd-card", number("mode", 2), leaf("unused[0]", "buffer", 512), leaf("unused[1]", "buffer", 1)
    )
    here = struct("sd-card", number("mode", 0), leaf("unused", "buffer", 512), leaf("enable", "bool", 1))
    assert reasons("sd-card", sent, here) == []


@pytest.mark.parametrize("count", [1, 4])
def test_without_a_schema_an_array_that_is_not_here_is_no_certain_difference(count: int) -> None:
    """nvme of 11.1.3 under Linux: `outstanding_aers` tells the length of `aer_reqs`, which is 0 at first."""
    names = ["aer_reqs"] if count == 1 else [f"aer_reqs[{i}]" for i in range(count)]
    elements = [struct(name, leaf("status", "uint16", 2)) for name in names]
    last = leaf("aer_queued", "int32", 4)
    sent = struct("nvme", number("outstanding_aers", count), *elements, last)
    here = struct("nvme", number("outstanding_aers", 0), last)
    assert [reason.certain for reason in compared("nvme", sent, here)] == [False]
    flat = struct(
        "nvme", number("outstanding_aers", count), leaf("more", "uint16", 2), leaf("again", "uint8", 1), last
    )
    assert [reason.certain for reason in compared("nvme", flat, here)] == [True]


def test_a_longer_array_without_a_number_is_still_told() -> None:
    elements = [struct(f"regs[{i}]", leaf("status", "uint16", 2)) for i in range(3)]
    assert reasons(
        "x", struct("x", number("n", 9), *elements), struct("x", number("n", 9), *elements[:2])
    ) == ["'regs[2].status' (2 bytes) sent, nothing (0 bytes) read"]


@pytest.mark.parametrize("kind", ["scsi-requests", "qtailq", "gtree"])
def test_lists_are_as_long_as_the_guest_makes_them(kind: str) -> None:
    sent = struct("scsi-disk", leaf("qdev.requests", kind, 558), leaf("last", "uint8", 1))
    here = struct("scsi-disk", leaf("qdev.requests", kind, 1), leaf("last", "uint8", 1))
    assert reasons("scsi-disk", sent, here) == []


def drive(flag: int, *more: Node, version: int = 3) -> Node:
    return struct("ide", number("version", version), number("identify_set", flag), *more, number("error", 0))


IDENTIFY = leaf("identify_data", "buffer", 512)
KNOWN = SchemaDescription("ide", 3, 0, (SchemaField("identify_data", 0, conditional=True, size=512),))


def by_schema(sent: Node, here: Node, idstr: str = "ide") -> list[str]:
    schema = Schema("pc", {"ide-device": SchemaDevice("ide-device", 3, 0, KNOWN)})
    section = Section(SectionStart(SectionType.FULL, 1, idstr, 0, 3), (), None)
    return [reason.message for reason in _Comparison(section, 0, schema, "").section(sent, here)]


def test_a_field_behind_its_condition_is_no_difference() -> None:
    """A drive of AHCI that SeaBIOS identified (10.0.13 to 7.2.22)."""
    assert by_schema(drive(1, IDENTIFY), drive(0)) == []
    assert by_schema(drive(0), drive(1, IDENTIFY)) == []
    assert by_schema(drive(1, IDENTIFY), drive(0), "of no class") == []  # PIIX registers its section by hand


def test_a_field_under_a_condition_that_is_not_seen_is_still_told() -> None:
    told = ["'identify_data' (512 bytes) sent, nothing (0 bytes) read"]
    assert by_schema(drive(1, IDENTIFY), drive(1)) == told
    assert by_schema(drive(1, IDENTIFY, version=4), drive(0)) == told


def test_an_array_that_is_empty_here_is_no_difference() -> None:
    known = SchemaDescription("ide", 3, 0, (SchemaField("reqs", 0, conditional=False, size=8),))
    items = list(items_of(struct("ide", struct("reqs", leaf("status", "uint16", 2)), number("error", 0))))
    here = [item for item in items if item.path == "error"]
    assert without_use(items, here, [known], 3, set()) == (here, here)
    assert without_use(items, here, [], 3, set()) == (items, here)
