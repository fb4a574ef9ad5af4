# SPDX-License-Identifier: Apache-2.0
"""What somebody does first: `init`, `doctor`, `profiles`, `schema`, names of what comes with the program, completion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import yaml
from lab import MIGMATRIX

from migmatrix.harness.config import load_matrix
from migmatrix.harness.config.published import matrix_schema
from migmatrix.harness.config.shipped import matrices
from migmatrix.harness.run.doctor import examine

if TYPE_CHECKING:
    import subprocess

    from lab import Lab


def call(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    return lab.call([*MIGMATRIX, *words])


def test_init_writes_a_matrix_once(lab: Lab) -> None:
    done = call(lab, "init")
    again = call(lab, "init")

    assert (done.returncode, done.stderr) == (0, "")
    assert again.returncode == 2
    assert again.stderr == "migmatrix: 'matrix.yaml' exists and is left as it is\n"
    matrix = load_matrix(lab.root / "matrix.yaml")
    assert [profile.name for profile in matrix.profiles] == ["virtio-blk", "e1000e", "root-port"]


def test_without_a_matrix_init_is_named(lab: Lab) -> None:
    done = call(lab, "plan")
    assert (done.returncode, done.stderr) == (
        2,
        "migmatrix: cannot read 'matrix.yaml': no such file; `migmatrix init` writes one\n",
    )


def test_the_first_matrix_runs_and_is_green(lab: Lab) -> None:
    call(lab, "init")
    done = lab.run(lab.root / "matrix.yaml", "--select", "profile=root-port")
    assert done.returncode == 0, done.stderr
    assert lab.verdicts() == {"pass": 4}


def test_built_in_matrices_go_by_name(lab: Lab) -> None:
    assert load_matrix(Path("default")).file.name == "matrix.yaml"
    wrong = call(lab, "plan", "-f", "debain")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "migmatrix: no file and no built-in matrix 'debain': did you mean 'debian'?\n",
    )


def test_profiles_are_listed_and_suggested(lab: Lab) -> None:
    listed = call(lab, "profiles", "virtio-blk*", "--json")
    assert [profile["name"] for profile in json.loads(listed.stdout)][:1] == ["virtio-blk"]
    assert "matrices, for -f: default, " in call(lab, "profiles").stdout
    wrong = call(lab, "profiles", "virtio-blc")
    assert wrong.returncode == 2
    assert "'virtio-blc' matches no profile: did you mean 'virtio-blk'?" in wrong.stderr


@pytest.mark.parametrize("name", sorted(matrices()))
def test_the_schema_takes_every_built_in_matrix(name: str) -> None:
    jsonschema.validate(yaml.safe_load(matrices()[name].read_text()), matrix_schema())


def test_the_schema_refuses_what_the_program_refuses(lab: Lab) -> None:
    schema = json.loads(call(lab, "schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    data = yaml.safe_load(matrices()["start"].read_text())
    mistakes: tuple[dict[str, Any], ...] = (
        {"machnes": []},
        {"guests": [{"name": "linux", "kind": "linux"}]},
        {"paths": {"pairs": 1}},
    )
    for wrong in mistakes:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**data, **wrong}, schema)


def test_the_doctor_looks_at_each_thing_and_exits_by_what_is_needed(lab: Lab) -> None:
    done = call(lab, "doctor", "--store", str(lab.root / "not" / "yet"))
    lines = done.stdout.splitlines()
    assert [line[9:].split()[0] for line in lines] == [
        *("python", "system", "disk", "store", "engine", "mmdebstrap", "kvm", "userfaultfd")
    ]
    assert done.returncode == 0, done.stdout


def test_a_store_that_cannot_be_is_unfit(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = {finding.name: finding for finding in examine(tmp_path / "file" / "store")}
    assert not found["store"].fit
    assert found["store"].needed


def test_the_shell_completes_commands(lab: Lab) -> None:
    lab.environment = {
        "_MIGMATRIX_COMPLETE": "complete_bash",
        "COMP_WORDS": "migmatrix pl",
        "COMP_CWORD": "1",
    }
    assert call(lab).stdout.split() == ["plan"]


def test_a_binary_is_tried_against_another_both_ways(lab: Lab) -> None:
    lab.matrix()
    words = ["--on", "pc-q35-7.2", "--use", "bare", "--out", "out"]

    done = lab.call(lab.command("try", "fake-8.0.0", "--against", "fake-7.2.0", *words))

    assert done.returncode == 0, done.stderr
    paths = {">".join(record["path"]) for record in lab.results().values()}
    assert paths == {"mine>fake-7.2.0", "fake-7.2.0>mine"}


def test_against_what_is_not_there_is_the_users_mistake(lab: Lab) -> None:
    lab.matrix()
    wrong = call(lab, "try", "fake-8.0.0", "--against", "build=qemu-10.1")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "migmatrix: --against 'build=qemu-10.1' is no file and no build: known: qemu-7.2, qemu-10.0, qemu-11.1\n",
    )
    assert call(lab, "try", "gone").stderr == "migmatrix: there is no emulator 'gone'\n"
