# SPDX-License-Identifier: Apache-2.0
"""The order of versions, their lines, and the names of tables."""

from __future__ import annotations

import pytest

from migmatrix.harness.releases import (
    hw_compat_name,
    line,
    machine_parts,
    table_line,
    tells_compat_props,
    type_key,
    version_key,
)


@pytest.mark.parametrize(
    ("version", "key", "of_line"),
    [
        ("10.0.13", (10, 0, 13), (10, 0)),
        ("7.2", (7, 2), (7, 2)),
        ("9", (9,), ()),
        ("7.2.22 (Debian 1:7.2+dfsg-7+deb12u13)", (7, 2, 22), (7, 2)),
        ("9.0+pve1", (9, 0), (9, 0)),
        ("8.2.0-rc4", (8, 2, 0), (8, 2)),
        ("rhel9.6.0", (9, 6, 0), ()),  # numbers of RHEL, not of QEMU
        ("none", (), ()),
        ("microvm", (), ()),
        ("", (), ()),
        ("(9.1)", (), ()),
    ],
)
def test_what_a_version_text_means(version: str, key: tuple[int, ...], of_line: tuple[int, ...]) -> None:
    assert version_key(version) == key
    assert line(version) == of_line


def test_versions_are_ordered_by_their_numbers() -> None:
    mixed = ["10.0", "9.2.4 (Debian)", "10.0.13", "none", "9.0+pve1", "7.2.22"]
    assert sorted(mixed, key=version_key) == [
        "none",
        "7.2.22",
        "9.0+pve1",
        "9.2.4 (Debian)",
        "10.0",
        "10.0.13",
    ]


def test_versions_of_one_vendor_are_ordered_among_themselves() -> None:
    assert version_key("rhel8.6.0") < version_key("rhel9.6.0") < version_key("rhel10.0.0")


@pytest.mark.parametrize("version", ["7.2", "7.2.22", "7.2.22 (Debian 1:7.2+dfsg)"])
def test_a_table_is_named_after_the_line(version: str) -> None:
    assert hw_compat_name(version) == "hw_compat_7_2"


@pytest.mark.parametrize("version", ["", "9", "rhel9.6.0"])
def test_no_table_is_named_after_what_is_of_no_line(version: str) -> None:
    with pytest.raises(ValueError, match=f"version '{version}' is of no line"):
        hw_compat_name(version)


@pytest.mark.parametrize(
    ("version", "tells"),
    [("9.0.4", False), ("9.1.0", True), ("10.0.13", True), ("rhel9.6.0", False), ("", False)],
)
def test_compat_properties_are_told_since_9_1(version: str, tells: bool) -> None:
    assert tells_compat_props(version) is tells


@pytest.mark.parametrize(
    ("machine", "family", "version"),
    [
        ("pc-q35-7.2", "pc-q35", "7.2"),
        ("pc-q35-rhel9.6.0", "pc-q35", "rhel9.6.0"),
        ("pc-i440fx-jammy-v2", "pc-i440fx", "jammy-v2"),
        ("pc-q35-9.0+pve1", "pc-q35", "9.0+pve1"),
        ("virt-rhel9.4.0", "virt", "rhel9.4.0"),
        ("pseries-2.12-sxxm", "pseries", "2.12-sxxm"),
        ("s390-ccw-virtio-rhel9.6.0", "s390-ccw-virtio", "rhel9.6.0"),
        ("xenfv-4.2", "xenfv", "4.2"),
        ("pc-1.3", "pc", "1.3"),
        ("mps2-an385", "mps2-an385", ""),
        *((name, name, "") for name in ("microvm", "isapc", "none", "virt", "raspi3b", "")),
    ],
)
def test_a_machine_type_is_a_family_and_perhaps_a_version(machine: str, family: str, version: str) -> None:
    assert machine_parts(machine) == (family, version)


def test_tables_are_those_of_qemus_own_versions() -> None:
    known = [m for m in ("pc-q35-7.2", "pc-q35-9.0+pve1", "pc-q35-rhel9.6.0", "microvm") if table_line(m)]
    assert known == ["pc-q35-7.2", "pc-q35-9.0+pve1"]


def test_versions_of_a_family_are_in_order_vendors_first() -> None:
    mixed = ["10.0", "9.0+pve1", "9.1", "rhel9.6.0", "jammy", "9.0", "rhel10.0.0", "jammy-v2", "9.0+pve0"]
    assert sorted(mixed, key=type_key) == [
        *("jammy", "jammy-v2", "rhel9.6.0", "rhel10.0.0", "9.0", "9.0+pve0", "9.0+pve1", "9.1", "10.0"),
    ]
