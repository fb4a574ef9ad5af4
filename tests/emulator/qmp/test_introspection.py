# SPDX-License-Identifier: Apache-2.0
"""What the emulator says of itself: types, properties, objects and the schema agree with each other, in every release.

Nothing here knows a device by name: each rule is checked for all types and all objects of two boards.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from recorded import converse, emulator

RELEASES = ("5.2", "11.1")
BOARDS = ("pc", "q35")


class World:
    """One machine; questions are put in batches, each batch to a process of its own."""

    def __init__(self, release: str, board: str) -> None:
        self.argv = emulator(release, "-M", board, "-m", "64", "-S", "-nodefaults", "-display", "none")

    def ask(self, *requests: tuple[str, dict[str, Any]]) -> list[Any]:
        """Answers to all of them."""
        asked = [json.dumps({"execute": name, "arguments": given}) for name, given in requests]
        return converse(self.argv, asked).answers

    def ok(self, *requests: tuple[str, dict[str, Any]]) -> list[Any]:
        """What all of them return."""
        answers = self.ask(*requests)
        assert all("return" in answer for answer in answers), answers
        return [answer["return"] for answer in answers]

    @functools.cached_property
    def types(self) -> list[dict[str, Any]]:
        """All types of devices, abstract ones too."""
        (found,) = self.ok(("qom-list-types", {"implements": "device", "abstract": True}))
        return list(found)

    @functools.cached_property
    def tree(self) -> dict[str, list[dict[str, Any]]]:
        """Every object below the machine: path to what `qom-list` has there."""
        found: dict[str, list[dict[str, Any]]] = {}
        level = ["/machine"]  # what is below /chardevs and /objects is only named
        while level:
            answers = self.ok(*(("qom-list", {"path": path}) for path in level))
            found |= dict(zip(level, answers, strict=True))
            level = [child for path in level for child in children(path, found[path])]
        return found


def children(path: str, rows: list[dict[str, Any]]) -> list[str]:
    """Paths of what an object holds."""
    names = [row["name"] for row in rows if row["type"].startswith("child<")]
    return [f"{path.rstrip('/')}/{name}" for name in names]


@functools.cache
def world(release: str, board: str) -> World:
    return World(release, board)


def concrete(types: list[dict[str, Any]]) -> list[str]:
    return [row["name"] for row in types if not row.get("abstract")]


# -- types ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", RELEASES)
def test_types_are_named_once_and_have_parents_that_are_there(release: str) -> None:
    types = world(release, "q35").types
    names = [row["name"] for row in types]
    assert len(names) == len(set(names)) > 50
    for row in types:
        assert set(row) <= {"name", "parent", "abstract"}
        assert row.get("parent", "device") in {*names, "device", "object"}, row


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_abstract_is_left_out_unless_it_is_asked_for(release: str) -> None:
    there = world(release, "q35")
    (plain,) = there.ok(("qom-list-types", {"implements": "device"}))
    assert {row["name"] for row in plain} == set(concrete(there.types))
    assert not any(row.get("abstract") for row in plain)


@pytest.mark.parametrize("release", RELEASES)
def test_a_type_implements_its_parents(release: str) -> None:
    there = world(release, "q35")
    parents = sorted({row["parent"] for row in there.types if "parent" in row} - {"device", "object"})
    answers = there.ok(*(("qom-list-types", {"implements": p, "abstract": True}) for p in parents))
    for parent, found in zip(parents, answers, strict=True):
        names = {row["name"] for row in found}
        assert {row["name"] for row in there.types if row.get("parent") == parent} <= names
        assert parent in names


@pytest.mark.parametrize("release", RELEASES)
def test_every_type_lists_its_properties_or_says_why_not(release: str) -> None:
    there = world(release, "q35")
    names = [row["name"] for row in there.types]
    answers = there.ask(*(("device-list-properties", {"typename": name}) for name in names))
    for row, answer in zip(there.types, answers, strict=True):
        if row.get("abstract"):
            assert answer["error"]["class"] == "GenericError"
            assert "non-abstract device type" in answer["error"]["desc"]
            continue
        found = [prop["name"] for prop in answer["return"]]
        assert len(found) == len(set(found)), row["name"]
        for prop in answer["return"]:
            assert set(prop) <= {"name", "type", "default-value", "description"}
            check_default(prop)


def check_default(prop: dict[str, Any]) -> None:
    """A default is of the kind that the property names."""
    if "default-value" not in prop:
        return
    value = prop["default-value"]
    if prop["type"] == "bool":
        assert isinstance(value, bool), prop
    elif prop["type"].startswith(("uint", "int")):
        assert isinstance(value, int), prop
        assert not isinstance(value, bool), prop
    if prop["type"].startswith("uint") and prop["type"][4:].isdigit():
        assert 0 <= value < 1 << int(prop["type"][4:]), prop


@pytest.mark.parametrize(("typename", "forwarded"), [
    ("virtio-blk-pci", {"num-queues", "queue-size", "discard", "packed", "serial"}),
    ("virtio-mem-pci", {"memdev", "requested-size", "node"}),
    ("virtio-serial-pci-transitional", {"max_ports", "event_idx"}),
])  # fmt: skip
@pytest.mark.parametrize("release", RELEASES)
def test_a_transport_lists_what_it_forwards(release: str, typename: str, forwarded: set[str]) -> None:
    (rows,) = world(release, "q35").ok(("device-list-properties", {"typename": typename}))
    listed = {row["name"] for row in rows}
    assert forwarded | {"vectors", "addr"} <= listed
    assert len(listed) == len(rows)


@pytest.mark.parametrize("release", RELEASES)
def test_properties_of_a_type_are_those_of_a_device_and_two_more(release: str) -> None:
    there = world(release, "q35")
    names = concrete(there.types)[:60]
    own = there.ok(*(("device-list-properties", {"typename": name}) for name in names))
    whole = there.ok(*(("qom-list-properties", {"typename": name}) for name in names))
    for name, some, every in zip(names, own, whole, strict=True):
        assert [row["name"] for row in every] == ["type", "realized", *(row["name"] for row in some)], name


# -- objects -------------------------------------------------------------------------------------


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("release", RELEASES)
def test_every_object_is_of_the_type_that_its_parent_says(release: str, board: str) -> None:
    there = world(release, board)
    said = {
        child: row["type"].removeprefix("child<").removesuffix(">")
        for path, rows in there.tree.items()
        for row, child in zip(
            [r for r in rows if r["type"].startswith("child<")], children(path, rows), strict=True
        )
    }
    names = {row["name"] for row in there.types}
    devices = [path for path, kind in said.items() if kind in names]
    assert len(devices) > 5
    for path, kind in zip(devices, there.ok(*(of(path, "type") for path in devices)), strict=True):
        assert (path, kind) == (path, said[path])


def of(path: str, name: str) -> tuple[str, dict[str, Any]]:
    return "qom-get", {"path": path, "property": name}


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("release", RELEASES)
def test_every_listed_property_of_every_object_has_a_value(release: str, board: str) -> None:
    there = world(release, board)
    below = [path for path in there.tree if path.startswith("/machine/") and path.count("/") > 2]
    asked = [of(p, r["name"]) for p in below for r in there.tree[p] if not r["type"].startswith("child<")]
    answers = there.ok(*asked)
    kinds = [r["type"] for p in below for r in there.tree[p] if not r["type"].startswith("child<")]
    assert len(answers) > 50
    for (_, question), kind, value in zip(asked, kinds, answers, strict=True):
        if kind == "bool":
            assert isinstance(value, bool), question
        elif kind.startswith(("uint", "int")):
            assert isinstance(value, int), question


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_not_there_is_not_found(release: str) -> None:
    there = world(release, "q35")
    path = next(p for p in there.tree if p.startswith("/machine/unattached/"))
    kind = there.ok(of(path, "type"))[0]
    answers = there.ask(
        ("qom-list", {"path": "/machine/nowhere"}), of("/machine/nowhere", "type"), of(path, "no-such"),
        ("qom-set", {"path": "/nowhere", "property": "x", "value": 1}),
        ("device-list-properties", {"typename": "no-such"}), ("device_del", {"id": "no-such"}),
    )  # fmt: skip
    errors = [answer["error"] for answer in answers]
    assert [e["class"] for e in errors] == [
        "DeviceNotFound", "DeviceNotFound", "GenericError", "DeviceNotFound", "DeviceNotFound", "DeviceNotFound",
    ]  # fmt: skip
    assert errors[2]["desc"] == f"Property '{kind}.no-such' not found"


@pytest.mark.parametrize("release", RELEASES)
def test_a_realized_device_is_not_changed(release: str) -> None:
    """Its properties are as they were, whatever one tries to set."""
    there = world(release, "q35")
    path = next(
        p for p, rows in there.tree.items()
        if p.startswith("/machine/unattached/") and any(r["type"].startswith("uint") for r in rows)
    )  # fmt: skip
    name = next(r["name"] for r in there.tree[path] if r["type"].startswith("uint"))
    before, refused, after = there.ask(
        of(path, name), ("qom-set", {"path": path, "property": name, "value": 1}), of(path, name)
    )
    assert refused["error"]["class"] == "GenericError"
    assert before == after


# -- the schema ----------------------------------------------------------------------------------


@pytest.mark.parametrize("release", RELEASES)
def test_the_schema_is_closed_and_names_nothing_twice(release: str) -> None:
    (schema,) = world(release, "q35").ok(("query-qmp-schema", {}))
    names = [entry["name"] for entry in schema]
    assert len(names) == len(set(names))
    for entry in schema:
        wanted = {entry.get("arg-type"), entry.get("ret-type"), entry.get("element-type")} - {None}
        wanted |= {member["type"] for member in entry.get("members", ()) if "type" in member}
        assert wanted <= set(names), entry["name"]
        assert entry["meta-type"] in ("command", "event", "object", "enum", "array", "builtin")


@pytest.mark.parametrize("release", RELEASES)
def test_lists_of_names_agree(release: str) -> None:
    schema, commands = world(release, "q35").ok(("query-qmp-schema", {}), ("query-commands", {}))
    kinds = {entry["name"]: entry["meta-type"] for entry in schema}
    assert {name for name, kind in kinds.items() if kind == "command"} == {row["name"] for row in commands}
    events = {name for name, kind in kinds.items() if kind == "event"}
    assert {"STOP", "RESUME", "MIGRATION", "SHUTDOWN", "RESET"} <= events
    if release == "5.2":
        (listed,) = world(release, "q35").ok(("query-events", {}))
        assert {row["name"] for row in listed} == events


@pytest.mark.parametrize("release", RELEASES)
def test_machine_types_are_consistent(release: str) -> None:
    (machines,) = world(release, "q35").ok(("query-machines", {}))
    names = [row["name"] for row in machines]
    aliases = [row["alias"] for row in machines if "alias" in row]
    assert len(names) == len(set(names))
    assert not set(aliases) & set(names)
    assert len(aliases) == len(set(aliases))
    assert {"pc", "q35"} <= set(aliases)
    assert [row["name"] for row in machines if row.get("is-default")] == [
        row["name"] for row in machines if row.get("alias") == "pc"
    ]
    assert all(row["cpu-max"] >= 1 for row in machines)
    assert all(("acpi" in row) is (release in ("10.0", "11.1")) for row in machines)
