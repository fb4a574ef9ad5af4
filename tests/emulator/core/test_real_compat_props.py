# SPDX-License-Identifier: Apache-2.0
"""Machine types and their compat entries, one by one and in order, against what two real builds list (`tests/data/compat`)."""

from __future__ import annotations

import gzip
import itertools
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from real_devices import release, small_machine

from migmatrix.vmstate.device.lifetime import release_key

if TYPE_CHECKING:
    from migmatrix.emulator.release import CompatEntry, MachineType

DATA: Final = Path(__file__).parents[2] / "data" / "compat"
BUILDS: Final = {"10.0.13": "10.0", "11.1.3": "11.1"}  # to release
Row = tuple[str, str, str]
# what the emulator has as properties, and QEMU as flags of the machine class (smbus_no_migration_support)
OURS: Final[dict[str, set[Row]]] = {
    "3.1": {("PIIX4_PM", "x-migrate-smbus", "off"), ("ICH9-SMB", "x-migrate-smbus", "off")},
}


@cache
def recorded(build: str) -> dict[str, list[Row]]:
    """Entries by machine type, as a real build has them."""
    found = json.loads(gzip.decompress((DATA / f"{build}.json.gz").read_bytes()))
    return {name: [(row[0], row[1], row[2]) for row in rows] for name, rows in found.items()}


def entries(build: str, name: str) -> list[CompatEntry]:
    """The emulator's entries of a machine type."""
    known = release(BUILDS[build])
    return known.compat_entries(known.machine_types[name])


def own(version: str) -> set[Row]:
    """Rows that only the emulator has, on a machine type of this version."""
    return {row for last, rows in OURS.items() if release_key(version) <= release_key(last) for row in rows}


CASES: Final = [(build, name) for build in BUILDS for name in recorded(build) if name.startswith("pc-")]


def version_of(name: str) -> str:
    """The version in a machine type's name."""
    return name.rpartition("-")[2]


@pytest.mark.parametrize("build", BUILDS)
def test_machine_types_are_the_real_ones(build: str) -> None:
    ours = {name for name, kind in release(BUILDS[build]).machine_types.items() if kind.version}
    assert ours == {name for name in recorded(build) if name.startswith("pc-")}


@pytest.mark.parametrize(("build", "name"), CASES)
def test_entries_are_the_real_ones_in_their_order(build: str, name: str) -> None:
    """The order matters: what is applied later wins, for one property and for a type and those derived from it."""
    rows = [(e.device, e.property, e.value) for e in entries(build, name)]
    extra = own(version_of(name))
    assert [row for row in rows if row not in extra] == recorded(build)[name]
    assert extra <= set(rows)


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("board", ["pc-q35", "pc-i440fx"])
def test_an_older_machine_type_has_all_entries_of_a_newer_one(build: str, board: str) -> None:
    """Tables add up: that of a version is applied to it and to all older ones."""
    names = sorted(
        (n for n in recorded(build) if n.startswith(board)), key=lambda n: release_key(version_of(n))
    )
    for older, newer in itertools.pairwise(names):
        assert set(entries(build, newer)) <= set(entries(build, older)), (older, newer)


@pytest.mark.parametrize("build", BUILDS)
def test_the_newest_machine_type_has_no_table(build: str) -> None:
    """Only what is no table of a version: what a board itself wants."""
    kind = release(BUILDS[build]).machine_types[f"pc-q35-{BUILDS[build]}"]
    assert kind.compat == ()
    assert len(entries(build, kind.name)) < 5


def last_values(build: str, name: str) -> dict[tuple[str, str], str]:
    """What of several entries for one property of one type wins."""
    return {(e.device, e.property): e.value for e in entries(build, name)}


@pytest.mark.parametrize(
    ("build", "name"),
    [c for c in CASES if version_of(c[1]) in {"2.4", "2.11", "3.1", "5.2"}],
)
def test_a_machine_has_what_its_last_entries_say(build: str, name: str) -> None:
    """Every device of the board itself; an entry for a type that its own type derives from may be overridden by a later."""
    made = small_machine(BUILDS[build], name)
    wanted = last_values(build, name)
    compared = 0
    for device in made.walk():
        for prop, value in device.props.items():
            if (device.type_name, prop) in wanted and prop not in device.explicit:
                owner, kind = device.find_property(prop) or pytest.fail(prop)
                assert owner is device
                assert value == kind.kind.parse(wanted[device.type_name, prop]), (device, prop)
                compared += 1
    assert compared


@pytest.mark.parametrize("build", BUILDS)
def test_there_is_enough_to_compare(build: str) -> None:
    found = recorded(build)
    assert len([n for n in found if n.startswith("pc-")]) >= 34
    assert max(len(rows) for rows in found.values()) > 60


# -- rules of names, by board -------------------------------------------------------------------------

RELEASES: Final = ("5.1", "5.2", "6.0", "6.2", "7.2", "8.0", "8.2", "9.1", "10.0", "11.1")


def versions(name: str, board: str) -> list[MachineType]:
    """A board's machine types, newest first."""
    return [kind for kind in release(name).machine_types.values() if kind.board == board]


@pytest.mark.parametrize("name", RELEASES)
@pytest.mark.parametrize(("board", "alias"), [("pc-q35", "q35"), ("pc-i440fx", "pc")])
def test_the_alias_is_the_newest(name: str, board: str, alias: str) -> None:
    kinds = versions(name, board)
    assert [kind.alias for kind in kinds] == [alias] + [""] * (len(kinds) - 1)
    assert release(name).machine_type(alias) is kinds[0]
    assert kinds == sorted(kinds, key=lambda kind: release_key(kind.version), reverse=True)


@pytest.mark.parametrize("name", RELEASES)
def test_one_machine_type_is_the_default(name: str) -> None:
    chosen = [kind.name for kind in release(name).machine_types.values() if kind.default]
    assert chosen == [f"pc-i440fx-{versions(name, 'pc-i440fx')[0].version}"]


@pytest.mark.parametrize("name", RELEASES)
@pytest.mark.parametrize("board", ["pc-q35", "pc-i440fx"])
def test_what_is_deprecated_is_the_oldest(name: str, board: str) -> None:
    """Since 9.1 QEMU marks what is older than three years; before, no versioned type of a PC that is here."""
    marked = [bool(kind.deprecated) for kind in versions(name, board)]
    assert marked == sorted(marked)
    assert any(marked) == (release_key(name) >= (9, 1))


@pytest.mark.parametrize("name", RELEASES)
def test_limits_grow_with_the_version(name: str) -> None:
    for board in ("pc-q35", "pc-i440fx"):
        limits = [kind.max_cpus for kind in versions(name, board)]
        assert limits == sorted(limits, reverse=True), board


@pytest.mark.parametrize("name", RELEASES)
def test_a_release_has_every_machine_type_of_the_one_before_it_or_removed_it(name: str) -> None:
    position = RELEASES.index(name)
    if not position:
        assert versions(name, "pc-q35")[0].version == name
        return
    before = {kind.name for kind in release(RELEASES[position - 1]).machine_types.values()}
    lost = before - set(release(name).machine_types)
    oldest = release_key(versions(name, "pc-q35")[-1].version)
    assert all(release_key(version_of(kind)) < oldest for kind in lost)
    assert bool(lost) == (name == "11.1"), "the first of these releases that removed any"
