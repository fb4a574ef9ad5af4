# SPDX-License-Identifier: Apache-2.0
"""A leg's key changes with each of its inputs and with nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import prepared

from migmatrix.harness.model import Guest, Mode
from migmatrix.harness.plan.keys import GroupKeys, build_digest

if TYPE_CHECKING:
    from migmatrix.harness.builds.facts import PreparedBuild


SNAPSHOT, PAUSED = Mode("snapshot"), Guest("paused", "paused")


@dataclass(frozen=True)
class Inputs:
    """All that goes into one key."""

    build: PreparedBuild
    machine: str = "pc-q35-5.2"
    arguments: tuple[str, ...] = ("-device", "e1000e")
    mode: Mode = SNAPSHOT
    guest: Guest = PAUSED
    incoming: str | None = None
    source: PreparedBuild | None = None

    def key(self) -> str:
        keys = GroupKeys(self.machine, self.arguments, self.mode, self.guest)
        source = build_digest(self.source) if self.source else None
        return keys.key(build_digest(self.build), self.incoming, source)


BASE = Inputs(prepared("a", "7.2"))
LIVE = Mode("live", "tcp", ("x",), (("p", 1),))

DIFFERENT: dict[str, dict[str, Any]] = {
    "build content": {"build": prepared("a", "7.2", digest="other")},
    "build arguments": {"build": prepared("a", "7.2", args=("-x",))},
    "machine": {"machine": "pc-q35-7.2"},
    "arguments": {"arguments": ("-device", "e1000")},
    "order of arguments": {"arguments": ("e1000e", "-device")},
    "cut of arguments": {"arguments": ("-device e1000e",)},
    "guest kind": {"guest": Guest("paused", "firmware")},
    "guest seconds": {"guest": Guest("paused", "firmware", 1.0)},
    "stream in": {"incoming": "ab" * 32},
    "source": {"source": prepared("a", "7.2")},
    "source arguments": {"source": prepared("a", "7.2", args=("-x",))},
    "transport": {"mode": Mode("snapshot", "tcp")},
    "capability": {"mode": Mode("snapshot", capabilities=("x",))},
    "source capability": {"mode": Mode("snapshot", source_capabilities=("x",))},
    "destination capability": {"mode": Mode("snapshot", destination_capabilities=("x",))},
    "parameter": {"mode": Mode("snapshot", parameters=(("x", 1),))},
    "parameter value": {"mode": Mode("snapshot", parameters=(("x", 2),))},
    "parameter type": {"mode": Mode("snapshot", parameters=(("x", "1"),))},
    "source parameter": {"mode": Mode("snapshot", source_parameters=(("x", 1),))},
    "destination parameter": {"mode": Mode("snapshot", destination_parameters=(("x", 1),))},
    "postcopy": {"mode": Mode("snapshot", postcopy=True)},
    "passes": {"mode": Mode("snapshot", postcopy=True, passes=1)},
    "cut": {"mode": Mode("snapshot", postcopy=True, cut_within=1)},
    "tls": {"mode": Mode("snapshot", tls=True)},
    "memory": {"mode": Mode("snapshot", memory="shared")},
    "words of a refusal": {"mode": Mode("snapshot", refused="x")},
    "moment of the cut": {"mode": Mode("snapshot", postcopy=True, cut_within=1, cut_seed=1)},
}


def test_every_input_changes_the_key() -> None:
    keys = [BASE.key(), *(replace(BASE, **change).key() for change in DIFFERENT.values())]
    assert len(set(keys)) == len(keys)


SAME: dict[str, dict[str, Any]] = {
    "build id, image, place": {"build": replace(prepared("b", "7.2"), image="i", binary="/b", origin="o")},
    "guest name": {"guest": Guest("idle", "paused")},
    "mode name": {"mode": Mode("file")},
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_names_and_places_do_not_change_the_key(change: dict[str, Any]) -> None:
    assert replace(BASE, **change).key() == BASE.key()


def test_order_of_capabilities_and_parameters_does_not_count() -> None:
    one = replace(LIVE, capabilities=("x", "y"), parameters=(("a", 1), ("b", "2")))
    other = replace(LIVE, capabilities=("y", "x"), parameters=(("b", "2"), ("a", 1)))
    assert replace(BASE, mode=one).key() == replace(BASE, mode=other).key()


words = st.lists(st.text(max_size=4), max_size=4).map(tuple)


@given(words, words)
def test_arguments_never_run_together(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    same = replace(BASE, arguments=one).key() == replace(BASE, arguments=other).key()
    assert same == (one == other)


@given(words, words)
def test_extra_arguments_of_a_build_are_not_those_of_a_profile(
    extra: tuple[str, ...], profile: tuple[str, ...]
) -> None:
    moved = replace(BASE, build=prepared("a", "7.2", args=extra), arguments=profile)
    swapped = replace(BASE, build=prepared("a", "7.2", args=profile), arguments=extra)
    assert (moved.key() == swapped.key()) == (extra == profile)
