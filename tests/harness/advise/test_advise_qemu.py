# SPDX-License-Identifier: Apache-2.0
"""The AER case on real QEMU, 10.0 with the register on as a stand-in for 8.0: stranded, rescued, advised and proved."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from debian import MATRICES
from emulated import MARK, run_matrix
from typer.testing import CliRunner

from migmatrix.harness.commands.advise import app
from migmatrix.harness.store import default_store

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("aer") / "run"
    return run_matrix(MATRICES / "aer-fleet.yaml", default_store(), out)


def ask(*words: str) -> Any:
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code in (0, 1), done.output
    return json.loads(done.stdout)


def test_the_stranded_guest_goes_on_with_its_mark_and_never_to_7_2(run: Path) -> None:
    words = ("path", str(run), "--from", "aer-8.0", "--machine", "pc-q35-7.2", "--profile", "pcie-root-port")
    (onward,) = ask(*words, "--to", "qemu-11.1", "--via", "qemu-10.0")
    marks = [[f"{s['type']}.{s['name']}={s['value']}" for s in step["settings"]] for step in onward["route"]]
    assert marks == [[], [MARK], [MARK]]
    assert (onward["proof"], onward["proved_now"]) == ("pass", True)
    assert {mark["without"] for mark in onward["marks"]} == {"fail"}
    (home,) = ask(*words, "--to", "qemu-7.2")
    assert not home["found"]
    assert any("bad-global" in blocker["signature"] for blocker in home["blockers"])


def test_the_bad_build_is_left_out_of_the_order_though_7_2_could_go_there(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text('{"builds": ["qemu-7.2", "aer-8.0", "qemu-10.0", "qemu-11.1"]}')
    found = ask("fleet", str(file), str(run))
    assert found["order"] == ["qemu-7.2", "qemu-10.0", "qemu-11.1"]
    assert [left["route"] for left in found["left_out"]] == ["aer-8.0>qemu-11.1"]
    assert {c["born_on"]: c["state"] for c in found["cohorts"]} == {
        "qemu-7.2": "free",
        "aer-8.0": "marked",
        "qemu-10.0": "free",
    }
    assert {"machine": "pc-q35-7.2", "build": "qemu-11.1", "dead": False} in found["dying"]
