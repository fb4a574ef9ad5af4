# SPDX-License-Identifier: Apache-2.0
"""What came of each device and option: none is left out in silence, and each that was not started has its reason."""

from __future__ import annotations

import jsonschema
import pytest
from explored import SCHEMA

from migmatrix.harness.explore.accounts import Account, State, by_reason, device_accounts, option_accounts
from migmatrix.harness.explore.coverage import Coverage
from migmatrix.harness.explore.kept import Outcome
from migmatrix.harness.explore.records import Candidate, Device, Kind, Option, Part, Phase, Space
from migmatrix.harness.explore.render import render
from migmatrix.harness.explore.table import load_table

TABLE = load_table()
LINKS = {"irq": "a link<irq>, and the table has nothing that it could name"}


def device(name: str, *options: Option, bases: tuple[str, ...] = ("pci-device", "device")) -> Device:
    return Device(name, (name, *bases), {one.name: one for one in options}, frozenset({"old", "new"}), LINKS)


def option(name: str, type_: str, description: str = "") -> Option:
    return Option(name, type_, description, {"old": None, "new": None})


SPACE = Space(
    {
        "card": device(
            "card",
            option("mq", "bool"),
            option("name", "str", "its name"),
            option("vhost", "bool"),
            option("netdev", "str"),
        ),
        "broken": device("broken"),
        "stray": device("stray", bases=("odd-device",)),
        "late": device("late"),
    }
)
NAMES = ("card", "broken", "stray", "late", "vfio-pci", "silent", "odd")


def part(name: str, *options: tuple[str, str]) -> tuple[Part, ...]:
    return (Part(Kind.DEVICE, name, options),)


def covered() -> Coverage:
    coverage = Coverage()
    for name in ("card", "broken", "stray"):
        coverage.planned(Candidate(part(name), Phase.PLAIN), placed=name != "stray")
    coverage.tried(Candidate(part("card"), Phase.PLAIN), starts=True, said={"old": "no card"})
    for build in ("old", "new"):
        coverage.tried(Candidate(part("broken"), Phase.PLAIN), starts=False, said={build: "it is broken"})
    coverage.tried(
        Candidate(part("card", ("mq", "on")), Phase.SINGLE), starts=False, said={"old": "no queues"}
    )
    return coverage


def test_every_device_has_its_state_and_its_reason() -> None:
    assert device_accounts(NAMES, SPACE, TABLE, covered(), "????*") == {
        "broken": Account(State.REFUSED, "it is broken (new, old)"),
        "card": Account(State.STARTED),
        "late": Account(State.NOT_REACHED),
        "odd": Account(State.NOT_MEANT, "--devices ????*"),
        "silent": Account(State.UNANSWERED, "no build tells what can be set on it"),
        "stray": Account(State.NO_PLACE, "the table has no place for stray, odd-device"),
        "vfio-pci": Account(State.AWAY, "needs hardware"),
    }


def test_every_option_has_its_state_and_its_reason() -> None:
    assert option_accounts(SPACE, TABLE, covered())["card"] == {
        "mq": Account(State.REFUSED, "no queues (old)"),
        "name": Account(State.NO_VALUE, "str: its name"),
        "vhost": Account(State.AWAY, "the host's"),
        "netdev": Account(State.AWAY, "is given to every one"),
        "irq": Account(State.NO_VALUE, LINKS["irq"]),
    }


def test_reasons_of_most_come_first() -> None:
    rows = [("a", Account(State.AWAY, "x")), ("b", Account(State.AWAY, "y")), ("c", Account(State.AWAY, "y"))]
    assert by_reason(rows) == {State.AWAY: {"y": ["b", "c"], "x": ["a"]}}


def outcome() -> Outcome:
    coverage = covered()
    facts = {
        "format": 1, "legs": 3, "legs_to_reduce": 0, "builds": {"old": "5.2.0"}, "machines": ["pc-q35-5.2"],
        "shard": [1, 1], "origin": {"definition": {}, "builds": []}, "coverage": coverage.to_json(),
        "sections_and_fields": 0, "refused": {}, "blocked": {},
    }  # fmt: skip
    devices = device_accounts(NAMES, SPACE, TABLE, coverage, "*")
    return Outcome([], facts, devices, option_accounts(SPACE, TABLE, coverage), "complete")


def test_the_end_tells_all_of_it() -> None:
    lines = list(render(outcome()))
    assert lines[0] == (
        "devices: 7: 1 started by a build at least, 1 refused by every build, 1 kept away, 1 without a place,"
        " 2 that no build tells of, 1 not reached"
    )
    for line in (
        "    it is broken (new, old): broken",
        "    needs hardware: vfio-pci",
        "    str: its name: card.name",
    ):
        assert line in lines


def test_what_is_left_is_as_the_schema_says() -> None:
    left = outcome().to_json()
    SCHEMA.check_schema(SCHEMA.schema)
    SCHEMA.validate(left)
    for wrong in ({"ended": "soon"}, {"more": 1}, {"shard": [0, 1]}, {"findings": [{"key": "k"}]}):
        with pytest.raises(jsonschema.ValidationError):
            SCHEMA.validate({**left, **wrong})


@pytest.mark.parametrize(("changes", "incomplete"), [
    ({}, False),
    ({"migrated": 0}, True),
    ({"host_failures": [["pc-q35-5.2 a>b", "no space"]]}, True),
])  # fmt: skip
def test_a_search_that_migrated_nothing_is_incomplete(changes: dict[str, object], incomplete: bool) -> None:
    found = outcome()
    found.facts["coverage"] |= changes
    assert found.incomplete == incomplete
