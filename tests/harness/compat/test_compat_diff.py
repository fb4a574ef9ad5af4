# SPDX-License-Identifier: Apache-2.0
"""What two builds set differently for a machine type, and whether static tools would have seen a failure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from emulated import run_matrix, write_matrix
from typer.testing import CliRunner

from migmatrix.harness.builds import BuildFacts, MachineType, PreparedBuild
from migmatrix.harness.commands.main import app
from migmatrix.harness.compat.diff import Differing, differing, involved
from migmatrix.harness.compat.tables import Entry, Table

if TYPE_CHECKING:
    from typer.testing import Result

COMPAT = Path(__file__).parents[3] / "compat"
MACHINE = "pc-q35-7.2"


def build(version: str) -> PreparedBuild:
    facts = BuildFacts(version, version, "", (MachineType(MACHINE),), (), ())
    return PreparedBuild(f"qemu-{version}", "emulator", "", facts, "/qemu")


def told(old: list[Entry], new: list[Entry], table: str, versions: tuple[str, str]) -> list[tuple[str, bool]]:
    one, two = ({table: Table(table, tuple(entries))} for entries in (old, new))
    found = differing(build(versions[0]), one, build(versions[1]), two, MACHINE)
    return [(f"{d.a}/{d.b}", d.expected) for d in found]


def test_what_the_newer_build_undoes_is_expected() -> None:
    assert told([], [Entry("a", "p", "off")], "8.0", ("8.0.1", "8.2.0")) == [("None/off", True)]


def test_what_an_older_table_got_afterwards_is_late() -> None:
    entry = [Entry("a", "p", "off", shipped="8.0.1")]
    assert told([], entry, "7.2", ("8.0.0", "8.0.1")) == [("None/off", False)]
    assert told(entry, [], "7.2", ("8.0.1", "8.2.0")) == [("off/None", False)], "it was dropped"


def test_another_value_is_late_and_the_same_one_in_other_words_is_none() -> None:
    on, off = [Entry("a", "p", "on")], [Entry("a", "p", "off")]
    assert told(on, off, "7.2", ("8.0.1", "8.2.0")) == [("on/off", False)]
    assert told(on, [Entry("a", "p", "true")], "7.2", ("8.0.1", "8.2.0")) == []


@pytest.mark.parametrize(
    ("device", "names"),
    [
        ("0000:00:02.0/virtio-net", {"pci-device", "virtio-net-pci"}),
        ("ipmi-bmc-sim", set()),  # no PCI device
        ("", set()),  # a crash names none
    ],
)
def test_which_differences_are_about_a_device(device: str, names: set[str]) -> None:
    rows = [
        Differing(name, "p", "7.2", None, "off", False) for name in ("pci-device", "virtio-net-pci", "nvme")
    ]
    undone = Differing("virtio-net-device", "p", "10.1", None, "off", True)
    assert {d.device for d in involved((*rows, undone), device)} == names


def diff(tmp_path: Path, one: str, two: str, *words: str) -> Result:
    matrix = write_matrix(tmp_path, ["7.2", "8.0", "8.0.1"])
    options = ["-f", str(matrix), "--tables", str(COMPAT), "--store", str(tmp_path / "store")]
    return CliRunner().invoke(app(), ["compat", "diff", one, two, "--machine", MACHINE, *options, *words])


def test_the_fix_of_8_0_1_is_the_only_late_entry(tmp_path: Path) -> None:
    done = diff(tmp_path, "qemu-8.0", "qemu-8.0.1", "--json")
    assert done.exit_code == 1, done.output
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    (row,) = rows
    assert (row["device"], row["name"]) == ("pci-device", "x-pcie-err-unc-mask")
    assert (row["a"], row["b"], row["expected"]) == (None, "off", False)


def test_the_mistakes_of_a_user_are_said(tmp_path: Path) -> None:
    done = diff(tmp_path, "qemu-8.0", "qemu-8.3")
    assert "unknown build 'qemu-8.3'" in str(done.exception)


@pytest.mark.parametrize(("releases", "seen"), [(["8.0", "8.0.1"], True), (["7.2", "8.0"], False)])
def test_red_cells_are_marked_with_what_static_tools_see(
    tmp_path: Path, releases: list[str], seen: bool
) -> None:
    """8.0 and 8.0.1 differ by an entry; 7.2 and 8.0 only by a default, which no table and no schema tells."""
    store = tmp_path / "store"
    run = run_matrix(write_matrix(tmp_path, releases), store, tmp_path / "run")
    done = CliRunner().invoke(
        app(), ["compat", "static", str(run), "--tables", str(COMPAT), "--store", str(store), "--json"]
    )
    assert done.exit_code == 0, done.output
    marks = json.loads(done.stdout)
    assert len(marks) == 2, "both directions are red"
    assert {mark["seen"] for mark in marks.values()} == {seen}
