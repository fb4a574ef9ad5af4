# SPDX-License-Identifier: Apache-2.0
"""What does not migrate at all, and whether `-only-migratable` tells the truth of it; on builds that are made to lie."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from emulated import write_matrix
from explored import SCHEMA
from typer.testing import CliRunner

from migmatrix.harness.commands.main import app
from migmatrix.harness.explore.findings import Problem
from migmatrix.harness.explore.migratable import Asked, untrue, with_option, without_option
from migmatrix.harness.explore.records import Candidate, Kind, Part, Phase
from migmatrix.harness.model import Cause, Cell, CellResult, Guest, Mode, Outcome, Verdict
from migmatrix.harness.trials.records import Attempt, Step, Trial

if TYPE_CHECKING:
    from pathlib import Path

# Begins a program that is an emulator with another answer to the option; `words` are its arguments.
LIAR = """\
import sys
from migmatrix.emulator.main import main
words = sys.argv[1:]
device = next((w for w in words if w.startswith("example-")), "")
{lie}
sys.exit(main(["-release", "7.2", *words]))
"""
FORGETS = 'words = [w for w in words if w != "-only-migratable"]'
WORDS = "Device {device} is not migratable, but --only-migratable was specified"
NEEDS_NO_SERIAL = 'words = ["nvme,serial=own" if w == "nvme" else w for w in words]'
OVERDOES = f"""\
if device == "example-legacy" and "-only-migratable" in words:
    sys.exit(f"qemu: -device {{device}}: {WORDS}")
