# SPDX-License-Identifier: Apache-2.0
"""What `advise --json` prints: its keys are published and stay, and what people read says nothing that JSON does not."""

from __future__ import annotations

import json

from migmatrix.harness.advise.fleet import NEEDS_OVERRIDES, STRANDED, Cohort, FleetAdvice, Upgrade
from migmatrix.harness.advise.path import Override, PathAdvice
from migmatrix.harness.advise.search import Blocker
from migmatrix.harness.trials.records import Setting, Step

ON = Setting("port", "x-mask", "on")
LONG = Blocker("a>b(x.y=>)>c", "fail", "crash port", "it died", 2)
SHORT = Blocker("a>c", "fail", "crash port", "it died", 1)
REFUSED = Blocker("a>d", "blocked", "", "no such thing", 1)


def path(*route: Step, blockers: tuple[Blocker, ...] = ()) -> PathAdvice:
    overrides = (Override("b", (ON,), "fail", "pci-config port 0x10a"),) if route else ()
    proof = "pass" if route else ""
    return PathAdvice("pc", "p", "a", "b", route, overrides, proof, False, bool(route), blockers, 3)


FOUND = path(Step("a"), Step("b", (ON,)))
NOWHERE = path(blockers=(LONG, SHORT, REFUSED))


def test_the_keys_of_a_path_are_those_that_were_published() -> None:
    data = json.loads(json.dumps(FOUND.to_json()))
    assert set(data) == {
        "found", "until", "machine", "profile", "born_on", "goal", "route", "marks", "proof", "stored", "proved_now",
        "blockers", "ran",
    }  # fmt: skip
    assert data["born_on"] == "a"
    assert data["marks"] == [
        {
            "build": "b",
            "settings": [{"type": "port", "name": "x-mask", "value": "on"}],
            "without": "fail",
            "signature": "pci-config port 0x10a",
        }
    ]


def test_the_keys_of_a_fleet_are_those_that_were_published() -> None:
    cohorts = (Cohort("a", NEEDS_OVERRIDES, FOUND), Cohort("a", STRANDED, NOWHERE, ("c",)))
    data = FleetAdvice(
        ("a", "b"), (), (Upgrade("a", "b", (), (("pc/p", "why"),)),), (), cohorts, 0, 3
    ).to_json()
    assert set(data) == {"safe", "order", "left_out", "rungs", "dying", "cohorts", "unsupported", "ran"}
    assert data["rungs"] == [{"lower": "a", "upper": "b", "came_up": [], "started": [["pc/p", "why"]]}]
    marked, stranded = data["cohorts"]
    assert (marked["born_on"], marked["state"], stranded["refuge"]) == ("a", "marked", ["c"])
    assert {"born_on", "marks"} <= set(marked["path"])


def test_people_read_of_overrides() -> None:
    cohorts = (Cohort("a", NEEDS_OVERRIDES, FOUND), Cohort("a", STRANDED, NOWHERE, ("c",)))
    upgrade = Upgrade("a", "b", (("pc/p", "one"),), (("pc/p", "two"),))
    lines = list(FleetAdvice(("a", "b"), (), (upgrade,), (), cohorts, 1, 3).render())
    assert "cohorts: 0 of 2 reach the goal without overrides" in lines
    assert "needs overrides: started on a" in lines
    assert "    without the override on b: fail pci-config port 0x10a" in lines
    assert "a > b: rollback NOT for all guests" in lines
    assert any(line.startswith("  rescue: it stays on a, or goes to c until") for line in lines)


def test_a_reason_is_said_once_with_its_shortest_route() -> None:
    """How long a route is, is data: a value with `>` in it makes none longer."""
    lines = list(NOWHERE.render())
    assert lines[2:] == [
        "    a>c: fail crash port (1 more routes alike)",
        "    a>d: blocked no such thing",
    ]
