# SPDX-License-Identifier: Apache-2.0
"""Shards of searches of the reference emulator, joined: what one search finds, counts, covers and exits with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from emulated import write_matrix
from explored import SCHEMA
from typer.testing import CliRunner

from migmatrix.harness.commands.main import app
from migmatrix.harness.errors import UserError
from migmatrix.harness.explore.accounts import Account, State
from migmatrix.harness.explore.findings import Finding, Problem
from migmatrix.harness.explore.merge import united

if TYPE_CHECKING:
    from collections.abc import Callable

SHARDS = ("1/2", "2/2")


def command(*words: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(app(), [str(word) for word in words])
    if isinstance(done.exception, UserError):
        return 2, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `whole`, of one search, and a directory of each shard, all on one store."""
    root = tmp_path_factory.mktemp("searched")
    matrix = write_matrix(
        root, ["5.2", "7.2"], machines=["pc-q35-5.2"], profiles={"define": {"bare": {"args": []}}}
    )
    words = (
        "explore",
        "-f",
        matrix,
        "--store",
        root / "store",
        "-j",
        "2",
        "--devices",
        "example-*",
        "--depth",
        "2",
    )
    assert command(*words, "--out", root / "whole")[0] == 1
    for shard in SHARDS:
        command(*words, "--out", root / shard[0], "--shard", shard)
    return root


@pytest.fixture
def shards(searched: Path, tmp_path: Path) -> Path:
    """Copies of both shards, `1` and `2`."""
    for shard in SHARDS:
        shutil.copytree(searched / shard[0], tmp_path / shard[0])
    return tmp_path


def read(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "findings.json").read_text())
    SCHEMA.validate(found)
    return found


