# SPDX-License-Identifier: Apache-2.0
"""Explanations of real failures of real QEMU, each known from its sources or documentation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from debian import MATRICES

from migmatrix.harness.explain import ExplainOptions, explain_run
from migmatrix.harness.report import Progress
from migmatrix.harness.run.pipeline import RunOptions, execute, prepare_plan
from migmatrix.harness.store import RunStore, default_store
from migmatrix.harness.stored.show import find_cell
from migmatrix.harness.trials.records import Side

if TYPE_CHECKING:
    from pathlib import Path

    from migmatrix.harness.explain import Explanation

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(900)]


def explained(out: Path, matrix: str, cell: str, select: tuple[str, ...]) -> Explanation:
    """Run a part of a matrix and explain one of its cells."""
    from rich.console import Console

    store = default_store()
    file = MATRICES / matrix
    options = RunOptions(file=file, store=store, select=select, out=out / "run")
    execute(prepare_plan(options, print), options, Progress(Console(stderr=True)), print)
    found: list[Explanation] = []
    with RunStore.open(out / "run") as run:
        wanted = [find_cell(run, cell)]
        asyncio.run(explain_run(run, wanted, ExplainOptions(store), print, found.append))
    return found[0]


def test_aer_is_explained_to_the_register_and_its_property(tmp_path: Path) -> None:
    """hw_compat_7_2 of QEMU 8.0.1 has this property off: that is the fix that was really made."""
    cell = "pc-q35-7.2/pcie-root-port/aer-8.0>qemu-7.2/snapshot/paused"
    found = explained(tmp_path, "aer.yaml", cell, ("path=aer-8.0>*,qemu-*>*",))
    place = found.where[0]
    assert place.blamed
    assert "Uncorrectable Error Mask" in place.name
    assert int(place.source, 16) & 0x00400000
    assert place.destination == "0x0"
    (remedy,) = found.remedies
    assert remedy.side is Side.SOURCE
    assert [s.text for s in remedy.settings] == ["pcie-root-port.x-pcie-err-unc-mask=off"]
    assert {row.after for row in remedy.rows} == {"pass"}
    assert "hw_compat_7_2" in found.fix.compat
    assert "qemu-10.0 with -global pcie-root-port.x-pcie-err-unc-mask=on" in found.fix.stuck_guest
    assert found.hops <= 60


def test_a_ring_of_a_point_release_is_explained_and_no_table_line_is_claimed(tmp_path: Path) -> None:
    cell = "pc-q35-7.2/virtio-blk/qemu-10.0>qemu-11.1/snapshot/paused"
    select = ("machine=pc-q35-7.2", "profile=virtio-blk", "path=qemu-1*>qemu-1*")
    found = explained(tmp_path, "debian.yaml", cell, select)
    assert found.where[0].name == "virtio.queue[0].num"
    assert (found.where[0].source, found.where[0].destination) == ("0x400", "0x100")
    (remedy,) = found.remedies
    assert (remedy.side, remedy.basis) == (Side.DESTINATION, "number")
    assert remedy.settings[0].name == "queue-size"
    assert found.fix.compat.startswith("none: ")
    assert any("introduced between 10.0.2 and 10.0.13" in caveat for caveat in found.fix.caveats)