"""


def build(tmp_path: Path, lie: str) -> dict[str, Any]:
    (tmp_path / "liar.py").write_text(LIAR.format(lie=lie))
    path = tmp_path / "emulator"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "liar.py"} "$@"\n')
    path.chmod(0o755)
    return {"provider": "binary", "path": str(path)}


def found_by(tmp_path: Path, builds: dict[str, Any], devices: str) -> tuple[int, dict[str, Any], str]:
    matrix = write_matrix(
        tmp_path, [], builds=builds, machines=["pc-q35-7.2"], profiles={"define": {"bare": {"args": []}}},
        paths={"explicit": [f"{name}>{name}" for name in builds]},
    )  # fmt: skip
    words = ["-f", str(matrix), "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out"), "-j", "2"]
    done = CliRunner().invoke(app(), ["explore", *words, "--devices", devices, "--depth", "1"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    found = json.loads((tmp_path / "out" / "findings.json").read_text())
    SCHEMA.validate(found)
    return done.exit_code, found, done.stdout


def test_what_refuses_to_migrate_is_told_apart_and_is_not_new(tmp_path: Path) -> None:
    code, found, text = found_by(
        tmp_path, {"qemu": {"provider": "emulator", "release": "7.2"}}, "example-unmigratable"
    )
    assert code == 0
    (finding,) = found["findings"]
    assert (finding["kind"], finding["steady"]) == ("unmigratable", True)
    assert finding["profile"] == ""
    assert finding["pairs"] == {"qemu>qemu": "blocked blocked example-unmigratable"}
    assert "refuses to migrate, and says so: 1" in text
    assert "0 new findings," in text
    assert [path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".sh"] == []


@pytest.mark.parametrize(("lie", "device", "signature", "words"), [
    (FORGETS, "example-unmigratable", "blocked example-unmigratable",
     "starts with -only-migratable, and refuses to migrate: State blocked by non-migratable device 'example-unmigratable'"),
    (OVERDOES, "example-legacy", "only-migratable example-legacy",
     f"migrates, and does not start with -only-migratable: {WORDS.format(device='example-legacy')}"),
])  # fmt: skip
def test_an_option_that_does_not_tell_the_truth_is_new(
    lie: str, device: str, signature: str, words: str, tmp_path: Path
) -> None:
    code, found, text = found_by(tmp_path, {"liar": build(tmp_path, lie)}, device)
    assert code == 1
    (finding,) = [f for f in found["findings"] if f["kind"] == "only-migratable"]
    assert (finding["signature"], finding["message"]) == (signature, words)
    assert finding["steady"]
    assert finding["arguments"][-3:] == ["-device", device, "-only-migratable"]
    assert "-only-migratable says another thing than the migration: 1" in text
    assert "1 new finding," in text


def test_a_command_line_is_left_what_one_build_needs_and_another_does_not(tmp_path: Path) -> None:
    builds = {
        "a-needs-none": build(tmp_path, NEEDS_NO_SERIAL),
        "b-needs-it": {"provider": "emulator", "release": "7.2"},
    }
    _, found, _ = found_by(tmp_path, builds, "nvme")
    (finding,) = found["findings"]
    assert finding["path"] == ["a-needs-none", "a-needs-none"]
    assert finding["arguments"][-2:] == ["-device", "nvme,serial=s1"]
    assert finding["pairs"] == {
        "a-needs-none>a-needs-none": "blocked blocked nvme", "b-needs-it>b-needs-it": "blocked blocked nvme",
    }  # fmt: skip


def test_what_is_untrue_is_left_what_other_builds_need_too(tmp_path: Path) -> None:
    builds = {
        "a-liar": build(tmp_path, f"{NEEDS_NO_SERIAL}\n{FORGETS}"),
        "b-needs-it": {"provider": "emulator", "release": "7.2"},
    }
    _, found, _ = found_by(tmp_path, builds, "nvme")
    (finding,) = [f for f in found["findings"] if f["kind"] == "only-migratable"]
    assert finding["arguments"][-3:] == ["-device", "nvme,serial=s1", "-only-migratable"]


# -- what is asked, and what counts ----------------------------------------------------------------

TRIAL = Trial("pc-q35-7.2", ("-device", "x"), (Step("a"), Step("a")), Mode("snapshot"), Guest("p", "paused"))
BLOCKED = Cause("blocked", "x", "", "State blocked")
REFUSED = Cause("only-migratable", "x", "", "Device x is not migratable")
ABSENT = Cause("unknown-device", "x", "", "no x")


def attempt(verdict: Verdict, cause: Cause | None = None, trial: Trial = TRIAL) -> Attempt:
    cell = Cell(trial.machine, "p", tuple(step.build for step in trial.path))
    return Attempt("", trial, CellResult(cell, verdict, Outcome.OK, cause=cause), 0)


def candidate(phase: Phase = Phase.PLAIN, name: str = "x") -> Candidate:
    return Candidate((Part(Kind.DEVICE, name),), phase)


@pytest.mark.parametrize(("plain", "asked", "wrong"), [
    (attempt(Verdict.PASS), attempt(Verdict.PASS), False),
    (attempt(Verdict.PASS), attempt(Verdict.UNSUPPORTED, REFUSED), True),
    (attempt(Verdict.PASS), attempt(Verdict.UNSUPPORTED, ABSENT), False),
    (attempt(Verdict.BLOCKED, BLOCKED), attempt(Verdict.UNSUPPORTED, REFUSED), False),
    (attempt(Verdict.BLOCKED, BLOCKED), attempt(Verdict.BLOCKED, BLOCKED), True),
    (attempt(Verdict.FAIL), attempt(Verdict.UNSUPPORTED, REFUSED), False),
])  # fmt: skip
def test_two_answers_are_untrue(plain: Attempt, asked: Attempt, wrong: bool) -> None:
    assert untrue(plain, asked) == wrong


def test_each_is_asked_once() -> None:
    asked = Asked()
    passes, blocked = attempt(Verdict.PASS), attempt(Verdict.BLOCKED, BLOCKED)
    assert list(asked.of(candidate(), [passes])) == [passes]
    assert list(asked.of(candidate(), [passes])) == []
    assert list(asked.of(candidate(name="y"), [passes])) == [passes]
    assert list(asked.of(candidate(Phase.SINGLE, "z"), [passes])) == []
    assert list(asked.of(candidate(Phase.SINGLE, "z"), [blocked])) == [blocked]
    assert list(asked.of(candidate(name="z"), [blocked])) == []


def test_the_option_comes_and_goes() -> None:
    assert with_option(TRIAL).arguments == ("-device", "x", "-only-migratable")
    assert without_option(with_option(TRIAL)) == TRIAL


def test_breaks_and_defects_are_failures() -> None:
    assert [problem for problem in Problem if problem.fails] == [Problem.BREAK, Problem.DEFECT]
