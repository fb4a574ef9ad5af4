# SPDX-License-Identifier: Apache-2.0
"""Postcopy as a mode asks for it: at once, after passes, with a link that breaks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lab import Lab

EMULATED = {"a": {"provider": "emulator", "release": "10.0"}, "b": {"provider": "emulator", "release": "7.2"}}
REAL = {
    "7.2": {"provider": "debian", "suite": "bookworm"},
    "10.0": {"provider": "debian", "suite": "trixie"},
    "11.1": {"provider": "debian", "suite": "trixie-backports"},
}
CAPABILITIES = ["postcopy-ram"]
AT_ONCE = {"name": "at-once", "transport": "unix", "capabilities": CAPABILITIES, "postcopy": True}
PASSES = [
    {**AT_ONCE, "name": "after-a-pass", "postcopy": {"passes": 1}},
    {**AT_ONCE, "name": "never-converges", "postcopy": {"passes": 3}},
]
CUT = [
    {**AT_ONCE, "name": "cut", "cut": {"within": 40000, "seed": 3}},
    {
        **AT_ONCE,
        "name": "cut-preempt",
        "capabilities": [*CAPABILITIES, "postcopy-preempt"],
        "cut": {"within": 40000, "seed": 4},
    },
]


def run(
    lab: Lab, builds: dict[str, Any], modes: list[dict[str, Any]], guests: list[Any], retries: int = 0
) -> None:
    """Run a small guest through all pairs in these modes; all pass, after so many failures of the host at most."""
    matrix = lab.matrix(
        builds=builds,
        profiles={"define": {"plain": {"args": ["-m", "64", "-nodefaults"]}}},
        paths={"pairs": "all"},
        modes=modes,
        guests=guests,
        policy={"retries": retries},
    )
    done = lab.run(matrix)
    assert done.returncode == 0, done.stdout + done.stderr
    assert lab.verdicts() == {"pass": len(builds) ** 2 * len(modes) * len(guests)}


def evidence(lab: Lab, cell: str) -> dict[str, Any]:
    """The evidence of a cell's one leg."""
    shown = lab.call([*lab.command("show", "out", cell, "--json")[:-2]])
    (leg,) = json.loads(shown.stdout)["evidence"]
    return dict(leg)


def statuses(leg: dict[str, Any], role: str) -> list[str]:
    (side,) = [emulator for emulator in leg["emulators"] if emulator["role"] == role]
    events = (said["message"] for said in side["qmp"] if said["direction"] == "<")
    return [event["data"]["status"] for event in events if event.get("event") == "MIGRATION"]


def test_the_reference_emulator_is_asked_at_once(lab: Lab) -> None:
    run(lab, EMULATED, [AT_ONCE], ["paused"])
    assert "postcopy-active" in statuses(evidence(lab, "a>b"), "source")


@pytest.mark.qemu
@pytest.mark.usefixtures("container_engine")
@pytest.mark.timeout(900)
def test_real_qemu_is_asked_after_passes(lab: Lab) -> None:
    # precopy ends when the guest got no time to write while a page was sent: a failure of the host, done again by default
    run(lab, REAL, PASSES, [{"name": "firmware", "seconds": 0.5}], retries=2)
    for mode, passes in (("after-a-pass", 1), ("never-converges", 3)):
        leg = evidence(lab, f"7.2>11.1/{mode}")
        said = [s["message"] for s in leg["emulators"][0]["qmp"]]
        asked = next(
            n for n, message in enumerate(said) if message.get("execute") == "migrate-start-postcopy"
        )
        seen = [m["data"]["pass"] for m in said[:asked] if m.get("event") == "MIGRATION_PASS"]
        assert max(seen) > passes


@pytest.mark.qemu
@pytest.mark.usefixtures("container_engine")
@pytest.mark.timeout(900)
def test_real_qemu_recovers_from_a_cut_link(lab: Lab) -> None:
    run(lab, REAL, CUT, ["paused", {"name": "firmware", "seconds": 0.5}])
    leg = evidence(lab, "10.0>11.1/cut/firmware")
    assert 0 <= leg["facts"]["cut"] < CUT[0]["cut"]["within"]  # type: ignore[index]
    for role in ("source", "destination"):
        told = statuses(leg, role)
        paused = told.index("postcopy-paused")
        assert told[paused - 1] == "postcopy-active"
        assert "postcopy-recover" in told[paused:]
        assert told[-2:] == ["postcopy-active", "completed"]
