# SPDX-License-Identifier: Apache-2.0
"""The document's AER story on the reference emulator, explained by running it: to the register, its property, its cure.

QEMU 8.0 has no property for what it did; 8.0.1 has it off for old machine types (hw_compat_7_2 of QEMU 8.0.1).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from emulated import STRICT, run_matrix, write_matrix

from migmatrix.harness.explain import ExplainOptions, explain_run, problems
from migmatrix.harness.explain.explain_run import load_all
from migmatrix.harness.store import RunStore
from migmatrix.harness.stored.show import find_cell
from migmatrix.harness.trials.records import Side

if TYPE_CHECKING:
    from pathlib import Path

    from migmatrix.harness.explain import Explanation

pytestmark = pytest.mark.timeout(300)
LINE = '{ "pci-device", "x-pcie-err-unc-mask", "off" } in hw_compat_7_2, where QEMU has it since 8.0.1'
MARK = "-global pcie-root-port.x-pcie-err-unc-mask=on"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored run of 7.2, 8.0 and 8.0.1; its matrix is gone."""
    root = tmp_path_factory.mktemp("aer")
    matrix = write_matrix(root, ["7.2", "8.0", "8.0.1"])
    out = run_matrix(matrix, root / "store", root / "out")
    matrix.unlink()
    return out


def explained(out: Path, cell: str) -> Explanation:
    """One cell of the run, explained; what is kept in the run is what was told."""
    found: list[Explanation] = []
    with RunStore.open(out) as opened:
        wanted = [find_cell(opened, f"pc-q35-7.2/pcie-root-port/{cell}/snapshot/paused")]
        asyncio.run(explain_run(opened, wanted, ExplainOptions(out.parent / "store"), print, found.append))
    assert found[0] in load_all(out)
    return found[0]


def test_a_build_without_the_property_is_explained_by_the_one_that_has_it(run: Path) -> None:
    found = explained(run, "qemu-8.0>qemu-7.2")
    place = found.where[0]
    assert place.name.endswith("Uncorrectable Error Mask")
    assert (place.source, place.destination) == ("0x2400000", "0x0")
    (cure,) = found.cures
    assert (cure.side, cure.build, cure.instead_of) == (Side.SOURCE, "qemu-8.0.1", "qemu-8.0")
    assert (cure.healthy.value, cure.broken.value) == ("off", "on")
    assert not found.fix.repairable
    assert found.fix.compat.startswith(LINE)
    assert found.fix.stuck_guest == f"it cannot go to qemu-7.2; it can go to qemu-8.0.1 with {MARK}"
    assert found.fix.new_guests == "start guests on qemu-8.0.1 instead of qemu-8.0"
    assert any("ended between 8.0.0 and 8.0.1 (a point release" in note for note in found.fix.caveats)
    assert found.kind == "pair: qemu-8.0 > qemu-7.2, qemu-8.0.1"
    assert found.static == "static tools do not see it", "a default that changed stands in no table"


def test_a_guest_started_with_the_defect_is_taken_with_the_property_on(run: Path) -> None:
    found = explained(run, "qemu-8.0>qemu-8.0.1")
    (remedy,) = found.remedies
    assert (remedy.side, [s.text for s in remedy.settings]) == (
        Side.DESTINATION,
        ["pcie-root-port.x-pcie-err-unc-mask=on"],
    )
    assert remedy.owners == ("pci-device",)
    assert {row.after for row in remedy.rows} == {"pass", "unsupported"}  # 7.2 has no such property
    assert found.fix.stuck_guest == f"start qemu-8.0.1 with {MARK}"
    assert found.static.startswith("static tools see it (tables: LATE     pci-device.x-pcie-err-unc-mask")
    assert found.fix.compat.startswith("none: ")


def test_each_direction_is_a_problem_of_its_own(run: Path) -> None:
    with RunStore.open(run) as opened:
        kinds = {
            problem.kind for problem in problems(list(opened.results()))
        }  # in the order in which cells ended
    assert kinds == {"pair: qemu-8.0 > qemu-7.2, qemu-8.0.1", "pair: qemu-7.2, qemu-8.0.1 > qemu-8.0"}


def test_a_forgotten_table_line_is_found_in_the_tables(tmp_path: Path) -> None:
    """7.2.0 forgot the vectors of virtio-rng; compat/hw_compat_7_1.yaml has had the line since 7.2.22."""
    matrix = write_matrix(
        tmp_path,
        ["7.1", "7.2"],
        machines=["pc-q35-7.1"],
        defaults={"args": STRICT[:3]},
        profiles={"define": {"rng": {"args": ["-device", "virtio-rng-pci"]}}},
        paths={"pairs": "none", "explicit": ["qemu-7.1>qemu-7.2"]},
    )
    out = run_matrix(matrix, tmp_path / "store", tmp_path / "out")
    found: list[Explanation] = []
    with RunStore.open(out) as opened:
        wanted = [find_cell(opened, "qemu-7.1>qemu-7.2")]
        asyncio.run(explain_run(opened, wanted, ExplainOptions(tmp_path / "store"), print, found.append))
    told = [(r.side, r.basis, [s.text for s in r.settings]) for r in found[0].remedies]
    assert told == [
        (Side.DESTINATION, "difference", ["virtio-rng-pci.vectors=0"]),
        (Side.SOURCE, "difference", ["virtio-rng-pci.vectors=2"]),
    ]
    assert '{ "virtio-rng-pci", "vectors", "0" } in hw_compat_7_1' in found[0].fix.compat
    assert {row.after for remedy in found[0].remedies for row in remedy.rows} == {"pass"}
