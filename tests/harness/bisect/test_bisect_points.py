# SPDX-License-Identifier: Apache-2.0
"""Paths with ranges, histories of git, the conventions of `git bisect run`, and the answer's words."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from migmatrix.harness.bisect import (
    Answer,
    CellOptions,
    CommitOptions,
    Finding,
    Kind,
    Rules,
    Run,
    Shown,
    bisect_commits,
    exit_code,
    published,
    render,
    sides,
)
from migmatrix.harness.bisect.commits import history
from migmatrix.harness.bisect.points import lines_of, parse_path, stretches
from migmatrix.harness.errors import BuildError, UserError

ORDER = ("a", "b", "c", "d")
QUICK = Rules(verify=1, confirm=1, confidence=0.5)


def test_one_range_is_one_search() -> None:
    (line,) = lines_of(("a..c", "d"), ORDER)
    assert (line.path, line.points, line.side) == (("@", "d"), ("a", "b", "c"), "source side")
    (line,) = lines_of(("a", "b", "b..d"), ORDER)
    assert line.side == "destination side"
    (line,) = lines_of(("a", "a..d", "b"), ORDER)
    assert line.side == "step 2 of the chain"


def test_two_ranges_are_searched_with_the_other_at_either_end() -> None:
    lines = lines_of(("a..b", "c..d"), ORDER)
    assert [line.text for line in lines] == ["@>d", "b>@", "@>c", "a>@"]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("a", "not a path"),
        ("a>", "not a path"),
        ("a>b", "0 ranges"),
        ("a..b>a..b>a..b", "3 ranges"),
        ("b..a>c", "earlier build first"),
        ("a..a>c", "earlier build first"),
        ("a..e>c", "unknown build 'e'"),
        ("a..b>e", "unknown build 'e'"),
    ],
)
def test_mistakes_in_a_path(path: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        lines_of(parse_path(path), ORDER)


def test_neighbours_are_stretches() -> None:
    assert stretches((1, 2, 5, 7, 8, 9)) == [range(1, 3), range(5, 6), range(7, 10)]
    assert stretches(()) == []


# -- repositories


def repository(root: Path, statuses: list[int]) -> list[str]:
    """A repository whose commits hold an exit status each; their hashes."""

    def git(*arguments: str) -> str:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        argv = ["git", *who, *arguments]
        return subprocess.run(argv, cwd=root, check=True, capture_output=True, text=True).stdout.strip()

    root.mkdir()
    git("init", "--quiet", "--initial-branch=main")
    made = []
    for number, status in enumerate(statuses):
        (root / "status").write_text(f"{status}\n")
        (root / "number").write_text(f"{number}\n")
        git("add", "--all")
        git("commit", "--quiet", "-m", f"change {number}")
        made.append(git("rev-parse", "HEAD"))
    return made


def by_command(
    root: Path, good: str, bad: str, run: str = "exit $(cat status)", build: str = "", rules: Rules = QUICK
) -> Answer:
    options = CellOptions(
        root / "none.yaml", root / "store", out=root / "out", rules=rules, command="the command"
    )
    chosen = CommitOptions(root / "repo", good, bad, build, "bin/emulator", run)
    (answer,) = bisect_commits(options, chosen, print)
    return answer


def test_a_command_decides_as_under_git_bisect_run(tmp_path: Path) -> None:
    """0 is good, 125 cannot be tested, 1 to 127 otherwise are bad; git itself says the same."""
    commits = repository(tmp_path / "repo", [0, 0, 0, 0, 125, 127, 1, 126, 1, 124])
    answer = by_command(tmp_path, commits[0], commits[-1])
    assert answer.finding.culprits == (4, 5)
    for arguments in (["start", commits[-1], commits[0]], ["run", "sh", "-c", "exit $(cat status)"]):
        said = subprocess.run(
            ["git", "bisect", *arguments], cwd=tmp_path / "repo", capture_output=True, text=True, check=False
        )
    assert f"{commits[5]}" in said.stdout
    assert f"{commits[4]}" in said.stdout


def test_a_repair_is_found_when_the_good_commit_is_the_later_one(tmp_path: Path) -> None:
    commits = repository(tmp_path / "repo", [1, 1, 1, 0, 0, 0])
    answer = by_command(tmp_path, good=commits[-1], bad=commits[0])
    assert answer.finding.culprits == (3,)
    assert not answer.finding.broke
    assert "change 3) repairs it" in next(iter(render(answer)))


@pytest.mark.parametrize("command", ["exit 128", "exit 255", "kill -9 $$"])
def test_a_command_that_is_stopped_stops_the_search(tmp_path: Path, command: str) -> None:
    commits = repository(tmp_path / "repo", [0, 1])
    with pytest.raises(BuildError, match="was stopped"):
        by_command(tmp_path, commits[0], commits[-1], command)


def test_a_build_that_fails_is_a_point_that_cannot_be_tested(tmp_path: Path) -> None:
    """The build runs in the checkout, installs into $MIGMATRIX_OUT, once per commit; a test gets what it built."""
    commits = repository(tmp_path / "repo", [0] * 8)
    build = (
        "echo $MIGMATRIX_COMMIT >> $TOP/built; n=$(cat number); [ $n != 4 ] || { echo 'no rule'; exit 2; };"
        ' mkdir -p $MIGMATRIX_OUT/bin; echo "exit $((n > 4))" > $MIGMATRIX_OUT/bin/emulator;'
        " chmod +x $MIGMATRIX_OUT/bin/emulator"
    ).replace("$TOP", str(tmp_path))
    first = by_command(tmp_path, commits[0], commits[-1], "sh $MIGMATRIX_EMULATOR", build)
    assert first.finding.culprits == (4, 5)
    assert "no rule" in "\n".join(render(first))
    (tmp_path / "out").rename(tmp_path / "away")  # the journal is gone, what was built is not
    (tmp_path / "built").write_text("")
    assert by_command(tmp_path, commits[0], commits[-1], "sh $MIGMATRIX_EMULATOR", build).runs[-1].point == 3
    again = (tmp_path / "built").read_text().split()
    tested = {commits[run.point] for run in first.runs if run.shown is not Shown.UNTESTABLE}
    assert commits[4] in again
    assert not tested.intersection(again)


def test_a_checkout_that_cannot_be_made_is_the_hosts_failure(tmp_path: Path) -> None:
    commits = repository(tmp_path / "repo", [0, 0, 1])
    out = tmp_path / "out"
    by_command(tmp_path, commits[0], commits[-1])
    (place,) = out.glob("bisect-*")
    (place / "journal.jsonl").unlink()
    for head in place.glob("checkouts/*/.git/HEAD"):
        head.write_text("nonsense")
    with pytest.raises(BuildError, match="cannot check"):
        by_command(tmp_path, commits[0], commits[-1])


def test_the_users_repository_is_left_alone(tmp_path: Path) -> None:
    commits = repository(tmp_path / "repo", [0, 0, 1, 1])
    before = sorted((p.relative_to(tmp_path), p.stat().st_mtime_ns) for p in (tmp_path / "repo").rglob("*"))
    by_command(tmp_path, commits[0], commits[-1])
    assert before == sorted(
        (p.relative_to(tmp_path), p.stat().st_mtime_ns) for p in (tmp_path / "repo").rglob("*")
    )


def test_names_that_are_no_history(tmp_path: Path) -> None:
    commits = repository(tmp_path / "repo", [0, 1])
    with pytest.raises(UserError, match="leads to the other"):
        history(tmp_path / "repo", commits[0], commits[0])
    with pytest.raises(UserError, match="nosuch"):
        history(tmp_path / "repo", commits[0], "nosuch")
    line, in_order = history(tmp_path / "repo", "HEAD", "HEAD~1")
    assert [commit.sha for commit in line] == commits
    assert not in_order


# -- the answer


def answer(kind: Kind, side: str = "source side", **changes: object) -> Answer:
    finding = Finding(kind, "why", **changes)  # type: ignore[arg-type]  # a test's keywords
    runs = (
        Run(0, Shown.PASS),
        Run(2, Shown.FAIL, "sig", "said"),
        Run(1, Shown.UNTESTABLE, reason="no build"),
    )
    return Answer(("a", "b", "c"), "the cell", side, finding, runs, Path("journal"), "the command")


def test_an_answer_names_all_that_issue_5_asks_for() -> None:
    made = answer(
        Kind.RANGE, culprits=(1, 2), parent=0, signature="sig", confidence=0.999, runs=9, skipped=(1,)
    )
    text = "\n".join(render(made))
    for word in (
        "one of 2",
        "b, c",
        "sig",
        "99.90%",
        "9, 0 to search",
        "no build",
        "1 x pass",
        "the command",
    ):
        assert word in text
    data = json.loads(json.dumps(published([made])))["answers"][0]
    assert (data["culprits"], data["parent"], data["resume"]) == (["b", "c"], "a", "the command")
    assert data["evidence"][1]["point"] == "c"


def test_exit_codes() -> None:
    assert exit_code([answer(Kind.FOUND)]) == 0
    assert exit_code([answer(Kind.RANGE)]) == 1
    assert exit_code([answer(Kind.NO_CHANGE), answer(Kind.FOUND)]) == 0


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ("yny n".replace(" ", ""), "the source side alone"),
        ("nyny", "the destination side alone"),
        ("yynn", "it takes the change on the source side and the one on the destination side"),
        ("nnyy", "either change is enough"),
        ("yyyy", "see each search"),
        ("y", ""),
    ],
)
def test_which_side_turned_the_verdict(changed: str, words: str) -> None:
    places = ("source side", "destination side") * 2
    kinds = {"y": Kind.FOUND, "n": Kind.NO_CHANGE}
    said = sides([answer(kinds[c], side) for c, side in zip(changed, places, strict=False)])
    assert said.startswith(words) if words else said == ""
