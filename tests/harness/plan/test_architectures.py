# SPDX-License-Identifier: Apache-2.0
"""Profiles name the architectures that they are for, and no guest goes from one architecture to another."""

from __future__ import annotations

from dataclasses import replace

import pytest
from synthetic import builds_of, matrix_of

from migmatrix.harness.errors import ConfigError, UserError
from migmatrix.harness.model import Profile
from migmatrix.harness.plan import make_plan
from migmatrix.harness.plan.records import Dropped

BOTH = {
    id_: replace(build, facts=replace(build.facts, target=target))
    for (id_, build), target in zip(builds_of("7.2", "10.0").items(), ("riscv64", "aarch64"), strict=True)
}
HERE, THERE = BOTH


def paths(profile: Profile) -> tuple[set[str], tuple[Dropped, ...]]:
    plan = make_plan(matrix_of(BOTH, profiles=(profile,)), BOTH)
    return {">".join(cell.path) for cell in plan.cells}, plan.dropped


def test_no_path_leads_to_another_architecture() -> None:
    walked, dropped = paths(Profile("bare", ()))
    assert walked == {f"{HERE}>{HERE}", f"{THERE}>{THERE}"}
    assert {(left.cells, left.reason) for left in dropped} == {
        (1, "qemu-7.2 runs guests of riscv64 and qemu-10.0 runs guests of aarch64: no guest goes from one to the other"),
        (1, "qemu-10.0 runs guests of aarch64 and qemu-7.2 runs guests of riscv64: no guest goes from one to the other"),
    }  # fmt: skip


def test_a_profile_is_for_its_architectures() -> None:
    walked, dropped = paths(Profile("bare", (), architectures=("riscv*",)))
    assert walked == {f"{HERE}>{HERE}"}
    assert Dropped("profile bare", "meant for riscv*", 1) in dropped


def test_what_a_build_does_not_say_suits_all() -> None:
    builds = builds_of("7.2")
    matrix = matrix_of(builds, profiles=(Profile("bare", (), architectures=("riscv64",)),))
    assert len(make_plan(matrix, builds).cells) == 1


def test_a_device_is_looked_for_in_builds_of_the_architecture() -> None:
    unknown = ("-device", "e1000f")
    with pytest.raises((ConfigError, UserError), match="device 'e1000f' is known to none"):
        paths(Profile("nic", unknown, architectures=("riscv64",)))
    walked, _ = paths(Profile("nic", unknown, architectures=("s390x",)))
    assert walked == set()
