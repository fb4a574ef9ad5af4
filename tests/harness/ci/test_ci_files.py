# SPDX-License-Identifier: Apache-2.0
"""Files for CI servers follow the servers' schemas, and their jobs do here what they would do there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from ci_servers import GitHub, GitLab, Server, on_path
from lab import MIGMATRIX, timeless
from signed import write_key

from migmatrix.harness.ci import scripts
from migmatrix.harness.ci.emitters import for_github, for_gitlab
from migmatrix.harness.ci.scripts import Night

if TYPE_CHECKING:
    from pathlib import Path

    from lab import Lab

# what a shell, GitHub, GitLab, Tekton or Kubernetes would replace, or take for an option or for several words
HARD = '-my it\'s "$(touch pwned)" ${{ github.token }} $HOME $[[ inputs.x ]] `id` #é\t%.yaml'
MATRIX = {
    "builds": {f"qemu-{v}": {"provider": "emulator", "release": v} for v in ("7.2", "8.0")},
    "machines": ["pc-q35-7.2"],
    "profiles": {
        "define": {
            "plain": {"args": ["-nodefaults"]},
            "port": {"args": ["-nodefaults", "-device", "pcie-root-port,id=rp0"]},
        }
    },
}
SOUND = {**MATRIX, "profiles": {"define": {"plain": {"args": ["-nodefaults"]}}}}
CONTAINED = {**MATRIX, "builds": {"qemu-7.2": {"provider": "debian", "suite": "bookworm"}}}
SERVERS: dict[str, tuple[type[GitLab | GitHub], str]] = {
    "gitlab": (GitLab, "vendor.gitlab-ci"),
    "github": (GitHub, "vendor.github-workflows"),
}


def emitted(lab: Lab, server: str, name: str, *words: str, matrix: Any = MATRIX, shards: int = 3) -> str:
    """The file that the command prints for a matrix of this name in the lab's repository."""
    repository = lab.root / "repository"
    repository.mkdir(exist_ok=True)
    (repository / name).write_text(json.dumps(matrix))
    command = [*MIGMATRIX, "ci", server, f"--file={name}", "--shards", str(shards), *words]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def valid(text: str, schema: str, place: Path) -> None:
    file = place / "emitted.yml"
    file.write_text(text)
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def server_of(lab: Lab, kind: type[GitLab | GitHub]) -> GitLab | GitHub:
    return kind(lab.root, lab.root / "repository", on_path(lab.root / "bin"))


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("matrix", [MATRIX, CONTAINED], ids=["emulator", "debian"])
@pytest.mark.parametrize("shards", [1, 200])
def test_files_follow_the_schema_of_their_server(lab: Lab, server: str, matrix: Any, shards: int) -> None:
    text = emitted(lab, server, HARD, matrix=matrix, shards=shards)
    assert text.isascii()
    valid(text, SERVERS[server][1], lab.root)


