# SPDX-License-Identifier: Apache-2.0
"""What a guest adds to a stream by running is no reason to refuse it."""

from __future__ import annotations

import pytest

from migmatrix.vmstate.check.cpu import CPU_SUBSECTIONS
from migmatrix.vmstate.check.section import _Comparison
from migmatrix.vmstate.view.decode import Node
from migmatrix.vmstate.view.stream import Section
from migmatrix.vmstate.wire.constants import SectionType
from migmatrix.vmstate.wire.events import SectionStart


def leaf(name: str, kind: str, size: int) -> Node:
    return Node(name=name, kind=kind, offset=0, size=size, value=0, children=(), version=None)


def struct(name: str, *children: Node, kind: str = "struct") -> Node:
    size = sum(child.size for child in children)
    return Node(name=name, kind=kind, offset=0, size=size, value=None, children=children, version=1)


def reasons(idstr: str, sent: Node, here: Node) -> list[str]:
    start = SectionStart(SectionType.FULL, 1, idstr, 0, 1)
    comparison = _Comparison(Section(start, (), None), 0, None, "")
    return [reason.message for reason in comparison.section(sent, here)]


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
