# SPDX-License-Identifier: Apache-2.0
"""Machine types of vendors, of builds that know no others: run, explained and looked for as QEMU's own are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import vendor_emulator
from emulated import run_matrix, write_matrix

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
RHEL, UBUNTU, PROXMOX = "pc-q35-rhel9.6.0", "pc-i440fx-jammy-v2", "pc-q35-7.1+pve1"
LINE = '{ "pci-device", "x-pcie-err-unc-mask", "off" } in hw_compat_7_2, where QEMU has it since 8.0.1'


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vendor's 7.2, 8.0 and 8.0.1, of which 8.0 shows guests a register that the others hide."""
    root = tmp_path_factory.mktemp("vendor")
    releases = ("7.2", "8.0", "8.0.1")
    builds = {
        f"v{r}": {"provider": "binary", "path": str(vendor_emulator.install(root, r))} for r in releases
    }
    port = {"args": ["-device", "pcie-root-port,id=rp0"], "machines": [RHEL, PROXMOX]}
    bare = {"args": [], "machines": [UBUNTU]}
    return write_matrix(
        root,
        [],
        builds=builds,
        machines=[RHEL, UBUNTU, PROXMOX],
        profiles={"define": {"port": port, "bare": bare}},
        paths={"pairs": ["v7.2>v8.0", "v8.0>v7.2", "v7.2>v8.0.1", "v8.0.1>v7.2"]},
    )


@pytest.fixture(scope="module")
def run(matrix: Path) -> Path:
    return run_matrix(matrix, matrix.parent / "store", matrix.parent / "out")


def called(matrix: Path, *words: str) -> str:
    """What a command prints, which must end without a traceback and without a bug."""
    command = [sys.executable, "-m", "migmatrix", *words]
    if words[0] in ("explain", "bisect", "mutate"):
        command += ["--store", str(matrix.parent / "store")]
    done = subprocess.run(command, cwd=matrix.parent, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def test_failures_on_vendors_types_are_explained(matrix: Path, run: Path) -> None:
    found: list[dict[str, Any]] = json.loads(
        called(matrix, "explain", str(run), f"{RHEL}/port/v8.0>v7.2/snapshot/paused", "--json")
    )
    (cure,) = found[0]["cures"]
    assert (cure["build"], cure["instead_of"]) == ("v8.0.1", "v8.0")
    assert found[0]["fix"]["compat"].startswith(LINE)
    assert f"{RHEL}: no tables are known for such a type" in found[0]["static"]


@pytest.mark.usefixtures("run")
def test_the_first_bad_build_is_found_on_a_vendors_type(matrix: Path) -> None:
    cell = ("--machine", RHEL, "--profile", "port", "--source", "v7.2..v8.0", "--destination", "v7.2")
    assert f"{RHEL}/port/@>v7.2/snapshot/paused, source side: v8.0 (8.0.0) breaks it" in called(
        matrix, "bisect", "builds", "-f", str(matrix), *cell
    )


def test_table_tools_say_that_they_know_no_tables(matrix: Path, run: Path) -> None:
    none = f"{RHEL}: no tables are known for such a type"
    assert none in called(matrix, "compat", "static", str(run))
    said = called(matrix, "compat", "diff", "v7.2", "v8.0", "-f", str(matrix), "--machine", RHEL)
    assert said == f"v7.2 and v8.0 cannot be compared by tables for {RHEL}\n"
    knocked_out = called(matrix, "mutate", "-f", str(matrix), "--dry-run")
    assert PROXMOX in knocked_out
    assert RHEL not in knocked_out


def test_what_builds_share_of_a_family_is_planned_in_order(matrix: Path) -> None:
    """Vendors' own by their numbers, then QEMU's."""
    every = matrix.with_name("every.yaml")
    profiles: dict[str, Any] = {"define": {"bare": {"args": []}}}
    every.write_text(
        json.dumps(
            json.loads(matrix.read_text()) | {"machines": [{"common": "pc-q35"}], "profiles": profiles}
        )
    )
    plan = called(matrix, "plan", "-f", str(every))
    assert re.findall(r"^\d+\. (\S+)$", plan, re.MULTILINE) == ["pc-q35-rhel8.6.0", RHEL, PROXMOX]
