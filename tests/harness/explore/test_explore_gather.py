# SPDX-License-Identifier: Apache-2.0
"""Options that are tried by many in one guest: who may be together, and how a guest that fails is taken apart."""

from __future__ import annotations

import pytest

from migmatrix.harness.explore.gather import AGAIN, SIZE, gather, parted
from migmatrix.harness.explore.records import Candidate, Case, Kind, Part, Phase

BUILDS = ("old", "new")


def case(
    name: str, option: str = "", *words: str, machine: str = "pc", builds: tuple[str, ...] = BUILDS
) -> Case:
    part = Part(Kind.DEVICE, name, ((option, "on"),) if option else ())
    arguments = ("-m", "64", *words, "-device", f"{name},{option}=on" if option else name)
    return Case(Candidate((part,), Phase.SINGLE), machine, arguments, builds)


def names(groups: list[list[Case]]) -> list[list[str]]:
    return [[one.candidate.text for one in group] for group in groups]


def test_no_device_comes_twice_in_a_group() -> None:
    cases = [case("a", "x"), case("a", "y"), case("b", "x"), case("c"), case("a", "z")]
    assert names(gather(cases, SIZE)) == [["a,x=on", "b,x=on", "c"], ["a,y=on"], ["a,z=on"]]


@pytest.mark.parametrize("words", [("-device", "hub,id=at1"), ("-global", "hub.ports=2")])
def test_nor_does_what_another_needs(words: tuple[str, ...]) -> None:
    """Its words would be taken for the other's, and a -global would change both."""
    for cases in ([case("hub"), case("a", "x", *words)], [case("a", "x", *words), case("hub")]):
        assert [len(group) for group in gather(cases, SIZE)] == [1, 1]


def test_a_group_has_one_machine_and_one_set_of_builds_and_is_full_at_some_size() -> None:
    cases = [case("a"), case("b", machine="other"), case("c", builds=("old",)), case("d")]
    assert names(gather(cases, SIZE)) == [["a", "d"], ["b"], ["c"]]
    many = [case(f"d{n}") for n in range(2 * SIZE + 1)]
    assert [len(group) for group in gather(many, SIZE)] == [SIZE, SIZE, 1]
    assert sorted(one.candidate.text for group in gather(many, SIZE) for one in group) == sorted(
        f"d{n}" for n in range(17)
    )


def test_couples_share_a_group_with_couples_of_other_devices() -> None:
    def couple(one: str, other: str) -> Case:
        parts = tuple(Part(Kind.DEVICE, name) for name in (one, other))
        return Case(Candidate(parts, Phase.PAIR), "pc", ("-device", one, "-device", other), BUILDS)

    cases = [couple("a", "b"), couple("a", "c"), couple("c", "d"), couple("b", "d")]
    assert names(gather(cases, SIZE)) == [["a + b", "c + d"], ["a + c", "b + d"]]
    assert [len(group) for group in gather([case(f"d{n}") for n in range(AGAIN)], AGAIN)] == [AGAIN]


@pytest.mark.parametrize(("said", "parts"), [
    ("qemu: -device b,x=on,id=d2: Property 'b.x' not found", [["b"], ["a", "bb", "c"]]),
    ("qemu: -device bb: no", [["bb"], ["a", "b", "c"]]),
    ("qemu: warning: global c.x has invalid class\nqemu: -global c.x=on: no", [["c"], ["a", "b", "bb"]]),
    ("no", [["a", "b"], ["bb", "c"]]),
    ("", [["a", "b"], ["bb", "c"]]),
    ("qemu: -device other: no", [["a", "b"], ["bb", "c"]]),
    ("qemu: -device a: one\nqemu: -device b: two", [["a", "b"], ["bb", "c"]]),
])  # fmt: skip
def test_whom_a_refusal_names_goes_first(said: str, parts: list[list[str]]) -> None:
    assert names(parted([case(name) for name in ("a", "b", "bb", "c")], said)) == parts


def test_a_group_ends_in_its_members() -> None:
    left, alone = [[case(f"d{n}") for n in range(SIZE)]], []
    while left:
        group = left.pop()
        left += [part for part in parted(group, "") if len(part) > 1]
        alone += [part[0].candidate.text for part in parted(group, "") if len(part) == 1]
    assert sorted(alone) == sorted(f"d{n}" for n in range(SIZE))