@pytest.mark.parametrize("server", SERVERS)
def test_the_schema_refuses_what_is_no_such_file(lab: Lab, server: str) -> None:
    text = emitted(lab, server, "m.yaml").replace("retry:", "retries:").replace("runs-on:", "run-on:")
    with pytest.raises(AssertionError):
        valid(text, SERVERS[server][1], lab.root)


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_the_jobs_of_a_night_give_one_run_as_if_it_had_not_been_cut(lab: Lab, server: str) -> None:
    """And those of the next night find every leg in the cache."""
    text = emitted(lab, server, HARD)
    runner = server_of(lab, SERVERS[server][0])

    codes = [runner.run(text) for runner.night in (1, 2)]

    whole = lab.run(lab.root / "repository" / HARD, out="whole")
    assert [*codes, whole.returncode] == [1, 1, 1], runner.said
    for night in (1, 2):
        merged = f"night-{night}/merge/nightly"
        assert timeless(lab.results(merged)) == timeless(lab.results("whole"))
    assert {record["verdict"] for record in lab.results("whole").values()} == {"pass", "fail"}
    assert sorted(runner.codes) == ["merge", "prepare", "shard-1", "shard-2", "shard-3"]
    assert not list(lab.root.rglob("pwned"))
    history = lab.root / "night-2" / "merge" / ".migmatrix" / "history" / "history.jsonl"
    assert len(history.read_text().splitlines()) == 2
    first, second = (legs(lab, night) for night in (1, 2))
    assert (first["executed"] > 0, second["executed"]) == (True, 0)


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_the_merged_run_of_a_night_is_signed_by_its_policy(lab: Lab, server: str) -> None:
    """With the red pair in the matrix the night is red and nothing is signed; without it the night is green, and signed."""
    (lab.root / "repository").mkdir()
    (lab.root / "repository" / "my policy.yaml").write_text(
        '{"require": [{"select": {"profile": "*"}, "pass": "100%"}]}'
    )
    text = emitted(lab, server, "m.yaml", "--policy", "my policy.yaml", matrix=SOUND, shards=2)
    key = write_key(lab.root)
    runner = server_of(lab, SERVERS[server][0])
    runner.secrets["secrets.MIGMATRIX_SIGNING_KEY"] = key.read_text()
    runner.variables["MIGMATRIX_SIGNING_KEY"] = str(key)

    assert runner.run(text) == 0, runner.said
    signed = lab.root / "night-1" / "merge" / "signed"
    command = [*MIGMATRIX, "verify", str(signed), "--key", str(key.with_suffix(".pub.pem"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

    (lab.root / "repository" / "m.yaml").write_text(json.dumps(MATRIX))
    runner.night = 2
    assert runner.run(text) == 1, runner.said
    assert not (lab.root / "night-2" / "merge" / "signed").exists()


def legs(lab: Lab, night: int) -> dict[str, int]:
    report = json.loads((lab.root / f"night-{night}" / "merge" / "nightly" / "report.json").read_text())
    found: dict[str, int] = report["hops"]
    return found


def test_github_obeys_no_line_of_an_emulator(lab: Lab) -> None:
    """Commands are off from before the first output of `migmatrix` to the end of the step, by a token that none can know."""
    program = Codes(lab.root, 0)
    (step,) = [
        s for s in yaml.safe_load(for_github(NIGHT, ""))["jobs"]["shard"]["steps"] if s.get("name") == "Run"
    ]
    assert program.server.bash(step["run"], lab.root, {"SHARD": "1"}) == 0
    found = re.fullmatch(r"::stop-commands::([0-9a-f-]{36})\n::([0-9a-f-]{36})::\n", program.server.said)
    assert found is not None
    assert found[1] == found[2]


@pytest.mark.parametrize("server", SERVERS)
def test_a_mistake_in_the_matrix_is_told_once(lab: Lab, server: str) -> None:
    """By the first job; no shard begins."""
    text = emitted(lab, server, "m.yaml")
    (lab.root / "repository" / "m.yaml").write_text('{"builds": 1}')
    runner = server_of(lab, SERVERS[server][0])
    assert runner.run(text) >= 2
    assert runner.codes["prepare"] == [2]
    assert not [name for name in runner.codes if name.startswith("shard")]


class Codes:
    """A program in place of `migmatrix` whose calls end with these codes, one after another, and are counted."""

    def __init__(self, place: Path, *codes: int) -> None:
        self._calls = place / "calls"
        (place / "bin").mkdir()
        (place / "codes").write_text("\n".join(map(str, codes)))
        program = place / "bin" / "migmatrix"
        program.write_text(
            f'#!/bin/sh\necho "$*" >> {self._calls}\nexit $(sed -n "$(wc -l < {self._calls})p" {place}/codes)\n'
        )
        program.chmod(0o755)
        self.server = Server(place, place / "repository", place / "bin")

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines()


NIGHT = Night("m.yaml", 3, contained=False, install="true", schedule="17 2 * * *")
# what the calls of a shard's program end with, and what its job ends with
ENDS = [
    ((0,), 0),
    ((1,), 0),
    ((2,), 2),
    ((70,), 70),
    ((3, 0), 0),
    ((3, 1), 0),
    ((3, 3), 3),
    ((3, 70), 70),
    ((130,), 130),
]


@pytest.mark.parametrize(("codes", "end"), ENDS, ids=str)
def test_only_a_failure_of_the_host_is_tried_again(tmp_path: Path, codes: tuple[int, ...], end: int) -> None:
    program = Codes(tmp_path, *codes, 99)
    script = scripts.settled(scripts.shard(NIGHT, "$SHARD/3", out="shard-$SHARD"))
    assert program.server.bash(script, tmp_path, {"SHARD": "2"}) == end
    assert len(program.calls) == len(codes)
    assert len(set(program.calls)) == 1
    assert "--shard 2/3 " in program.calls[0]


@pytest.mark.parametrize(("codes", "end"), ENDS, ids=str)
def test_gitlab_tries_again_and_allows_by_the_same_codes(
    tmp_path: Path, codes: tuple[int, ...], end: int
) -> None:
    program = Codes(tmp_path, *codes, 99)
    (tmp_path / "repository").mkdir()
    file = yaml.safe_load(for_gitlab(NIGHT, "python", ""))
    file = {"stages": ["shard"], "shard": {**file["shard"], "parallel": 1}}
    runner = GitLab(tmp_path, tmp_path / "repository", tmp_path / "bin")
    assert runner.run(yaml.safe_dump(file)) == end
    assert len(program.calls) == len(codes)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 70])
def test_a_merge_ends_as_the_merged_run_does_and_is_remembered(tmp_path: Path, code: int) -> None:
    program = Codes(tmp_path, code, 0)
    for name in ("shard-1", "shard-2"):
        (tmp_path / name).mkdir()
    assert program.server.bash(scripts.merge(NIGHT, "shard-*/"), tmp_path, {}) == code
    remembered = ["history add nightly --db .migmatrix/history --every 24h"] if code in (0, 1, 3) else []
    assert program.calls == ["merge shard-1/ shard-2/ --out nightly", *remembered]


@pytest.mark.parametrize(
    ("merged", "signed", "end"), [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 1), (3, 1, 3), (0, 2, 2)]
)
def test_with_a_policy_a_night_is_green_only_when_it_is_signed(
    tmp_path: Path, merged: int, signed: int, end: int
) -> None:
    program = Codes(tmp_path, merged, 0, signed)
    (tmp_path / "shard-1").mkdir()
    script = scripts.merge(replace(NIGHT, policy="my policy.yaml"), "shard-*/", key='"$KEY"')
    assert program.server.bash(script, tmp_path, {"KEY": "a key.pem"}) == end
    assert program.calls[-1] == "sign-off nightly --policy my policy.yaml --key a key.pem --out signed"


