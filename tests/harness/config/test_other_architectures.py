# SPDX-License-Identifier: Apache-2.0
"""The matrices of other architectures that come with the program."""

from __future__ import annotations

from pathlib import Path

import pytest

from migmatrix.harness.builds.debian import DebianSpec
from migmatrix.harness.config.matrix import load_matrix
from migmatrix.harness.known import load_known

ROOT = Path(__file__).parents[3]
BINARIES = {"riscv64": "qemu-system-riscv64", "arm64": "qemu-system-aarch64"}


@pytest.mark.parametrize("name", BINARIES)
def test_each_has_its_emulator_its_profiles_and_its_known_issues(name: str) -> None:
    matrix = load_matrix(ROOT / "matrices" / f"{name}.yaml")
    specs = [spec for spec in matrix.builds.values() if isinstance(spec, DebianSpec)]
    assert [spec.binary for spec in specs] == [BINARIES[name]] * 4
    assert len(matrix.profiles) >= 25
    assert matrix.pairs is None
    assert matrix.chains is not None
    assert matrix.known_issues is not None
    names = {profile.name for profile in matrix.profiles}
    for issue in load_known(matrix.known_issues):
        assert issue.owner and issue.link and issue.reason  # noqa: PT018 - one thing: it is explained
        told = {value for term in issue.selection.terms if term.key == "profile" for value in term.patterns}
        assert told and told <= names  # noqa: PT018


def test_s390x_has_its_emulator_and_its_profiles() -> None:
    matrix = load_matrix(ROOT / "matrices" / "s390x.yaml")
    specs = [spec for spec in matrix.builds.values() if isinstance(spec, DebianSpec)]
    assert [spec.binary for spec in specs] == ["qemu-system-s390x"] * 3
    assert len(matrix.profiles) >= 25
