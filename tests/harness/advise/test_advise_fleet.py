# SPDX-License-Identifier: Apache-2.0
"""A fleet with one bad release: it is left out of the order, its guests are found and brought home."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from emulated import MARK, ROOT_PORT, run_matrix, write_matrix
from typer.testing import CliRunner

from migmatrix.harness.commands.advise import app
from migmatrix.harness.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

pytestmark = pytest.mark.slow


def fleet(run: Path, store: Path, directory: Path, *words: str, **data: Any) -> Result:
    file = directory / "fleet.yaml"
    file.write_text(json.dumps(data))
    return CliRunner().invoke(app, ["fleet", str(file), str(run), "--store", str(store), *words])


def test_the_bad_release_is_left_out_and_its_guests_are_marked(
    aer_run: Path, aer_store: Path, tmp_path: Path
) -> None:
    builds = ["qemu-8.2", "qemu-8.0", "qemu-7.2", "qemu-8.0.1"]
    done = fleet(aer_run, aer_store, tmp_path, "--json", builds=builds)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["order"] == ["qemu-7.2", "qemu-8.0.1", "qemu-8.2"]
    (left,) = found["left_out"]
    assert (left["build"], left["why"]) == ("qemu-8.0", "pci-config pcie-root-port 0x10a")
    assert left["route"] == "qemu-7.2>qemu-8.0"
    assert [(r["lower"], r["upper"], r["came_up"], r["started"]) for r in found["rungs"]] == [
        ("qemu-7.2", "qemu-8.0.1", [], []),
        ("qemu-8.0.1", "qemu-8.2", [], []),
    ]
    states = {cohort["born_on"]: cohort["state"] for cohort in found["cohorts"]}
    assert states == {"qemu-7.2": "free", "qemu-8.0": "marked", "qemu-8.0.1": "free"}
    marked = next(c for c in found["cohorts"] if c["state"] == "marked")["path"]
    assert [step["build"] for step in marked["route"]] == ["qemu-8.0", "qemu-8.0.1", "qemu-8.2"]
    assert marked["proved_now"]


def test_guests_that_nothing_takes_are_stranded_and_the_exit_code_says_so(
    aer_run: Path, aer_store: Path, tmp_path: Path
) -> None:
    done = fleet(aer_run, aer_store, tmp_path, "--longest", "1", builds=["qemu-7.2", "qemu-8.0"])
    assert done.exit_code == 1
    assert "stranded: started on qemu-7.2" in done.stdout
    assert "until the guest is powered off" in done.stdout
    assert MARK not in done.stdout


def test_a_stranded_guest_is_told_which_builds_take_it(
    aer_run: Path, aer_store: Path, tmp_path: Path
) -> None:
    done = fleet(aer_run, aer_store, tmp_path, builds=["qemu-7.2", "qemu-8.0", "qemu-8.0.1"], goal="qemu-8.0")
    assert done.exit_code == 1
    assert "rescue: it stays on qemu-7.2, or goes to qemu-8.0.1 until" in done.stdout


def test_guests_that_nothing_takes_hold_nobody_else_up(tmp_path: Path) -> None:
    """NVMe does not migrate in these releases; the order is that of the others."""
    nvme = {"args": ["-device", "nvme,serial=a"]}
    define = {"pcie-root-port": ROOT_PORT, "nvme": nvme}
    store = tmp_path / "store"
    matrix = write_matrix(tmp_path, ["7.2", "8.0.1", "8.2"], profiles={"define": define})
    run = run_matrix(matrix, store, tmp_path / "run")
    done = fleet(run, store, tmp_path, "--json", builds=["qemu-7.2", "qemu-8.0.1", "qemu-8.2"])
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["order"] == ["qemu-7.2", "qemu-8.0.1", "qemu-8.2"]
    stranded = [c for c in found["cohorts"] if c["state"] == "stranded"]
    assert {c["path"]["profile"] for c in stranded} == {"nvme"}
    assert [c["refuge"] for c in stranded] == [[], []]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"builds": ["qemu-7.2", "qemu-9"]}, "the run has no build 'qemu-9'"),
        ({"builds": ["qemu-7.2"], "goal": "qemu-8.2"}, "is none of the builds"),
        ({"builds": ["qemu-7.2"], "machines": ["pc-i440fx-*"]}, "no machine and profile"),
        ({"builds": ["qemu-7.2"], "machine": ["x"]}, "unknown key 'machine'"),
    ],
)
def test_mistakes_of_a_fleet_file_have_a_place(
    aer_run: Path, aer_store: Path, tmp_path: Path, data: dict[str, Any], message: str
) -> None:
    done = fleet(aer_run, aer_store, tmp_path, **data)
    assert isinstance(done.exception, ConfigError)
    assert "fleet.yaml:1:" in str(done.exception)
    assert message in str(done.exception)
