# SPDX-License-Identifier: Apache-2.0
"""What a search tries first, crowds of devices, and what spoils them. Nothing is run."""

from __future__ import annotations

import json
from itertools import combinations
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from migmatrix.harness.builds.facts import BuildFacts, MachineType, PreparedBuild
from migmatrix.harness.explore.crowds import crowds
from migmatrix.harness.explore.described import differing, is_of
from migmatrix.harness.explore.order import Order
from migmatrix.harness.explore.records import Candidate, Device, Kind, Option, Part, Phase, Space
from migmatrix.harness.explore.spoilers import Spoilers, halves
from migmatrix.harness.explore.table import load_table

if TYPE_CHECKING:
    from pathlib import Path

TABLE = load_table()
BUILDS = frozenset({"old", "new"})


def device(name: str, *options: str) -> Device:
    found = {one: Option(one, "bool", "", {"old": "off", "new": "off"}) for one in options}
    return Device(name, (name, "pci-device", "device"), found, BUILDS)


SHARED = ("multifunction", "x-tested")
SPACE = Space(
    {
        "cirrus-vga": device("cirrus-vga", "blitter", *SHARED),  # both are of the table's popular devices
        "e1000": device("e1000", "mitigation", *SHARED),
        "edu": device("edu", "dma", *SHARED),
    },
    described=frozenset({"edu"}),
)


def likely(**changes: Any) -> list[str]:
    return [candidate.text for candidate in Order(SPACE, TABLE, **changes).likely()]


def test_a_device_with_another_state_comes_first_then_the_first_of_each_option() -> None:
    found = likely()
    first = [text for text in found if text.startswith("edu")]
    assert found[: len(first)] == first
    assert {"edu,dma=on", "edu,multifunction=on", "edu at bridge", "edu x 2"} <= set(first)
    rest = found[len(first) :]
    assert {"cirrus-vga,blitter=on", "e1000,mitigation=on"} <= set(rest)
    assert [text for text in rest if "multifunction" in text] == ["cirrus-vga,multifunction=on"]
    assert [text for text in rest if "at switch" in text] == ["cirrus-vga at switch"]
    assert not [text for text in found if "x-tested" in text]


def test_what_is_not_likely_is_there_later() -> None:
    order = Order(SPACE, TABLE)
    every = [candidate.text for candidate in order.of(Phase.SINGLE)]
    assert every == [*likely(), *(candidate.text for candidate in order.unlikely())]
    assert len(every) == len(set(every))
    assert {"e1000,multifunction=on", "e1000,x-tested=on", "edu,x-tested=on"} <= set(every[len(likely()) :])


def test_pairs_are_crowds_of_popular_devices_and_arrays_of_options_and_places() -> None:
    order = Order(SPACE, TABLE)
    crowds = list(order.together())
    assert all(len(c.parts) > 1 for c in crowds)
    assert {part.name for c in crowds for part in c.parts} == {"cirrus-vga", "e1000", *TABLE.topologies}
    rows = {c.text for c in order.arrays()}
    assert any("mitigation=on" in text and " at port" in text for text in rows)
    assert any("mitigation=on,multifunction=on" in text for text in rows)
    assert not any("x-tested" in text or "edu" in text for text in rows)


# -- spoilers --------------------------------------------------------------------------------------


def alone(text: str, phase: Phase = Phase.PLAIN) -> Candidate:
    """``TOPOLOGY``, or ``e1000`` with options as on a command line."""
    name, *options = text.split(",")
    kind = Kind.TOPOLOGY if name in TABLE.topologies else Kind.DEVICE
    pairs = [option.partition("=")[::2] for option in options]
    return Candidate((Part(kind, name, tuple(pairs)),), phase)


def crowd(*names: str) -> Candidate:
    return Candidate(tuple(part for name in names for part in alone(name).parts), Phase.PAIR)


def test_what_fails_or_does_not_start_alone_is_no_company() -> None:
    spoilers = Spoilers(("pc-1", "pc-2"))
    for machine in spoilers.machines:
        spoilers.learn(alone("nvme"), machine, starts=False, sound=False)
        spoilers.learn(alone("VGA"), machine, starts=True, sound=False)
        spoilers.learn(alone("e1000"), machine, starts=True, sound=machine == "pc-2")
        spoilers.learn(alone("edu,dma=on", Phase.SINGLE), machine, starts=True, sound=False)
    found = spoilers.without(crowd("smp-2", "nvme", "e1000", "VGA", "edu"))
    assert found == crowd("smp-2", "e1000", "edu")
    assert spoilers.sound(found.parts, spoilers.machines) == ["pc-2"]
    assert spoilers.sound(crowd("smp-2", "edu").parts, spoilers.machines) == ["pc-1", "pc-2"]
    assert spoilers.without(crowd("nvme", "e1000", "VGA")) is None


def test_what_a_device_fails_with_plain_is_no_news_of_its_options() -> None:
    spoilers = Spoilers(("pc-1", "pc-2"))
    ring, other = ("old>new", "virtio-ring"), ("old>new", "missing-footer")
    assert spoilers.news(alone("VGA"), "pc-1", {ring}) == {ring}
    spoilers.show(alone("VGA"), "pc-1", {ring})
    spoilers.show(
        alone("VGA,vgamem_mb=1", Phase.SINGLE), "pc-1", {other}
    )  # one option is no measure of another
    assert spoilers.news(alone("VGA"), "pc-1", {ring}) == {ring}
    option = alone("VGA,edid=off", Phase.SINGLE)
    assert spoilers.news(option, "pc-1", {ring}) == set()
    assert spoilers.news(option, "pc-1", {ring, other}) == {other}
    assert spoilers.news(option, "pc-1", {("new>old", "virtio-ring")})
    assert spoilers.news(option, "pc-2", {ring}) == {ring}
    assert spoilers.news(crowd("e1000", "VGA"), "pc-1", {ring}) == set()


