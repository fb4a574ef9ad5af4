# SPDX-License-Identifier: Apache-2.0
"""Mistakes in compat tables: each rule on a small table, and what it says of QEMU's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from emulated import write_matrix
from typer.testing import CliRunner

from migmatrix.harness.commands.main import app
from migmatrix.harness.compat.effective import TypeFacts
from migmatrix.harness.compat.lint import lint_binary, lint_history, lint_tables
from migmatrix.harness.compat.tables import Entry, Table, read
from migmatrix.harness.errors import UserError

COMPAT = Path(__file__).parents[3] / "compat"


def tables(**versions: list[Entry]) -> dict[str, Table]:
    """Tables by version, newest first, as `compat_tables.read` has them."""
    found = [
        Table(name.removeprefix("v").replace("_", "."), tuple(entries)) for name, entries in versions.items()
    ]
    return {table.version: table for table in found}


def rules(found: dict[str, Table]) -> list[tuple[str, str]]:
    return [(finding.rule, finding.table) for finding in lint_tables(found)]


@pytest.mark.parametrize("shipped", ["8.0.1", "8.0.50", "9.0.50"])
def test_an_entry_that_missed_a_release_is_late(shipped: str) -> None:
    assert rules(tables(v7_2=[Entry("a", "p", "off", shipped=shipped)])) == [("late", "7.2")]


@pytest.mark.parametrize("shipped", ["", "7.2.50", "7.2.93", "8.0.0", "8.0"])
def test_an_entry_of_its_own_cycle_is_not(shipped: str) -> None:
    assert rules(tables(v7_2=[Entry("a", "p", "off", shipped=shipped)])) == []


def test_the_same_property_twice() -> None:
    twice = [Entry("a", "p", "on"), Entry("a", "p", "off")]
    assert rules(tables(v7_2=twice)) == [("duplicate", "7.2")]
    boards = [Entry("a", "p", "on", boards=("pc-q35",)), Entry("a", "p", "off", boards=("pc-i440fx",))]
    assert rules(tables(v7_2=boards)) == []


def test_a_later_table_has_it_too() -> None:
    assert rules(tables(v8_0=[Entry("a", "p", "on")], v7_2=[Entry("a", "p", "true")])) == [
        ("repeated", "7.2")
    ]
    other = tables(v8_0=[Entry("a", "p", "on")], v7_2=[Entry("a", "p", "off")])
    (finding,) = lint_tables(other)
    assert (finding.rule, finding.table, finding.counts) == ("override", "7.2", False)


def test_unknown_names_are_told_apart() -> None:
    found = tables(v7_2=[Entry("nic", "tso", "off"), Entry("nic", "tos", "off"), Entry("sic", "tso", "off")])
    types = {"nic": TypeFacts(frozenset({"nic"}), {"tso": "on"}), "sic": TypeFacts(frozenset(), {})}
    told = {f.entry: (f.rule, f.counts) for f in lint_binary(found, types, "new")}
    hidden = lint_binary(tables(v7_2=[Entry("nic", "legacy-tso", "off")]), types, "new")
    assert not list(hidden), "releases up to 10.0 do not list such names"
    assert told == {"nic.tos=off": ("unknown-property", True), "sic.tso=off": ("unknown-device", False)}


def test_a_property_that_a_newer_release_lacks_came_later_than_its_table() -> None:
    """As host_uso in 8.2: in the table of 8.0, although 8.1 does not know the property."""
    found = tables(v8_1=[Entry("nic", "new", "off")], v8_0=[Entry("nic", "uso", "off")])
    older = [
        ("qemu-8.1", "8.1.5", {"nic": TypeFacts(frozenset({"nic"}), {"tso": "on"})}),
        ("qemu-8.0", "8.0.0", {"nic": TypeFacts(frozenset({"nic"}), {"tso": "on"})}),
    ]
    (finding,) = lint_history(found, older)
    assert (finding.rule, finding.table, finding.entry) == ("wrong-table", "8.0", "nic.uso=off")
    assert "belongs in hw_compat_8_1 or later" in finding.message


def test_qemus_own_tables_have_the_late_entries_that_are_known() -> None:
    late = {f.entry for f in lint_tables(read(COMPAT)) if f.rule == "late"}
    assert "pci-device.x-pcie-err-unc-mask=off" in late
    assert "migration.x-preempt-pre-7-2=true" not in late, "caught before 8.0 was out"


def test_a_build_is_checked_against_itself_and_older_ones(tmp_path: Path) -> None:
    matrix = write_matrix(tmp_path, ["8.0", "8.0.1"])
    words = ["-f", str(matrix), "--tables", str(COMPAT), "--store", str(tmp_path / "store"), "--json"]
    done = CliRunner().invoke(app(), ["compat", "lint", "qemu-8.0.1", *words])
    assert done.exit_code == 1, done.output
    found = {(f["rule"], f["entry"]) for f in json.loads(done.stdout)}
    assert ("late", "pci-device.x-pcie-err-unc-mask=off") in found
    assert ("wrong-table", "pci-device.x-pcie-err-unc-mask=off") in found
    assert not any(entry.startswith("virtio-net-device.host_uso") for _, entry in found), "8.0.1 has none"


@pytest.mark.parametrize("words", [["lint"], ["diff", "qemu-8.0", "qemu-8.0.1", "--machine", "pc-q35-7.2"]])
def test_a_directory_without_tables_gives_no_answer(tmp_path: Path, words: list[str]) -> None:
    """An answer of "nothing found" from no tables at all was wrong, and exit 0."""
    matrix = write_matrix(tmp_path, ["8.0", "8.0.1"])
    options = ["-f", str(matrix), "--store", str(tmp_path / "store"), "--tables", str(tmp_path / "compat")]
    done = CliRunner().invoke(app(), ["compat", *words, *options])
    assert isinstance(done.exception, UserError)
    assert "no directory of compat tables" in str(done.exception)


def test_what_is_asked_of_a_build_alone_does_not_use_its_arguments(tmp_path: Path) -> None:
    """An empty machine has no bus for a device, so that a build with one ended in a traceback."""
    port = {"provider": "emulator", "release": "8.0", "args": ["-device", "pcie-root-port"]}
    matrix = write_matrix(tmp_path, [], builds={"a": port, "b": {"provider": "emulator", "release": "8.0.1"}})
    words = ["-f", str(matrix), "--tables", str(COMPAT), "--store", str(tmp_path / "store"), "--json"]
    done = CliRunner().invoke(app(), ["compat", "lint", "a", *words])
    assert done.exit_code == 1, done.output
    assert json.loads(done.stdout)
