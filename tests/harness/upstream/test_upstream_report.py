# SPDX-License-Identifier: Apache-2.0
"""Whole reports on the reference emulator: what is named, run, shown by a script without migmatrix, and written down."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from defective_emulator import install
from emulated import run_matrix, write_matrix
from typer.testing import CliRunner

from migmatrix.harness.commands.main import app
from migmatrix.harness.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

FINDING: dict[str, Any] = {
    "signature": "section-version example-versioned",
    "machine": "pc-q35-5.2",
    "path": ["qemu-7.2", "qemu-5.2"],
    "arguments": ["-m", "64", "-nodefaults", "-device", "example-versioned"],
    "mode": "snapshot",
    "guest": "paused",
    "profile": "found-section-version-example-versioned",
}


MARKED = """\
/* what the device's own state is */
static const VMStateDescription vmstate_example = {
    .name = "example-unmigratable",
    .unmigratable = 1,
};
"""


def matrix_of(tmp_path: Path) -> Path:
    return write_matrix(tmp_path, ["5.2", "7.2"], machines=["pc-q35-5.2"])


def findings_of(tmp_path: Path, *findings: dict[str, Any]) -> Path:
    path = tmp_path / "findings.json"
    path.write_text(json.dumps({"findings": findings}))
    return path


def report(tmp_path: Path, *words: str) -> tuple[int, str]:
    code, text, _ = reported(tmp_path, *words)
    return code, text


def reported(tmp_path: Path, *words: str) -> tuple[int, str, str]:
    where = ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "out"), "-j", "2"]
    done = CliRunner().invoke(app("explain"), ["explain", *words, *where])
    if isinstance(done.exception, Exception):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def parts(text: str) -> dict[str, str]:
    """The parts of a page in Markdown by heading."""
    return {head: body for head, _, body in (part.partition("\n") for part in text.split("\n## ")[1:])}


def test_a_finding_of_a_search_is_shown_by_a_script_and_written_down(tmp_path: Path) -> None:
    file = findings_of(tmp_path, FINDING)
    code, text = report(
        tmp_path, "--report", str(file), "-f", str(matrix_of(tmp_path)), "--format", "markdown"
    )
    assert code == 0
    assert text.startswith(
        "# example-versioned: guest saved by 7.2.0 does not load in 5.2.0 (unsupported section version)\n"
    )
    found = parts(text)
    assert "| source | 7.2.0 | emulator | reference emulator 7.2 |" in found["Versions"]
    assert f"[{FINDING['profile']}.sh]({FINDING['profile']}.sh) does both" in found["Reproducer"]
    assert "It was run here and ended with 1, which is this failure." in found["Reproducer"]
    assert "unsupported version 2 for 'example-versioned' v1" in found["Reproducer"]
    assert "source, version 2," in found["Bytes"]
    assert "destination, version 1," in found["Bytes"]
    assert "* version of example-versioned: 2 at the source, 1 at the destination" in found["Descriptions"]
    assert "* only the source has ip\\_id: uint16, 2 bytes at 0x4" in found["Descriptions"]
    assert "| 7.2.0 | \\[a\\] | pass |" in found["What passes"]
    assert "* \\[a\\] fail (section-version example-versioned)" in found["What passes"]
    assert (
        "* source into 5.2.0: 7.2.0 (5.2.0 passes); by age: pass 5.2.0; fail 7.2.0"
        in found["First bad of the builds at hand"]
    )
    assert "Not known beyond what is above." in found["Cause, as far as proved"]
    name = FINDING["profile"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"{name}.md", f"{name}.sh", f"{name}.txt"]
    assert (tmp_path / "out" / f"{name}.md").read_text() == text.removesuffix("\n")


def test_the_sources_of_both_builds_are_compared(tmp_path: Path) -> None:
    entries = {"qemu-5.2": "VMSTATE_UINT8(a, E)", "qemu-7.2": "VMSTATE_UINT8(a, E), VMSTATE_UINT16(ip_id, E)"}
    words: list[str] = []
    for build, fields in entries.items():
        (tmp_path / build).mkdir()
        (tmp_path / build / "e.c").write_text(
            f'static VMStateDescription vmstate_e = {{ .name = "example-versioned", .fields = {{ {fields} }} }};'
        )
        words += ["--sources", f"{build}={tmp_path / build}"]
    where = (
        "--report",
        str(findings_of(tmp_path, FINDING)),
        "-f",
        str(matrix_of(tmp_path)),
        "--format",
        "markdown",
    )
    code, text = report(tmp_path, *where, *words)
    assert code == 0
    assert "| source | vmstate\\_e | e.c:1 |" in parts(text)["Sources"]
    assert "* only the source has ip\\_id (VMSTATE\\_UINT16)" in parts(text)["Sources"]
    assert "e.c" not in "".join(body for head, body in parts(text).items() if head != "Sources")
    _, text, said = reported(tmp_path, *where, *words[:2])
    assert "Not looked at" in parts(text)["Sources"]
    assert "--sources is not used: want a tree of qemu-7.2 and qemu-5.2\n" in said
    with pytest.raises(UserError, match=r"want BUILD=DIR with one of qemu-5\.2, qemu-7\.2"):
        report(tmp_path, *where, "--sources", "qemu-9=/")
    with pytest.raises(UserError, match="--sources is for --report"):
        report(tmp_path, "run", *words)


def test_a_cell_of_a_run_is_reported_too(tmp_path: Path) -> None:
    profiles = {"define": {"old": {"args": ["-device", "example-versioned"]}}}
    matrix = write_matrix(tmp_path, ["5.2", "7.2"], machines=["pc-q35-5.2"], profiles=profiles)
    run = run_matrix(matrix, tmp_path / "store", tmp_path / "run")
    code, text = report(tmp_path, "--report", f"{run}#qemu-7.2>qemu-5.2", "--json")
    data = json.loads(text)
    assert (code, data["proved"], data["status"], data["name"]) == (0, True, 1, "old")
    assert data["title"] in data["text"]
    assert data["text"].count("unsupported version 2 for 'example-versioned' v1") >= 2


def test_a_failure_that_does_not_come_again_is_said_and_nothing_else(tmp_path: Path) -> None:
    passes = {**FINDING, "path": ["qemu-5.2", "qemu-7.2"]}
    file = findings_of(tmp_path, passes)
    code, text = report(tmp_path, "--report", str(file), "-f", str(matrix_of(tmp_path)))
    assert code == 1
    assert text == "'section-version example-versioned' did not come again: run again it is 'pass'\n"
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(("named", "mistake"), [
    ("findings.json", "has 2 findings: name one behind a '#': one, two"),
    ("findings.json#three", "has no finding 'three': name one behind a '#': one, two"),
    ("findings.json#3", "has no finding '3': name one behind a '#': one, two"),
    ("findings.json#two", "does not say how its builds are made: name its matrix with -f"),
    ("nothing.json", "No such file or directory"),
    ("empty.json", "holds no findings"),
    ("broken.json", "is no JSON: "),
])  # fmt: skip
def test_a_mistake_in_what_is_named_is_one_line(named: str, mistake: str, tmp_path: Path) -> None:
    findings_of(tmp_path, {**FINDING, "profile": "one"}, {**FINDING, "profile": "two"})
    (tmp_path / "empty.json").write_text("{}")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError) as caught:
        report(tmp_path, "--report", str(tmp_path / named))
    assert mistake in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_report_is_of_one_thing(tmp_path: Path) -> None:
    for words in (["--report", "x", "run"], ["--report", "x", "--select", "path=a"]):
        with pytest.raises(UserError, match="leave out RUN, CELL and --select"):
            report(tmp_path, *words)
    with pytest.raises(UserError, match="name a run directory, or with --report a finding"):
        report(tmp_path)
    findings_of(tmp_path, {**FINDING, "profile": "../x"})
    with pytest.raises(UserError, match=r"'\.\./x' is no name for files"):
        report(tmp_path, "--report", str(tmp_path / "findings.json"), "-f", str(matrix_of(tmp_path)))


def report_of_defect(tmp_path: Path, defect: str, signature: str) -> tuple[int, str]:
    builds = {"broken": {"provider": "binary", "path": str(install(tmp_path, "7.2", defect))}}
    matrix = write_matrix(tmp_path, [], builds=builds, machines=["pc-q35-7.2"])
    finding = {
        **FINDING,
        "signature": signature,
        "machine": "pc-q35-7.2",
        "path": ["broken", "broken"],
        "arguments": ["-m", "64", "-nodefaults", "-device", "example-legacy"],
    }
    return report(tmp_path, "--report", str(findings_of(tmp_path, finding)), "-f", str(matrix))


@pytest.mark.parametrize(("defect", "signature", "title", "shown"), [
    ("dies-saving", "crash SIGABRT save", "7.2.0 crashes when it saves a guest (SIGABRT)", "the source ends with status 134"),
    ("dies-loading", "crash SIGABRT load", "7.2.0 crashes when it loads a guest that it saved itself (SIGABRT)",
     "the destination ends with status 134"),
    ("loads-less", "missing-footer example-legacy",
     "7.2.0 does not load a guest that it saved itself (missing section footer)",
     "Missing section footer for example-legacy"),
])  # fmt: skip
def test_a_defect_of_one_build_is_shown(
    defect: str, signature: str, title: str, shown: str, tmp_path: Path
) -> None:
    code, text = report_of_defect(tmp_path, defect, signature)
    assert code == 0
    assert text.startswith(f"example-legacy: {title}\n")
    assert shown in text
    assert f"* [a] fail ({signature})" in text


def test_what_depends_on_chance_is_said_and_a_script_that_shows_nothing_too(tmp_path: Path) -> None:
    code, text = report_of_defect(tmp_path, "dies-loading-twice", "crash SIGABRT load")
    assert code == 1
    folded = " ".join(text.split())
    assert "It was run here and ended with 0. It does NOT show this failure (crash SIGABRT load)" in folded
    assert "the destination takes the state" in text
    assert "* [a] fail (crash SIGABRT load), not each time" in text
    assert "1 of 1 pairs did not give the same each time" in text
    assert "Section example-legacy#0, hexadecimal" in text, "what the plain command line does not send"


def test_what_a_search_left_is_reported_without_its_matrix(tmp_path: Path) -> None:
    builds = {"forgets": {"provider": "binary", "path": str(install(tmp_path, "7.2", "forgets"))}}
    matrix = write_matrix(
        tmp_path, [], builds=builds, machines=["pc-q35-7.2"], profiles={"define": {"bare": {"args": []}}},
        paths={"explicit": ["forgets>forgets"]},
    )  # fmt: skip
    left = tmp_path / "explored"
    words = ["-f", str(matrix), "--store", str(tmp_path / "store"), "--out", str(left), "-j", "2"]
    done = CliRunner().invoke(
        app("explore"), ["explore", *words, "--devices", "example-unmigratable", "--depth", "1"]
    )
    found = json.loads((left / "findings.json").read_text())["findings"]
    assert sorted(finding["kind"] for finding in found) == ["only-migratable", "unmigratable"], done.output
    number = 1 + [finding["kind"] for finding in found].index("only-migratable")

    code, text = report(tmp_path, "--report", f"{left}#{number}", "--name", "a-lie")
    assert code == 0
    assert text.startswith("example-unmigratable: 7.2.0 starts with -only-migratable, and does not migrate\n")
    assert "it starts with -only-migratable, and does not migrate" in text
    assert "State blocked by non-migratable device 'example-unmigratable'" in text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a-lie.md", "a-lie.sh", "a-lie.txt"]

    lie = (
        "--report",
        f"{left}#{number}",
        "--format",
        "markdown",
        "--sources",
        f"forgets={tmp_path / 'tree'}",
    )
    (tmp_path / "tree").mkdir()
    code, text, said = reported(tmp_path, *lie)
    assert code == 0
    assert "No description called example-unmigratable is in the trees of forgets." in parts(text)["Sources"]
    assert "--sources is not used: no tree describes a state of this device under its name\n" in said
    (tmp_path / "tree" / "example.c").write_text(MARKED)
    code, text, said = reported(tmp_path, *lie)
    assert code == 0
    assert "| forgets | example-unmigratable | example.c:2 | yes |" in parts(text)["Sources"]
    assert "is not used" not in said

    code, text = report(tmp_path, "--report", f"{left}#{3 - number}")
    assert code == 0
    assert text.startswith("example-unmigratable: 7.2.0 refuses to migrate\n")
