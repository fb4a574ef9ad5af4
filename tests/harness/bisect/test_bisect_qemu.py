# SPDX-License-Identifier: Apache-2.0
"""Builds of real QEMU: which of them introduced each signature that is known from the Debian matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from debian import MATRICES

from migmatrix.harness.bisect import CellOptions, Kind, bisect_builds, sides
from migmatrix.harness.store import default_store

if TYPE_CHECKING:
    from pathlib import Path

    from migmatrix.harness.bisect import Answer

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(900)]


def bisect(out: Path, profile: str, path: str) -> list[Answer]:
    options = CellOptions(
        MATRICES / "debian.yaml", default_store(), path, "pc-q35-7.2", profile, out=out, command="migmatrix"
    )
    return bisect_builds(options, print)


def test_rings_came_with_a_point_release_of_the_source(tmp_path: Path) -> None:
    """10.0.2 > 11.1 passes and 10.0.13 > 11.1 fails: the same machine, another point release of 10.0."""
    (answer,) = bisect(tmp_path, "virtio-blk", "qemu-7.2..qemu-10.0>qemu-11.1")
    assert answer.finding.kind is Kind.FOUND
    (culprit,) = answer.finding.culprits
    assert answer.points[culprit].startswith("qemu-10.0 (1:10.0.13")
    assert answer.finding.signature == "virtio-ring virtio-blk vring.num"
    assert answer.side == "source side"


def test_ipmi_came_with_11_1(tmp_path: Path) -> None:
    (answer,) = bisect(tmp_path, "ipmi-isa", "qemu-7.2..qemu-11.1>qemu-7.2")
    assert answer.finding.kind is Kind.FOUND
    (culprit,) = answer.finding.culprits
    assert answer.points[culprit].startswith("qemu-11.1")
    assert answer.finding.signature == "section-version ipmi-bmc-sim"
    assert answer.side == "source side"


@pytest.mark.slow
def test_rings_need_the_change_of_both_sides(tmp_path: Path) -> None:
    answers = bisect(tmp_path, "virtio-blk", "qemu-10.0.2..qemu-10.0>qemu-10.0.2..qemu-11.1")
    assert sides(answers) == "it takes the change on the source side and the one on the destination side"
