# SPDX-License-Identifier: Apache-2.0
"""The VM description that saving makes: forms of QEMU 5.2 to 11.1, and that it tells exactly of the bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from stream_data import load

from migmatrix.vmstate.device.description import Pointers, VMState
from migmatrix.vmstate.device.fields import (
    boolean,
    buffer,
    qtailq,
    struct,
    uint8,
    uint16,
    uint32,
    unused,
    vstruct,
    with_tmp,
)
from migmatrix.vmstate.device.interpret import Style, save_section, save_state, style_of
from migmatrix.vmstate.view.decode import Node, decode, leaves
from migmatrix.vmstate.view.stream import read_stream
from migmatrix.vmstate.view.vmdesc import parse_vmdesc

PAIR = VMState("pair", (uint8("a"), uint16("b")))
LOOSE = VMState(
    "loose", (uint8("a"),), subsections=(VMState("loose/more", (uint8("m"),), needed=lambda s: "m" in s),)
)


def fields(
    vmsd_fields: tuple[Any, ...], state: dict[str, Any], style: Style = Style.INDEXED
) -> list[dict[str, Any]]:
    return list(save_state(VMState("d", vmsd_fields), state, style=style).desc["fields"])


def test_a_section_in_the_order_of_the_keys() -> None:
    vmsd = VMState("pckbd", (uint8("status"),), version_id=3)
    assert json.dumps(save_section(vmsd, {"status": 1}, "pckbd", 0).desc) == json.dumps(
        {
            "name": "pckbd", "instance_id": 0, "vmsd_name": "pckbd", "version": 3,
            "fields": [{"name": "status", "type": "uint8", "size": 1}],
        }
    )  # fmt: skip


def test_subsections_that_were_sent_and_no_key_without_any() -> None:
    with_more, without = save_state(LOOSE, {"a": 1, "m": 2}).desc, save_state(LOOSE, {"a": 1}).desc
    assert [sub["vmsd_name"] for sub in with_more["subsections"]] == ["loose/more"]
    assert "subsections" not in without


def test_arrays_are_described_by_their_first_element() -> None:
    assert fields((uint32("v", count=3), uint8("one", count=1), uint8("none", count=0)),
                  {"v": [1, 2, 3], "one": [1], "none": []}) == [
        {"name": "v", "array_len": 3, "type": "uint32", "size": 4}, {"name": "one", "type": "uint8", "size": 1},
    ]  # fmt: skip


def test_a_struct_stands_inside_and_its_size_counts_its_subsections() -> None:
    entry = fields((struct("s", LOOSE),), {"s": {"a": 1, "m": 2}})[0]
    assert list(entry) == ["name", "type", "struct", "size"]
    assert entry["size"] == 1 + 2 + len("loose/more") + 4 + 1


@pytest.mark.parametrize(
    ("style", "index"),
    [(Style.INDEXED, [0, 1, 2]), (Style.LAST_BARE, [0, 1, None]), (Style.MARKER, [None, None, None])],
)
def test_elements_that_may_differ_are_described_each(style: Style, index: list[int | None]) -> None:
    entries = fields((struct("s", LOOSE, count=3),), {"s": [{"a": 1, "m": 2}, {"a": 3}, {"a": 4}]}, style)
    assert [entry["size"] for entry in entries] == [18, 1, 1]
    assert [entry.get("index") for entry in entries] == index


@pytest.mark.parametrize(
    ("name", "release"),
    [("q35-5.2.0", "5.2.0"), ("q35-7.2.22", "7.2.22"), ("q35-10.0.13", "10.0.13"), ("q35-11.1.3", "11.1.3")],
)
def test_ports_of_a_real_ahci_are_numbered_as_by_that_release(name: str, release: str) -> None:
    vmdesc = read_stream(load(name)).vmdesc
    device = vmdesc.find("0000:00:1f.2/ich9_ahci", 0) if vmdesc else None
    assert device is not None
    ahci = next(f.struct for f in device.vmsd.fields if f.name == "ahci")
    assert ahci is not None
    real = [f.index for f in ahci.fields if f.name == "dev"]
    ours = fields(
        (struct("dev", LOOSE, count=len(real)),), {"dev": [{"a": 1}] * len(real)}, style_of(release)
    )
    assert [entry.get("index") for entry in ours] == real


def test_names_that_occur_twice_are_numbered() -> None:
    both = (unused(1), uint8("x"), unused(2))
    assert [entry["name"] for entry in fields(both, {"x": 1})] == ["unused[0]", "x", "unused[1]"]


def test_names_are_numbered_among_fields_that_are_not_sent_too() -> None:
    config = (uint8("config", test=lambda _s, _v: False), uint8("config"))
    assert [entry["name"] for entry in fields(config, {"config": 1})] == ["config[1]"]


@pytest.mark.parametrize(("style", "null"), [(Style.INDEXED, "nullptr"), (Style.MARKER, "ptr-marker")])
def test_nulls_among_pointers_have_entries_of_their_own(style: Style, null: str) -> None:
    value = {"p": [None, None, {"a": 1, "b": 2}, {"a": 3, "b": 4}, None]}
    entries = fields((struct("p", PAIR, count=5, pointers=Pointers.LOCAL),), value, style)
    found = [(entry["type"], entry.get("array_len"), entry["size"]) for entry in entries]
    assert found == [(null, 2, 1), ("struct", 2, 3), (null, None, 1)]


def test_alike_elements_that_turn_out_to_differ_are_described_each() -> None:
    queue = VMState("q", (qtailq("v", PAIR),))
    entries = fields((struct("s", queue, count=2),), {"s": [{"v": []}, {"v": [{"a": 1, "b": 2}]}]})
    assert [(entry["index"], entry["size"]) for entry in entries] == [(0, 1), (1, 5)]


def test_pointers_with_a_marker_each() -> None:
    entries = fields((uint8("p", count=2, pointers=Pointers.AUTO),), {"p": [None, 7]}, Style.MARKER)
    assert [(entry["type"], entry["size"]) for entry in entries] == [
        ("ptr-marker", 1),
        ("ptr-marker", 1),
        ("uint8", 1),
    ]


def test_descriptions_without_a_struct_key_stand_inline() -> None:
    tmp = fields((with_tmp(PAIR, lambda _parent: {"a": 1, "b": 2}),), {})[0]
    versioned = fields((vstruct("v", PAIR, 0),), {"v": {"a": 1, "b": 2}})[0]
    assert list(tmp) == list(versioned) == ["name", "type", "vmsd_name", "version", "fields", "size"]
    assert (tmp["type"], versioned["type"]) == ("tmp", "vstruct")


def test_a_queue_has_the_size_of_all_its_elements() -> None:
    assert fields((qtailq("q", PAIR),), {"q": [{"a": 1, "b": 2}] * 3})[0]["size"] == 13
    assert fields((qtailq("q", PAIR),), {"q": []}) == [{"name": "q", "type": "qtailq", "size": 1}]


def test_the_decoder_finds_the_elements_of_a_queue() -> None:
    vmsd = VMState("dev", (qtailq("q", PAIR), uint8("last")))
    state = {"q": [{"a": 1, "b": 2}, {"a": 3, "b": 4}], "last": 9}
    found = {path: (leaf.value, leaf.offset) for path, leaf in leaves(_decoded(vmsd, state))}
    assert found == {
        "q[0].a": (1, 1), "q[0].b": (2, 2), "q[1].a": (3, 5), "q[1].b": (4, 6), "last": (9, 9),
    }  # fmt: skip


def test_a_queue_whose_elements_differ_stays_bytes_and_says_so() -> None:
    node = _decoded(VMState("dev", (qtailq("q", LOOSE),)), {"q": [{"a": 1, "m": 2}, {"a": 3}]})
    (queue,) = node.children
    assert isinstance(queue.value, bytes)
    assert len(queue.value) == queue.size == 1 + 18 + 1 + 1 + 1
    assert "loose/more" in queue.problem


@pytest.mark.parametrize("raw", [b"\1\5\7", b"\1\5\1", b"\1\5\0\0", b"\2\0"])
def test_a_queue_without_its_end_stays_bytes_and_says_so(raw: bytes) -> None:
    inline = {"vmsd_name": "e", "version": 1, "fields": [{"name": "a", "type": "uint8", "size": 1}]}
    queue = {"name": "q", "type": "qtailq", **inline, "size": len(raw)}
    device = {"name": "dev", "instance_id": 0, "vmsd_name": "dev", "version": 1, "fields": [queue]}
    (node,) = decode(parse_vmdesc(json.dumps({"devices": [device]}).encode()).devices[0], raw).children
    assert node.value == raw
    assert node.problem


def _decoded(vmsd: VMState, state: dict[str, Any]) -> Node:
    data, desc = save_section(vmsd, state, "dev", 0)
    return decode(parse_vmdesc(json.dumps({"page_size": 4096, "devices": [desc]}).encode()).devices[0], data)


@pytest.mark.parametrize("style", list(Style))
def test_the_decoder_finds_every_value_by_it(style: Style) -> None:
    vmsd = VMState(
        "dev",
        (boolean("on"), struct("s", LOOSE, count=2), buffer("raw", 3), unused(2), uint16("w", count=2)),
        subsections=(VMState("dev/sub", (uint32("z"),)),),
    )
    state = {"on": True, "s": [{"a": 1, "m": 2}, {"a": 3}], "raw": b"abc", "w": [4, 5], "z": 6}
    data, desc = save_section(vmsd, state, "dev", 0, style=style)
    parsed = parse_vmdesc(json.dumps({"page_size": 4096, "devices": [desc]}).encode())
    node = decode(parsed.devices[0], data)
    found = [leaf.value for _, leaf in leaves(node)]
    assert found == [True, 1, 2, 3, b"abc", b"\0\0", (4, 5), 6]


def test_styles_by_release() -> None:
    assert [style_of(release) for release in ("5.2", "9.2.4", "10.0.13", "11.1", "11.1.3")] == [
        Style.INDEXED, Style.INDEXED, Style.LAST_BARE, Style.MARKER, Style.MARKER
    ]  # fmt: skip