def test_a_history_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    program = Codes(tmp_path, 0, 3)
    (tmp_path / "shard-1").mkdir()
    assert program.server.bash(scripts.merge(NIGHT, "shard-*/"), tmp_path, {}) == 3


def test_without_any_shard_the_night_is_incomplete(tmp_path: Path) -> None:
    server = Server(tmp_path, tmp_path, on_path(tmp_path / "bin"))
    assert server.bash(scripts.merge(NIGHT, "shard-*/"), tmp_path, {}) == 3
    assert server.said == "no shard left a run\n"


def test_images_are_made_once_and_loaded_by_each_shard() -> None:
    night = Night("m.yaml", 2, contained=True, install="true", schedule="1 2 * * *")
    assert scripts.prepare(night)[-1].startswith("migmatrix builds export ")
    assert scripts.shard(night, "1/2", out="x")[0] == "migmatrix builds import images"
    jobs = yaml.safe_load(for_github(night, ""))["jobs"]
    (up,) = [s["with"] for s in jobs["prepare"]["steps"] if "upload" in s.get("uses", "")]
    (down,) = [s["with"] for s in jobs["shard"]["steps"] if "download" in s.get("uses", "")]
    assert (up["name"], up["path"]) == (down["name"], down["path"]) == ("images", "images")
    assert yaml.safe_load(for_gitlab(night, "i", ""))["prepare"]["artifacts"]["paths"] == ["images/"]


@pytest.mark.parametrize("name", [HARD, "a b.yaml", "'", "$(x)", "${{ x }}", "$$", "a\nb", "\\", "*", "~"])
def test_a_quoted_name_is_one_word_that_nothing_but_a_shell_changes(name: str) -> None:
    quoted = scripts.quote(name)
    assert not any(mark in quoted for mark in ("$(", "${{", "$["))
    done = subprocess.run(["sh", "-c", f"printf %s {quoted}"], capture_output=True, text=True, check=True)
    assert done.stdout == name


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["gitlab", "--shards", "201"], "201 shards: GitLab takes at most 200"),
        (["github", "--shards", "257"], "257 shards: GitHub takes at most 256"),
        (["github", "--shards", "2", "-f", "/etc/m.yaml"], "'/etc/m.yaml': name the matrix from the top of the "),
        (["github", "--shards", "2", "-f", "../m.yaml"], "'../m.yaml': name the matrix from the top of the "),
        (["gitlab", "--shards", "2", "-f", "none.yaml"], "cannot read 'none.yaml'"),
        (["gitlab", "--shards", "2", "--out", "no/such.yml"], "cannot write 'no/such.yml': No such file"),
        (["gitlab", "--shards", "0"], "ci gitlab: invalid value for '--shards': "),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_nothing_is_written(lab: Lab, words: list[str], told: str) -> None:
    (lab.root / "matrix.yaml").write_text(json.dumps(MATRIX))
    before = sorted(lab.root.iterdir())
    done = lab.call([*MIGMATRIX, "ci", *words])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"migmatrix: {told}"), done.stderr
    assert sorted(lab.root.iterdir()) == before


def test_the_file_is_written_as_it_is_printed(lab: Lab) -> None:
    (lab.root / "matrix.yaml").write_text(json.dumps(MATRIX))
    words = ["ci", "gitlab", "--shards", "2"]
    printed = lab.call([*MIGMATRIX, *words]).stdout
    assert lab.call([*MIGMATRIX, *words, "--out", "x.yml"]).stdout == ""
    assert yaml.safe_load((lab.root / "x.yml").read_text()) == yaml.safe_load(printed)
