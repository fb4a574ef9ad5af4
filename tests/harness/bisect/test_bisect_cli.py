# SPDX-License-Identifier: Apache-2.0
"""The command line from its options to its exit code: on fake emulators, and on the releases of the reference emulator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from lab import Lab

QUICK = ("--verify", "1", "--confirm", "1", "--confidence", "0.5")


def line_of_builds(lab: Lab) -> Path:
    """Six builds: b, c and d read the state of all before them, e and f do not; `old` is there to send to."""
    states = {"a": "s", "b": "s", "c": "s", "d": "s", "e": "t", "f": "t", "old": "s"}
    builds = lab.builds({name: ["-fake", f"state={state}"] for name, state in states.items()})
    return lab.matrix(builds=builds)


def bisect(lab: Lab, *arguments: str, code: int = 0) -> dict[str, Any]:
    argv = lab.command("bisect", *arguments, "--out", str(lab.root / "out"), "--json")
    done = lab.call(argv)
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def cell(matrix: Path) -> tuple[str, ...]:
    return "builds", "-f", str(matrix), "--machine", "pc-q35-7.2", "--profile", "plain", *QUICK


@pytest.mark.slow
def test_the_build_that_broke_a_pair(lab: Lab) -> None:
    matrix = line_of_builds(lab)
    found = bisect(lab, *cell(matrix), "--source", "a..f", "--destination", "old")
    (answer,) = found["answers"]
    assert answer["culprits"] == ["e (8.0.0)"]
    assert answer["parent"] == "d (8.0.0)"
    assert answer["side"] == "source side"
    assert answer["kind"] == "found"
    assert answer["resume"].startswith("migmatrix bisect builds -f ")
    starts = lab.starts()
    assert (
        bisect(lab, *cell(matrix), "--source", "a..f", "--destination", "old")["answers"][0]["runs"]
        == answer["runs"]
    )
    assert lab.starts() == starts  # the journal has it all


def test_a_chain_has_its_step_named(lab: Lab) -> None:
    found = bisect(lab, *cell(line_of_builds(lab)), "--path", "old>a..f>old")
    (answer,) = found["answers"]
    assert answer["culprits"] == ["e (8.0.0)"]
    assert answer["side"] == "step 2 of the chain"


@pytest.mark.slow
def test_with_two_ranges_the_side_is_told(lab: Lab) -> None:
    """Both ends of the failing path are of the new kind on one side only."""
    matrix = line_of_builds(lab)
    found = bisect(lab, *cell(matrix), "--source", "a..e", "--destination", "a..b")
    assert found["sides"] == "the source side alone turned the verdict"
    assert [answer["kind"] for answer in found["answers"]] == ["found", "no-change", "found", "no-change"]


def test_ends_that_do_not_differ_exit_with_1(lab: Lab) -> None:
    found = bisect(lab, *cell(line_of_builds(lab)), "--source", "a..c", "--destination", "old", code=1)
    assert found["answers"][0]["kind"] == "no-change"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "a..f"], "give --source and --destination, or --path"),
        (["--source", "a..f", "--destination", "old", "--path", "a..f>old"], "or --path"),
        (["--source", "a..zz", "--destination", "old"], "unknown build 'zz'"),
        (["--source", "a", "--destination", "old"], "0 ranges"),
        (["--path", "a..f>old", "--mode", "live"], "unknown mode 'live'"),
        (["--path", "a..f>old", "--profile", "plane"], "did you mean 'plain'?"),
        (["--path", "a..f>old", "--machine", ""], "no machine"),
    ],
)
def test_mistakes_are_one_line(lab: Lab, arguments: list[str], said: str) -> None:
    done = lab.call(lab.command("bisect", *cell(line_of_builds(lab)), *arguments))
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_commit_needs_a_cell_or_a_command(lab: Lab) -> None:
    for arguments, said in (
        ([], "give a cell with --path, or a command with --run"),
        (["--path", "@>x"], "give --build"),
    ):
        done = lab.call(lab.command("bisect", "commits", "--good", "a", "--bad", "b", *arguments))
        assert done.returncode == 2
        assert said in done.stderr


@pytest.mark.slow
def test_devices_and_properties_of_a_cell_are_explained(lab: Lab) -> None:
    """What explains a cell answers; the exit code says whether there is something to blame."""
    lab.run(lab.matrix(builds=lab.builds({"old": ["-fake", "state=a"], "new": ["-fake", "state=b"]})))
    cell = str(lab.root / "out"), "pc-q35-7.2/nic/old>new/snapshot/paused"
    devices = lab.call(lab.command("bisect", "devices", *cell))
    assert devices.returncode == 0, devices.stderr
    assert "not needed -device e1000" in devices.stdout
    properties = lab.call(lab.command("bisect", "properties", *cell, "--json"))
    assert properties.returncode == 1, properties.stderr
    assert json.loads(properties.stdout)["remedies"] == []


@pytest.mark.parametrize(
    ("matrix", "machine", "profile", "path", "culprit"),
    [
        ("03-scanout", "pc-q35-7.0", "gpu", "7.0>7.0..9.0", "9.0"),
        pytest.param(
            "01-aer-strict", "pc-q35-7.2", "root-port", "7.2>7.2..8.0", "8.0", marks=pytest.mark.slow
        ),
        pytest.param("02-uso", "pc-q35-8.1", "net", "8.1..8.2>8.1", "8.2", marks=pytest.mark.slow),
        pytest.param("16-acpi-index", "pc-i440fx-6.2", "", "6.2>6.2.91..7.0", "7.0", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_releases_of_the_reference_emulator(
    lab: Lab, pytestconfig: pytest.Config, matrix: str, machine: str, profile: str, path: str, culprit: str
) -> None:
    """What the track record says of these defects, found by searching; no matrix names the builds."""
    file = pytestconfig.rootpath / "matrices" / "track-record" / f"{matrix}.yaml"
    found = bisect(
        lab, "releases", "-f", str(file), "--machine", machine, "--profile", profile, "--path", path, *QUICK,
        "--args", "-global pci-device.x-config-check=strict" if "strict" in matrix else "",
    )  # fmt: skip
    (answer,) = found["answers"]
    assert answer["culprits"] == [culprit]
    assert answer["broke"] == (culprit != "7.0")