def change(directory: Path, name: str, change_it: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads((directory / name).read_text())
    change_it(data)
    (directory / name).write_text(json.dumps(data))


def test_the_whole_is_what_one_search_finds_and_exits_with(searched: Path, tmp_path: Path) -> None:
    one, two, whole = read(searched / "1"), read(searched / "2"), read(searched / "whole")
    code, text = command("merge", searched / "2", searched / "1", "--out", tmp_path / "all")
    assert code == 1
    assert "1 new finding, 0 known" in text
    joined = read(tmp_path / "all")

    broken = [f for f in (*one["findings"], *two["findings"]) if f["kind"] == "break"]
    assert len(broken) == 2, "both shards meet it, so that joining has something to do"
    by_key = {(f["key"], f["kind"]): f for f in joined["findings"]}
    assert len(by_key) == len(joined["findings"])
    assert by_key.keys() == {(f["key"], f["kind"]) for f in whole["findings"]}
    for finding in whole["findings"]:
        mine = by_key[finding["key"], finding["kind"]]
        for name in ("root", "arguments", "pairs", "seen", "profile", "steady"):
            assert mine[name] == finding[name], name
        assert (
            mine["signatures"].keys() == finding["signatures"].keys()
        )  # a shard has not seen all that is known

    for name in ("devices", "options", "pairs", "of_devices", "of_options"):
        assert joined["coverage"][name] == whole["coverage"][name], name
    assert sorted(joined["coverage"]["without_a_place"]) == sorted(whole["coverage"]["without_a_place"])
    for name in ("sections_and_fields", "blocked", "builds", "machines", "origin", "shard", "ended", "asked"):
        assert joined[name] == whole[name], name
    assert joined["legs"] == one["legs"] + two["legs"]
    assert joined["missing_shards"] == []
    for name in ("found-section-version-example-versioned.sh", "profiles-found.yaml"):
        assert (tmp_path / "all" / name).read_text() == (searched / "whole" / name).read_text()


def test_a_missing_shard_is_told_and_leaves_the_whole_incomplete(shards: Path) -> None:
    code, text = command("merge", shards / "2", "--out", shards / "all")
    assert code == 3
    assert "without what is missing: shard 1/2" in text
    assert read(shards / "all")["missing_shards"] == ["1/2"]


@pytest.mark.parametrize(("ended", "code"), [
    ("budget", 1), ("running", 3), ("host failed", 3), ("interrupted", 130),
])  # fmt: skip
def test_a_shard_that_did_not_end_decides(ended: str, code: int, shards: Path) -> None:
    change(shards / "1", "findings.json", lambda data: data.update(ended=ended))
    assert command("merge", shards / "1", shards / "2", "--out", shards / "all")[0] == code
    assert read(shards / "all")["ended"] == ended


def test_known_findings_are_not_new(shards: Path) -> None:
    def know(data: dict[str, Any]) -> None:
        for finding in data["findings"]:
            finding["known"] = "k"

    for shard in ("1", "2"):
        change(shards / shard, "findings.json", know)
    assert command("merge", shards / "1", shards / "2", "--out", shards / "all", "--json")[0] == 0


def test_another_root_is_another_finding_with_a_name_and_a_script_of_its_own(shards: Path) -> None:
    def elsewhere(data: dict[str, Any]) -> None:
        (finding,) = [f for f in data["findings"] if f["kind"] == "break"]
        finding.update(key=f"{finding['key']}: another-device", root="another-device")
        finding["arguments"][-1] = "another-device"

    change(shards / "2", "findings.json", elsewhere)
    assert command("merge", shards / "1", shards / "2", "--out", shards / "all")[0] == 1
    names = [f["profile"] for f in read(shards / "all")["findings"] if f["kind"] == "break"]
    name = "found-section-version-example-versioned"
    assert names == [name, f"{name}-2"]
    assert f"sh {name}-2.sh" in (shards / "all" / f"{name}-2.sh").read_text()
    assert f"sh {name}.sh" in (shards / "all" / f"{name}.sh").read_text()
    assert list(yaml.safe_load((shards / "all" / "profiles-found.yaml").read_text())) == names


def test_one_that_was_not_reduced_goes_with_one_that_was(shards: Path) -> None:
    def unrepeated(data: dict[str, Any]) -> None:
        (finding,) = [f for f in data["findings"] if f["kind"] == "break"]
        finding.update(steady=False, repeated=False, pairs={}, profile="", root="a + b")

    change(shards / "1", "findings.json", unrepeated)
    assert command("merge", shards / "1", shards / "2", "--out", shards / "all")[0] == 1
    (finding,) = [f for f in read(shards / "all")["findings"] if f["kind"] == "break"]
    assert (finding["steady"], finding["root"]) == (True, "example-versioned")


def with_seed(data: dict[str, Any]) -> None:
    data["asked"]["seed"] = 7


def of_three(data: dict[str, Any]) -> None:
    data["shard"] = [2, 3]


def without_findings(data: dict[str, Any]) -> None:
    del data["findings"]


def not_a_shard(data: dict[str, Any]) -> None:
    data["shard"] = [1, 1]


@pytest.mark.parametrize(("name", "changed", "mistake"), [
    ("findings.json", with_seed, "'2' differs from '1' in its asked"),
    ("findings.json", of_three, "'2' is shard 2/3, '1' is 1/2"),
    ("findings.json", not_a_shard, "'2' is not the search of a shard"),
    ("findings.json", without_findings, "'2/findings.json' is not of a search: findings: field required"),
    ("covered.json", lambda data: data.clear(), "'2/covered.json' is not what a shard of a search leaves"),
])  # fmt: skip
def test_what_does_not_go_together_is_told(
    name: str,
    changed: Callable[[dict[str, Any]], None],
    mistake: str,
    shards: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(shards)
    change(shards / "2", name, changed)
    assert command("merge", "1", "2", "--out", "all") == (2, mistake)
    assert not Path("all").exists()


def test_a_mistake_in_the_directories_is_told(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shards)
    Path("empty").mkdir()
    assert command("merge", "1", "1", "--out", "all") == (2, "'1' and '1' are both shard 1/2")
    assert command("merge", "1", "2", "--out", "1") == (
        2, "'1' holds a search already: name another directory with --out",
    )  # fmt: skip
    assert command("merge", "1", "empty", "--out", "all") == (
        2, "'empty' holds no search: cannot read findings.json: No such file or directory",
    )  # fmt: skip
    Path("2/covered.json").unlink()
    assert command("merge", "1", "2", "--out", "all") == (
        2, "'2' is no shard of a search: cannot read covered.json: No such file or directory",
    )  # fmt: skip


@pytest.mark.parametrize(("states", "state", "why"), [
    ([("not-reached", ""), ("started", "")], State.STARTED, ""),
    ([("refused", "no (a)"), ("refused", "what it needs was refused before")], State.REFUSED, "no (a)"),
    ([("refused", "no (a)"), ("refused", "never (b)")], State.REFUSED, "no (a); never (b)"),
    ([("not-reached", ""), ("refused", "what it needs was refused before")], State.REFUSED,
     "what it needs was refused before"),
    ([("not-reached", ""), ("not-reached", "")], State.NOT_REACHED, ""),
    ([("not-reached", ""), ("no-place", "none")], State.NO_PLACE, "none"),
    ([("away", "hardware"), ("away", "hardware")], State.AWAY, "hardware"),
])  # fmt: skip
def test_what_shards_say_of_a_device_is_united(states: list[tuple[str, str]], state: State, why: str) -> None:
    assert united([Account(State(name), words) for name, words in states]) == Account(state, why)


def test_the_record_of_a_finding_is_the_published_one(searched: Path) -> None:
    """A field that one of both lacks would be lost when shards are joined."""
    (row, *_) = read(searched / "1")["findings"]
    assert row.keys() == set(Finding.__dataclass_fields__)
    assert Problem(row["kind"]) in Problem
