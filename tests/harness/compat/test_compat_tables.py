# SPDX-License-Identifier: Apache-2.0
"""Compat tables: from what a build lists to files, and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from migmatrix.harness.builds import BuildFacts, PreparedBuild
from migmatrix.harness.compat.effective import tables_of
from migmatrix.harness.compat.extract import check, write
from migmatrix.harness.compat.tables import (
    CompatProps,
    applied,
    differences,
    file_name,
    merge,
    read,
    render,
    split,
)
from migmatrix.harness.errors import UserError

SEEN: CompatProps = {
    "none": [],
    "pc-q35-10.0": [("iommu", "bits", "39")],
    "pc-q35-9.2": [("iommu", "bits", "39"), ("card", "vectors", "0"), ("x86_64-cpu", "old", "off")],
    "pc-i440fx-10.0": [],
    "pc-i440fx-9.2": [("card", "vectors", "0"), ("x86_64-cpu", "old", "off")],
}


def _written(directory: Path) -> Path:
    for version, table in split(SEEN).items():
        (directory / file_name(version)).write_text(render(table, "test"), encoding="utf-8")
    return directory


def test_files_say_what_the_build_said(tmp_path: Path) -> None:
    tables = read(_written(tmp_path))
    assert list(tables) == ["", "9.2"]
    assert tables[""].entries[0].boards == ("pc-q35",)
    assert [e.value for e in tables["9.2"].entries] == ["0", "off"]
    assert differences(tables, SEEN, "10.0.3") == []
    assert "pc_entries" in (tmp_path / "hw_compat_9_2.yaml").read_text()


def test_a_difference_is_named(tmp_path: Path) -> None:
    tables = read(_written(tmp_path))
    seen = SEEN | {"pc-q35-9.2": [*SEEN["pc-q35-9.2"], ("card", "speed", "1")]}
    assert differences(tables, seen, "10.0") == ["pc-q35-9.2: missing card.speed"]


def test_writing_again_keeps_life_times(tmp_path: Path) -> None:
    path = _written(tmp_path) / "hw_compat_9_2.yaml"
    path.write_text(path.read_text().replace('value: "0"', 'value: "0", shipped: "10.0.1", note: "why"'))
    with path.open("a") as out:
        out.write('  - {device: "gone", property: "p", value: "1", until: "10.0"}\n')
    again = merge(read(tmp_path)["9.2"], split(SEEN)["9.2"])
    assert [(e.device, e.shipped, e.note) for e in again.entries] == [
        ("card", "10.0.1", "why"), ("x86_64-cpu", "", ""), ("gone", "", ""),
    ]  # fmt: skip


def test_lists_that_do_not_continue_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="do not begin with"):
        split({"pc-q35-10.0": [("a", "b", "c")], "pc-q35-9.2": [], "pc-i440fx-10.0": [], "pc-i440fx-9.2": []})


def test_every_committed_value_is_text_and_stands_once() -> None:
    for table in read(Path("compat")).values():
        assert all(isinstance(v, str) for e in table.entries for v in e.fact())
        keys = [(e.device, e.property, e.boards) for e in table.entries if not e.until]
        assert len(keys) == len(set(keys)), table.version


def test_the_tables_of_the_program_are_read_wherever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no ``compat`` below the current directory; no answer may rest on that."""
    monkeypatch.chdir(tmp_path)
    assert "7.2" in read()
    old = PreparedBuild("old", "test", "", BuildFacts("d", "7.2.22", "", (), (), ()), "/nowhere")
    assert tables_of(old) == read()


def test_a_directory_without_tables_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no compat tables"):
        read(tmp_path)
    with pytest.raises(UserError, match="no directory of compat tables"):
        read(tmp_path / "missing")
    file = _written(tmp_path) / "base.yaml"
    with pytest.raises(UserError, match="no directory of compat tables"):
        read(file)


def test_tables_are_written_into_a_new_directory(tmp_path: Path) -> None:
    new = PreparedBuild("new", "test", "", BuildFacts("d", "10.0.3", "", (), (), ()), "/nowhere")
    written = write(SEEN, new, tmp_path / "new" / "compat")
    assert [path.name for path in written] == ["base.yaml", "hw_compat_9_2.yaml"]
    assert check(SEEN, new, tmp_path / "new" / "compat") == []
    with pytest.raises(UserError, match="no directory"):
        check(SEEN, new, tmp_path / "other")


def test_a_type_of_no_version_of_qemu_has_no_entries() -> None:
    tables = split(SEEN)
    names = ("microvm", "isapc", "none", "pc-q35-rhel9.6.0", "pc-i440fx-jammy-v2", "virt")
    assert not any(applied(tables, name, "10.0.3") for name in names)
    assert [e.fact() for _, e in applied(tables, "pc-q35-9.2+pve1", "10.0.3")] == SEEN["pc-q35-9.2"]


def test_types_of_vendors_change_no_table() -> None:
    more: CompatProps = {"pc-q35-rhel9.6.0": [("card", "vectors", "9")], "pc-q35-9.2+pve1": [], "microvm": []}
    assert split(SEEN | more) == split(SEEN)
    assert differences(split(SEEN), SEEN | more | {"pc-q35-9.2+pve1": SEEN["pc-q35-9.2"]}, "10.0.3") == []


def test_a_build_without_versioned_pcs_has_no_tables() -> None:
    assert split({"virt-10.0": [("card", "vectors", "9")], "pc-q35-rhel9.6.0": [], "none": []}) == {}
    assert list(split({m: p for m, p in SEEN.items() if "i440fx" not in m})) == ["", "9.2"]
