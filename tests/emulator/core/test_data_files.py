# SPDX-License-Identifier: Apache-2.0
"""Releases made from data files of one's own: life-times, versions, tables, and files that are not what they should be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.release import Release, data_root
from migmatrix.emulator.release_data import effective, read_facts, releases
from migmatrix.vmstate.device.lifetime import release_key

if TYPE_CHECKING:
    from collections.abc import Callable

VERSIONS: Final = ["8.0", "8.1", "8.2", "9.0"]


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., str]:
    """A directory with the tables of this test; its path."""

    def write(board: dict[str, Any] | None = None, tables: dict[str, Any] | None = None, **more: Any) -> str:
        (tmp_path / "machines").mkdir()
        (tmp_path / "compat").mkdir()
        facts = {
            "releases": ["8.0", "8.1", "8.1.3", "8.2", "8.2.50", "9.0", "9.0.1"],
            "machine_versions": VERSIONS,
            "removal": {"since": "9.0", "years": 1},
            "deprecation": {"since": "8.1", "years": 1, "reason": "old"},
            "capabilities": ["always", {"name": "new", "since": "8.2"}, {"name": "gone", "until": "8.1"}],
            "parameters": {"plain": 5, "later": {"default": 7, "since": "9.0"}},
            **more,
        }
        boards = {"boards": {"box": {"first": "8.0", "description": "a box", "alias": "b", "default": True, "max_cpus": 4,
                                     "numa_mem_until": "8.0", "prefer_sockets_until": "8.1", **(board or {})}}}  # fmt: skip
        (tmp_path / "machines" / "releases.yaml").write_text(yaml.safe_dump(facts))
        (tmp_path / "machines" / "boards.yaml").write_text(yaml.safe_dump(boards))
        for name, table in (tables or {}).items():
            (tmp_path / "compat" / f"{name}.yaml").write_text(yaml.safe_dump(table))
        return str(tmp_path)

    return write


def release(root: str, name: str) -> Release:
    """A release of these files."""
    return Release(read_facts(name, root))


def rows(known: Release, machine: str) -> list[tuple[str, str]]:
    """(property, value) of a machine type's entries."""
    return [(entry.property, entry.value) for entry in known.compat_entries(known.machine_types[machine])]


@pytest.mark.parametrize(
    ("name", "version"),
    [("8.0", "8.0"), ("8.1", "8.1"), ("8.1.3", "8.1"), ("8.2", "8.2"), ("8.2.50", "9.0"), ("8.2.90", "9.0"), ("9.0.1", "9.0"),
     ("9.0.50", "9.0")],
)  # fmt: skip
def test_the_machine_version_of_a_release(name: str, version: str) -> None:
    """Development after X.Y has the next; behind the newest that is known there is none."""
    assert effective(name, VERSIONS) == version


@pytest.mark.parametrize(
    ("name", "versions", "deprecated"),
    [("8.0", ["8.0"], []), ("8.1", ["8.1", "8.0"], []), ("8.2", ["8.2", "8.1", "8.0"], []),
     ("9.0", ["9.0", "8.2", "8.1"], [])],
)  # fmt: skip
def test_versions_come_and_go(
    made: Callable[..., str], name: str, versions: list[str], deprecated: list[str]
) -> None:
    """8.0 is one year older than 9.0, by the numbers."""
    kinds = release(made(), name).machine_types
    assert [kind.version for kind in kinds.values()] == versions
    assert [kind.version for kind in kinds.values() if kind.deprecated] == deprecated
    assert [kind.name for kind in kinds.values() if kind.alias or kind.default] == [f"box-{versions[0]}"]


def test_what_is_old_says_why(made: Callable[..., str]) -> None:
    root = made(removal={"since": "9.0", "years": 2})
    assert [(k.version, k.deprecated) for k in release(root, "9.0").machine_types.values()] == [
        ("9.0", ""), ("8.2", ""), ("8.1", ""), ("8.0", "old"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "capabilities", "parameters"),
    [
        ("8.0", ["always", "gone"], {"plain": 5}),
        ("8.1", ["always"], {"plain": 5}),
        ("8.2", ["always", "new"], {"plain": 5}),
        ("9.0", ["always", "new"], {"plain": 5, "later": 7}),
    ],
)
def test_life_times(
    made: Callable[..., str], name: str, capabilities: list[str], parameters: dict[str, int]
) -> None:
    known = release(made(), name)
    assert (known.capabilities, known.parameters) == (capabilities, parameters)


