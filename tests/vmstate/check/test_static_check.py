# SPDX-License-Identifier: Apache-2.0
"""Schemas in the form of ``-dump-vmstate`` against each other: what breaks, what may, what does not.

The cases are real changes between QEMU 5.2, 7.2, 10.0 and 11.1, cut down to the fields concerned; with each stands
what QEMU's own checker says of it.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from migmatrix.vmstate.check.schema import Schema, load_schema
from migmatrix.vmstate.check.static_check import Sent, static_check
from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.vmdesc import DeviceDesc, FieldDesc, VmDesc, VmsdDesc


def field(name: str, size: int = 4, version: int = 0, **more: Any) -> dict[str, Any]:
    return {"field": name, "version_id": version, "field_exists": False, "size": size} | more


def maybe(name: str, size: int = 4, version: int = 0) -> dict[str, Any]:
    return field(name, size, version) | {"field_exists": True}


def description(
    name: str, *fields: dict[str, Any], version: int = 1, minimum: int = 0, **more: Any
) -> dict[str, Any]:
    return {
        "name": name,
        "version_id": version,
        "minimum_version_id": minimum,
        "Fields": list(fields),
        **more,
    }


def dump(machine: str = "pc-q35-7.2", **devices: dict[str, Any]) -> str:
    text: dict[str, Any] = {"vmschkmachine": {"Name": machine}}
    for name, described in devices.items():
        versions = {key: described[key] for key in ("version_id", "minimum_version_id")}
        text[name] = {"Name": name, **versions, "Description": described}
    return json.dumps(text)


def check(ours: dict[str, Any], theirs: dict[str, Any], **known: Any) -> list[tuple[str, str, str]]:
    found = static_check(load_schema(dump(dev=ours)), load_schema(dump(dev=theirs)), **known)
    return [(f.certainty.value, f.kind.value, f.field) for f in found]


A, B, C = field("a"), field("b"), field("c", 1)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        pytest.param(description("d", A, B), description("d", A, B), [], id="same"),
        pytest.param(description("d", A, B), description("d", A), [("breaks", "field", "b")], id="lost"),
        pytest.param(description("d", A), description("d", A, B), [("breaks", "field", "b")], id="gained"),
        pytest.param(
            description("d", A, field("w", 8)),
            description("d", A, field("w", 4)),
            [("breaks", "size", "w")],
            id="size",
        ),
        pytest.param(
            description("d", field("num_timers", 1, 2), A, version=2),
            description("d", field("num_timers_save", 1, 2), A, version=2),
            [("note", "name", "num_timers")],
            id="hpet renamed a field (the checker: expected num_timers, got num_timers_save)",
        ),
        pytest.param(
            description("d", A, field("period", 4, 2), version=3),
            description("d", A, field("period", 4), version=3, minimum=3),
            [],
            id="mc146818rtc dropped versions of fields (the checker: version error: 2 > 0)",
        ),
        pytest.param(
            description("d", A, field("late", 4, 3), version=2),
            description("d", A, version=2),
            [],
            id="never sent",
        ),
        pytest.param(
            description("d", field("irq"), field("dma"), A),
            description("d", field("unused", 8), A),
            [("note", "name", "irq")],
            id="sb16 fields became unused room",
        ),
        pytest.param(
            description("d", field("vga", 100, Description=description("vga", A, B))),
            description("d", A, B),
            [],
            id="a struct dissolved",
        ),
        pytest.param(
            description("d", A, maybe("data_in_ready", 1)),
            description("d", A, maybe("data_ready", 1)),
            [("may", "condition", "data_in_ready")],
            id="esp renamed a conditional field (the checker: skipping rest)",
        ),
        pytest.param(
            description("d", A, maybe("acpi_index")),
            description("d", A),
            [("may", "condition", "acpi_index")],
            id="piix4_pm's acpi_index, which broke 6.2 > 7.0",
        ),
        pytest.param(
            description("d", field("s", 9, field_exists=True, Description=description("s", A, B))),
            description("d", field("s", 9, Description=description("s", A, B))),
            [("may", "condition", "a")],
            id="one condition is one finding",
        ),
        pytest.param(
            description("d", A, version=2),
            description("d", A, version=1),
            [("breaks", "version", "")],
            id="too new",
        ),
        pytest.param(
            description("d", A, version=1),
            description("d", A, version=2, minimum=2),
            [("breaks", "version", "")],
            id="virtio-iommu raised its minimum",
        ),
        pytest.param(
            description("d", field("s", 9, Description=description("s", A, version=8))),
            description("d", field("s", 9, Description=description("s", A, version=6))),
            [],
            id="a struct's version is not on the wire (the checker: version error: 8 > 6)",
        ),
        pytest.param(
            description("d", A, Subsections=[description("d/more", B)]),
            description("d", A),
            [("may", "subsection", "")],
            id="a subsection that the destination lacks",
        ),
        pytest.param(
            description("d", A),
            description("d", A, Subsections=[description("d/more", B)]),
            [],
            id="one it has more",
        ),
        pytest.param(
            description("d", A, Subsections=[description("d/more", B, version=2)]),
            description("d", A, Subsections=[description("d/more", B, version=1)]),
            [("breaks", "version", "")],
            id="a newer subsection",
        ),
        pytest.param(
            description("vga", A),
            description("vga-isa", A),
            [("breaks", "description", "")],
            id="section renamed",
        ),
        pytest.param(
            description("d", A, field("fifo", 2, num=16), C),
            description("d", A, field("fifo", 2, num=8), C),
            [("breaks", "size", "fifo")],
            id="array length",
        ),
        pytest.param(
            description("d", A, field("eitr", 1)),
            description("d", A, field("unused", 5)),
            [("may", "field", "eitr")],
            id="lengths that the older dump does not tell",
        ),
    ],
)
def test_findings(ours: dict[str, Any], theirs: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    assert check(ours, theirs) == expected


def test_a_device_that_is_gone_and_one_whose_section_another_class_has() -> None:
    ours = load_schema(dump(qxl=description("qxl", A), hd=description("scsi-disk", A)))
    theirs = load_schema(dump(cd=description("scsi-disk", A)))
    assert [(f.certainty.value, f.device) for f in static_check(ours, theirs)] == [
        ("breaks", "qxl"),
        ("may", "hd"),
    ]
    assert static_check(ours, theirs, devices={"none"}) == []


def test_both_directions() -> None:
    one, other = (
        load_schema(dump(d=description("d", A, version=2))),
        load_schema(dump(d=description("d", A, version=1))),
    )
    forward, backward = static_check(one, other), static_check(other, one)
    assert ([f.kind.value for f in forward], backward) == (["version"], [])


def test_schemas_of_different_machines() -> None:
    finding = static_check(load_schema(dump("pc-q35-7.2")), load_schema(dump("pc-q35-8.0")))[0]
    assert finding.message == "machine types differ: 'pc-q35-7.2', 'pc-q35-8.0'"


# -- with what was really sent -----------------------------------------------------------------


def sent(*names: str, subsections: tuple[str, ...] = (), section: str = "d") -> Sent:
    fields = tuple(FieldDesc(name, "uint32", 4) for name in names)
    subs = tuple(VmsdDesc(name, 1, ()) for name in subsections)
    return Sent.of(
        VmDesc(4096, (DeviceDesc(f"0000:00:03.0/{section}", 0, VmsdDesc(section, 1, fields, subs)),))
    )


def test_sections_that_the_machine_has_not_are_not_checked() -> None:
    known = {"source_sent": sent("a", section="other")}
    assert check(description("d", A, B), description("d", A), **known) == []


@pytest.mark.parametrize(
    ("names", "expected"), [(("a", "acpi_index"), [("breaks", "field", "acpi_index")]), (("a",), [])]
)
def test_a_conditional_field_is_known_to_be_sent_or_not(names: tuple[str, ...], expected: list[Any]) -> None:
    ours, theirs = description("d", A, maybe("acpi_index"), C), description("d", A, C)
    assert check(ours, theirs, source_sent=sent(*names)) == expected


@pytest.mark.parametrize(("subs", "expected"), [(("d/more",), [("breaks", "subsection", "")]), ((), [])])
def test_a_subsection_is_known_to_be_sent_or_not(subs: tuple[str, ...], expected: list[Any]) -> None:
    ours = description("d", A, Subsections=[description("d/more", B)])
    assert check(ours, description("d", A), source_sent=sent("a", subsections=subs)) == expected


def test_fields_of_one_name_are_told_apart_by_their_number() -> None:
    both = description("d", maybe("config", 256), maybe("config", 4096))
    known = {"source_sent": sent("config[0]"), "destination_sent": sent("config[1]")}
    assert check(both, both, **known) == [("breaks", "size", "config")]


# -- the schema --------------------------------------------------------------------------------


def test_devices_by_section_name() -> None:
    schema = load_schema(
        dump(a=description("virtio-net", A), b=description("usb/kbd", A), c=description("virtio-net", A))
    )
    assert [device.name for device in schema.for_section("0000:00:03.0/virtio-net")] == ["a", "c"]
    assert [device.name for device in schema.for_section("0000:00:14.0/1/usb/kbd")] == ["b"]
    assert schema.for_section("0000:00:03.0/none") == ()


def test_a_dump_that_tells_lengths_says_so() -> None:
    assert load_schema(dump(d=description("d", field("f", 1, num=2)))).tells_counts
    assert not load_schema(dump(d=description("d", A))).tells_counts


GOOD = json.loads(dump(d=description("d", A)))


def changed(path: list[Any], value: Any) -> str:
    data = json.loads(json.dumps(GOOD))
    inner = data
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "JSON text"),
        ("[" * 100_000, "JSON text"),
        ("[]", r"\(schema\): expected an object, found \[\]"),
        (changed(["d"], 1), r"\(schema.d\): expected an object, found 1"),
        (changed(["d"], {}), r"\(schema.d\): expected key 'Description', found \[\]"),
        (changed(["d", "version_id"], "1"), r"\(schema.d.version_id\): expected a number, found '1'"),
        (changed(["d", "version_id"], True), "expected a number, found True"),
        (changed(["d", "Description", "Fields"], {}), r"\(schema.d.Description.Fields\): expected a list"),
        (changed(["d", "Description", "Fields", 0, "size"], -1), "expected a number of at least 0, found -1"),
        (changed(["d", "Description", "Fields", 0, "field_exists"], 0), "expected true or false, found 0"),
        (changed(["d", "Description", "name"], None), "expected a string, found None"),
        (changed(["vmschkmachine"], []), "expected an object"),
    ],
)
def test_a_malformed_dump_is_named_by_its_path(text: str, message: str) -> None:
    with pytest.raises(StreamError, match=message):
        load_schema(text)


def test_too_deep_a_dump_is_refused() -> None:
    deep = description("d", A)
    for _ in range(80):
        deep = description("d", field("f", 4, Description=deep))
    with pytest.raises(StreamError, match="at most 64 levels"):
        load_schema(dump(d=deep))


def test_a_schema_agrees_with_itself() -> None:
    schema: Schema = load_schema(dump(d=description("d", A, maybe("m"), Subsections=[description("d/s", B)])))
    assert static_check(schema, schema) == []
