# SPDX-License-Identifier: Apache-2.0
"""Whole searches on the reference emulator: what is found, kept, reduced, known, and found again from the store."""

from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from emulated import write_matrix
from explored import SCHEMA
from typer.testing import CliRunner

from migmatrix.harness.commands.main import app
from migmatrix.harness.config import load_matrix
from migmatrix.harness.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

PROFILES: dict[str, Any] = {"define": {"bare": {"args": []}}}


def explore(tmp_path: Path, matrix: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    where = ["-f", str(matrix), "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app(), ["explore", *where, "-j", "2", "--json", *words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    found = json.loads(done.stdout) if done.stdout else {}
    if found:
        SCHEMA.validate(found)
    return done.exit_code, found, done.stderr


def matrix_of(tmp_path: Path, *releases: str, **changes: Any) -> Path:
    changed: dict[str, Any] = {"machines": ["pc-q35-5.2"], "profiles": PROFILES, **changes}
    return write_matrix(tmp_path, list(releases), **changed)


def test_a_break_is_found_reduced_and_made_a_profile(tmp_path: Path) -> None:
    matrix = matrix_of(tmp_path, "5.2", "7.2")
    code, found, log = explore(tmp_path, matrix, "--devices", "example-*", "--depth", "1")

    assert code == 1
    assert "found: section-version example-versioned" in log
    (finding,) = [one for one in found["findings"] if one["kind"] != "unmigratable"]
    assert (finding["signature"], finding["kind"], finding["own"], finding["steady"]) == (
        "section-version example-versioned", "break", False, True,
    )  # fmt: skip
    assert finding["arguments"][-2:] == ["-device", "example-versioned"]
    assert finding["root"] == "example-versioned"
    assert finding["pairs"] == {
        "qemu-5.2>qemu-5.2": "pass",
        "qemu-5.2>qemu-7.2": "pass",
        "qemu-7.2>qemu-5.2": "fail section-version example-versioned",
        "qemu-7.2>qemu-7.2": "pass",
    }
    assert any("example-unmigratable" in what for what in found["blocked"].values())
    assert found["coverage"]["devices"] == {"tried": 3, "started": 3}
    assert json.loads((tmp_path / "out" / "findings.json").read_text()) == found

    (tmp_path / "empty").mkdir()
    script = tmp_path / "out" / f"{finding['profile']}.sh"
    shown = subprocess.run(
        ["sh", script], cwd=tmp_path / "empty", capture_output=True, text=True, check=False
    )
    assert shown.returncode == 1
    assert "unsupported version 2 for 'example-versioned' v1" in shown.stderr
    other = {**os.environ, "DESTINATION": re.findall(r"SOURCE:-(.+)}\n", script.read_text())[0]}
    passes = subprocess.run(
        ["sh", script], cwd=tmp_path / "empty", env=other, capture_output=True, text=True, check=False
    )
    assert (passes.returncode, passes.stdout) == (0, "the destination takes the state\n")

    taken = write_matrix(
        tmp_path, ["5.2", "7.2"], profiles={"file": str(tmp_path / "out" / "profiles-found.yaml")}
    )
    (profile,) = load_matrix(taken).profiles
    assert profile.name == finding["profile"] == "found-section-version-example-versioned"
    assert profile.args == ("-device", "example-versioned")


def test_what_a_known_issue_names_is_not_new_and_the_store_answers_again(tmp_path: Path) -> None:
    entry = {
        "id": "versions", "selector": {"machine": "*"}, "signature": "section-version example-versioned",
        "reason": "r", "link": "https://example.org", "owner": "o", "expires": "2099-01-01",
    }  # fmt: skip
    (tmp_path / "known.yaml").write_text(json.dumps([entry]).replace('"2099-01-01"', "2099-01-01"))
    matrix = matrix_of(tmp_path, "5.2", "7.2", known_issues="known.yaml")
    words = ("--devices", "example-versioned", "--depth", "1")
    first = explore(tmp_path, matrix, *words)
    again = explore(tmp_path, matrix, *words)

    assert first[0] == again[0] == 0
    assert first[1]["findings"][0]["known"] == "versions"
    assert again[1] == first[1]


def test_one_build_with_itself_shows_nothing_that_is_not_its_own(tmp_path: Path) -> None:
    matrix = matrix_of(tmp_path, "7.2", paths={"explicit": ["qemu-7.2>qemu-7.2"]})
    code, found, _ = explore(tmp_path, matrix, "--devices", "example-versioned", "--budget", "60")
    assert (code, found["findings"]) == (0, [])
    assert found["legs"] >= 60
    assert found["coverage"]["candidates"]["walk"] > 0, found["coverage"]


def test_shards_share_the_candidates(tmp_path: Path) -> None:
    matrix = matrix_of(tmp_path, "5.2", "7.2")
    words = ("--devices", "example-*", "--depth", "1")
    tried = [
        explore(tmp_path, matrix, *words, "--shard", f"{i}/2")[1]["coverage"]["devices"]["tried"]
        for i in (1, 2)
    ]
    assert sum(tried) == 3


@pytest.mark.parametrize(("words", "mistake"), [
    (["--devices", "nothing*"], "--devices 'nothing*' means no device that is tried: known: VGA, "),
    (["--devices", "vfio-*"], "--devices 'vfio-*' means no device that is tried: vfio-pci: needs hardware"),
    (["--budget", "3 days"], "--budget '3 days' is neither a number of legs nor a time as 90s, 30m, 8h"),
    (["--budget", "0"], "--budget '0' is neither a number of legs nor a time as 90s, 30m, 8h"),
    (["--budget", "-5"], "--budget '-5' is neither a number of legs nor a time as 90s, 30m, 8h"),
    (["--shard", "3/2"], "shard 3/2 does not exist: I goes from 1 to N"),
    (["--shard", "x"], "'x' is not a shard: write I/N, such as 1/4"),
    (["--out", "FILE"], "cannot write to --out 'FILE': File exists"),
    (["--out", "FILE/below"], "cannot write to --out 'FILE/below': Not a directory"),
    (["--store", "FILE"], "cannot write to the store 'FILE': Not a directory"),
    (["--select", "machine=nothing"], "--select machine=nothing matches no cell: known: pc-q35-5.2"),
])  # fmt: skip
def test_a_mistake_is_told(
    words: list[str], mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").touch()
    where = ["-f", str(matrix_of(tmp_path, "7.2")), "--store", "store", "--out", "out"]
    done = CliRunner().invoke(app(), ["explore", *where, *words])
    assert isinstance(done.exception, UserError), done.exception
    assert str(done.exception).startswith(mistake)
    assert "\n" not in str(done.exception)


@pytest.mark.parametrize("words", [["--depth", "9"], ["--depth", "x"], ["--seed", "x"], ["-j", "0"]])
def test_a_number_that_is_none_is_a_mistake(words: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app(), ["explore", "-f", str(matrix_of(tmp_path, "7.2")), *words])
    assert done.exit_code == 2


def test_builds_that_start_no_machine_are_a_mistake(tmp_path: Path) -> None:
    matrix = matrix_of(tmp_path, "7.2", defaults={"args": ["-device", "nonsense"]})
    where = ["-f", str(matrix), "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app(), ["explore", *where, "--devices", "example-*"])
    assert str(done.exception) == (
        "no build starts any machine with the arguments of the matrix:"
        " 'nonsense' is not a valid device model name"
    )
    assert isinstance(done.exception, UserError)