def entry(prop: str, value: str, **more: Any) -> dict[str, Any]:
    """A row of a table."""
    return {"device": "d", "property": prop, "value": value, **more}


TABLES: Final = {
    "hw_compat_8_0": {"version": "8.0", "entries": [entry("a", "0"), entry("c", "0", shipped="8.2")]},
    "hw_compat_8_1": {
        "version": "8.1",
        "entries": [entry("a", "1"), entry("b", "1", until="9.0")],
        "pc_entries": [entry("p", "1"), entry("q", "1", boards=["other"])],
    },
}


@pytest.mark.parametrize(
    ("name", "machine", "found"),
    [
        ("8.0", "box-8.0", []),
        ("8.1", "box-8.1", []),
        ("8.1", "box-8.0", [("a", "0")]),
        ("8.1.3", "box-8.0", [("a", "0")]),
        ("8.2", "box-8.2", []),
        ("8.2", "box-8.1", [("a", "1"), ("b", "1"), ("p", "1")]),
        ("8.2", "box-8.0", [("a", "1"), ("b", "1"), ("p", "1"), ("a", "0"), ("c", "0")]),
        ("9.0", "box-8.1", [("a", "1"), ("p", "1")]),
    ],
)
def test_tables_add_up(
    made: Callable[..., str], name: str, machine: str, found: list[tuple[str, str]]
) -> None:
    """Newest first, so that the oldest wins; an entry counts from the release after its version, or from `shipped`."""
    assert rows(release(made(tables=TABLES), name), machine) == found


@pytest.mark.parametrize(("version", "most"), [("8.0", 4), ("8.1", 4), ("8.2", 64), ("9.0", 64)])
def test_limits_by_version(made: Callable[..., str], version: str, most: int) -> None:
    root = made(board={"max_cpus": {"8.0": 4, "8.2": 64}}, removal={"since": "9.0", "years": 9})
    kind = release(root, "9.0").machine_types[f"box-{version}"]
    assert kind.max_cpus == most
    assert kind.numa_mem_supported == (version == "8.0")
    assert kind.prefer_sockets == (version in {"8.0", "8.1"})


@pytest.mark.parametrize("name", ["7.2", "8.3", "", "9"])
def test_a_release_that_is_not_listed(made: Callable[..., str], name: str) -> None:
    known = "8.0, 8.1, 8.1.3, 8.2, 8.2.50, 9.0, 9.0.1"
    with pytest.raises(FatalError) as refused:
        read_facts(name, made())
    assert str(refused.value) == f"unknown release '{name}', known are {known}"


# -- the files that the emulator comes with ------------------------------------------------------------


def test_releases_are_listed_once_and_in_order() -> None:
    names = releases(data_root())
    assert names == sorted(set(names), key=release_key)
    assert {"5.2", "7.2", "10.0", "11.1"} <= set(names)


@pytest.mark.parametrize(
    "path", sorted(Path(data_root(), "compat").glob("*.yaml")), ids=lambda path: path.stem
)
def test_a_table_has_rows_of_text(path: Path) -> None:
    """Values are what a command line would say, so none is a number or a bool; no row is there twice."""
    table = yaml.safe_load(path.read_text())
    if table["version"]:
        assert path.stem == f"hw_compat_{table['version'].replace('.', '_')}"
    every = [row for part in ("entries", "pc_entries") for row in table.get(part) or ()]
    assert all(isinstance(row[key], str) for row in every for key in ("device", "property", "value"))
    assert set().union(*map(set, every)) <= {
        "device", "property", "value", "boards", "shipped", "until", "note", "source", "why", "seen"
    }  # fmt: skip