def test_a_value_that_nothing_starts_with_is_left_out() -> None:
    spoilers = Spoilers(("pc-1",))
    spoilers.learn(alone("e1000,mac=x", Phase.SINGLE), "pc-1", starts=False, sound=False)
    left = spoilers.without(alone("e1000,mac=x,mitigation=on", Phase.PAIR))
    assert left == alone("e1000,mitigation=on", Phase.PAIR)
    assert spoilers.without(alone("e1000,mac=x", Phase.PAIR)) is None


def test_a_crowd_falls_into_halves_on_its_topology() -> None:
    two = halves(crowd("smp-2", "a", "b", "c", "d", "e"))
    assert two == [crowd("smp-2", "a", "b"), crowd("smp-2", "c", "d", "e")]
    assert halves(two[1]) == [crowd("smp-2", "c"), crowd("smp-2", "d", "e")]
    assert halves(two[0]) == halves(alone("e1000,mitigation=on", Phase.PAIR)) == []


# -- crowds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2, 3, 7, 15])
@pytest.mark.parametrize("topologies", [[], ["smp-2", "smp-4"]])
def test_every_two_devices_meet_and_each_meets_every_topology(number: int, topologies: list[str]) -> None:
    devices = [f"device-{n}" for n in range(number)]
    made = list(crowds(devices, topologies, Random(0)))
    names = [{p.name for p in parts if p.kind is Kind.DEVICE} for parts in made]
    assert {frozenset(pair) for found in names for pair in combinations(sorted(found), 2)} == {
        frozenset(pair) for pair in combinations(devices, 2)
    }
    met = {(d, p.name) for parts, found in zip(made, names, strict=True) for p in parts for d in found}
    assert {(d, t) for d in devices for t in topologies} <= met
    assert made == list(crowds(devices, topologies, Random(0)))
    assert len(made) <= max(2 * len(topologies) * number, number * number // 6 + 4)


# -- descriptions ------------------------------------------------------------------------------------


def dumping(tmp_path: Path, id_: str, text: str) -> PreparedBuild:
    """A build whose emulator prints this text for ``-dump-vmstate``."""
    (tmp_path / f"{id_}.json").write_text(text)
    program = tmp_path / id_
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/{id_}.json\n")
    program.chmod(0o755)
    facts = BuildFacts(id_, "1.0", "", (MachineType("pc-q35-7.2"),), (), ())
    return PreparedBuild(id_, "binary", "", facts, str(program))


def schema(**fields: int) -> str:
    """A dump of one struct inside a device, whose size as a C object is that of its fields and a number."""
    inner = [{"field": n, "version_id": 0, "field_exists": False, "size": size} for n, size in fields.items()]
    numbers = {"version_id": 1, "minimum_version_id": 1}
    within = {"name": "inner", **numbers, "Fields": inner}
    field = {
        "field": "s",
        "version_id": 0,
        "field_exists": False,
        "size": 100 + len(fields),
        "Description": within,
    }
    device = {"Name": "card", **numbers, "Description": {"name": "card", **numbers, "Fields": [field]}}
    return json.dumps({"vmschkmachine": {"Name": "pc-q35-7.2"}, "card": device})


def test_builds_tell_which_devices_have_another_state(tmp_path: Path) -> None:
    one, two = dumping(tmp_path, "one", schema(a=4)), dumping(tmp_path, "two", schema(a=4, b=4))
    assert differing([one, two], ["pc-q35-7.2"], print) == {"card"}


def test_the_size_of_a_struct_in_memory_is_no_difference(tmp_path: Path) -> None:
    text = schema(a=4)
    one, two = (
        dumping(tmp_path, "one", text),
        dumping(tmp_path, "two", text.replace('"size": 101', '"size": 160')),
    )
    assert (tmp_path / "one.json").read_text() != (tmp_path / "two.json").read_text()
    assert differing([one, two], ["pc-q35-7.2"], print) == frozenset()


def test_a_build_that_does_not_tell_differs_from_none(tmp_path: Path) -> None:
    said: list[str] = []
    builds = [dumping(tmp_path, "one", schema(a=4)), dumping(tmp_path, "two", "no dump")]
    assert differing(builds, ["pc-q35-7.2"], said.append) == frozenset()
    (line,) = said
    assert "two" in line
    assert "-dump-vmstate cannot be read" in line


@pytest.mark.parametrize(("device", "described", "expected"), [
    ("e1000", {"e1000"}, True),
    ("e1000e", {"e1000"}, False),
    ("virtio-net-pci", {"virtio-net-device"}, True),
    ("virtio-net-pci-transitional", {"virtio-net-device"}, True),
    ("virtio-mem-pci", {"virtio-mem"}, True),
    ("virtio-net-pci", {"virtio-blk-device"}, False),
])  # fmt: skip
def test_a_transport_is_of_its_devices_state(device: str, described: set[str], expected: bool) -> None:
    assert is_of(device, described) is expected
