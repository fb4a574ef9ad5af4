# SPDX-License-Identifier: Apache-2.0
"""The documentation against the tree: links and paths lead somewhere, decisions have no gap, commands are on a page."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from itertools import count
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "tests" / "README.md")
    if path.name != "CHANGELOG.md"
)
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
# decisions tell what was true when they were made
NOW = [name for name in NAMES if not name.startswith("docs/decisions/")]
TOPS = (
    "harness",
    "emulator",
    "vmstate",
    "migmatrix",
    "tests",
    "docs",
    "machines",
    "compat",
    "matrices",
    "scripts",
    "changelog.d",
    ".ci",
)
# a name for many, and a folder of QEMU's
OTHERS = {"compat/hw_compat_X_Y.yaml", "docs/devel/migration"}

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PATH = re.compile(rf"(?<![\w/.~$<>-])(?:\./)?((?:{'|'.join(map(re.escape, TOPS))})/[\w./*-]*[\w/*])")


def links(text: str) -> list[str]:
    return [
        target for target in _LINK.findall(text) if "://" not in target and not target.startswith("mailto:")
    ]


def paths(text: str) -> list[str]:
    """Paths from the top of the repository, wherever they stand: in prose, in tables, in commands."""
    return _PATH.findall(text)


def anchors(path: Path) -> set[str]:
    """What a link may name behind `#`: headings as GitHub and GitLab turn them into ids."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def exists(path: str, page: Path = ROOT / "README.md") -> bool:
    """From the top or the page's folder; in an sdist, in which `migmatrix/` holds the three packages, from there."""
    places = (ROOT, page.parent, ROOT / "migmatrix")
    return path in OTHERS or any(next(place.glob(path), None) is not None for place in places)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_a_file_and_to_a_heading(name: str) -> None:
    page = ROOT / name
    dead = []
    for target in links(page.read_text()):
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("name", NOW)
def test_paths_exist(name: str) -> None:
    page = ROOT / name
    assert [path for path in paths(page.read_text()) if not exists(path, page)] == []


def test_paths_are_found_in_prose_and_in_commands() -> None:
    text = "see `docs/words.md`, (tests/README.md); run -f matrices/debian.yaml --x a/docs/no.md ~/docs/no matrices/*.yaml."
    assert paths(text) == ["docs/words.md", "tests/README.md", "matrices/debian.yaml", "matrices/*.yaml"]
    assert not exists("docs/gone.md")


def test_every_page_is_in_the_list_of_pages() -> None:
    listed = {
        (ROOT / "docs" / target.partition("#")[0]).resolve()
        for target in links((ROOT / "docs" / "README.md").read_text())
    }
    numbered = {"decisions", "findings"}
    pages = {path for path in PAGES if path.is_relative_to(ROOT / "docs") and not numbered & {*path.parts}}
    assert pages - {ROOT / "docs" / "README.md"} - listed == set()


def test_decisions_are_numbered_without_gaps_and_say_their_number() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [path.name[:5] for path in decisions] == [
        f"{number:04}-" for number, _ in zip(count(1), decisions, strict=False)
    ]
    assert [p.name for p in decisions if not p.read_text().startswith(f"# {int(p.name[:4])}. ")] == []


def test_every_command_is_on_a_page() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "migmatrix", "--help"], capture_output=True, text=True, check=True
    )
    commands = re.findall(r"^  ([a-z-]+) {2,}", done.stdout.partition("Commands:")[2], re.MULTILINE)
    assert {"run", "plan", "explain"} <= set(commands)
    text = "\n".join((ROOT / name).read_text() for name in NOW)
    assert [command for command in commands if not re.search(rf"migmatrix\s+{command}\b", text)] == []


@pytest.mark.parametrize("part", ["harness", "vmstate", "emulator"])
def test_the_floor_plan_shows_each_room_and_no_other(part: str) -> None:
    """Each folder is in the table of its part, and everything in the first column is there."""
    plan = ARCHITECTURE.split("## Rules between the rooms")[0]
    table = plan.split(f"| `{part}/`:")[1].split("\n\n")[0]
    shown = {name for row in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])}
    folder = ROOT / "migmatrix" / part
    rooms = {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}
    assert (rooms - shown, {name for name in shown if not (folder / name).exists()}) == (set(), set())


def test_the_layers_of_the_page_are_those_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (
        c["layers"] for c in contracts if c["type"] == "layers" and "migmatrix.harness.cli" in c["layers"]
    )
    block = ARCHITECTURE.split("## Rules between the rooms")[1].split("```")[1]
    assert block.strip().splitlines() == [layer.replace("migmatrix.harness.", "") for layer in layers]
