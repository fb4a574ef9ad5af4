# SPDX-License-Identifier: Apache-2.0
"""The command line as a whole: help, one declaration of each option, a page for each command, defaults everywhere alike."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
from emulated import write_matrix
from lab import MIGMATRIX

from migmatrix.harness.commands import options, stream
from migmatrix.harness.commands.main import COMMANDS as NAMES
from migmatrix.harness.commands.main import app
from migmatrix.harness.run.pipeline import RunOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab import Lab

TOP = Path(__file__).parents[2]
COMMANDS = TOP / "harness" / "commands"
LONGEST = 45  # characters; click cuts what is longer out of the list of commands


def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command and group below `command`, by its whole name."""
    for below, child in sorted(getattr(command, "commands", {}).items()):
        yield f"{name} {below}", child
        yield from walk(child, f"{name} {below}")


EVERY = dict(walk(typer.main.get_command(app()), "migmatrix"))


@pytest.mark.parametrize("name", EVERY)
def test_help_is_short_first_and_complete(name: str) -> None:
    command = EVERY[name]
    first = (command.help or "").partition("\n\n")[0].replace("\n", " ")
    assert 0 < len(first) < LONGEST
    assert first.endswith(".")
    without = [p.name for p in command.params if p.name != "help" and not getattr(p, "help", "")]
    assert not without


@pytest.mark.parametrize("name", EVERY)
def test_a_page_of_the_documentation_shows_the_command(name: str) -> None:
    pages = [*TOP.joinpath("docs").rglob("*.md")]
    assert any(re.search(rf"{name}\b", page.read_text()) for page in pages)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_command_starts_with_no_other_imported(name: str) -> None:
    done = subprocess.run([*MIGMATRIX, name, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.lower().startswith("usage: migmatrix ")


def flags(file: Path) -> Iterator[str]:
    """The flags that a file declares by `typer.Option`."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "typer.Option":
            yield from {str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)}


def test_each_option_is_declared_in_one_file() -> None:
    files: Counter[str] = Counter()
    for file in COMMANDS.glob("*.py"):
        files.update(set(flags(file)))
    several = {flag for flag, count in files.items() if count > 1}
    # `bisect` takes one path, with ranges in it; `plan` and `run` take any number of paths. A budget is one of runs, or,
    # of a search, of legs or time; a search has a seed of its own, and is never without one. `sign-off` needs a policy, `ci` takes one.
    assert several == {"--path", "--budget", "--seed", "--every-machine", "--policy"}


def test_how_many_emulators_run_at_once_is_the_same_for_every_command() -> None:
    found = {name: p.default for name, c in EVERY.items() for p in c.params if "--jobs" in p.opts}
    assert len(found) > 5
    assert set(found.values()) == {options.JOBS, RunOptions(file=options.MATRIX).jobs}


NOWHERE = (
    ["compat", "lint"],
    ["compat", "diff", "qemu-8.0", "qemu-8.0.1", "--machine", "pc-q35-7.2"],
    ["mutate", "--dry-run"],
)


@pytest.mark.parametrize("words", NOWHERE, ids=" ".join)
def test_the_tables_are_those_of_the_program_wherever_it_is_started(lab: Lab, words: list[str]) -> None:
    store = [] if words == ["compat", "lint"] else ["--store", str(lab.root / "store")]
    argv = [*MIGMATRIX, *words, *store, "-f", str(write_matrix(lab.root, ["8.0", "8.0.1"]))]
    by_default = lab.call(argv)
    named = lab.call([*argv, "--tables", str(TOP / "compat")])
    assert by_default.stdout == named.stdout
    assert by_default.returncode == named.returncode, by_default.stderr
    expected = {"lint": "hw_compat", "diff": "x-pcie-err-unc-mask", "--dry-run": "entries"}
    word = next(word for word in words if word in expected)
    assert expected[word] in by_default.stdout


@pytest.mark.parametrize(
    "words",
    [
        *(["--tables", *words] for words in NOWHERE),
        ["--tables", "compat", "static", "run"],
        ["--check", "compat", "extract", "qemu-8.0"],
    ],
    ids=" ".join,
)
def test_tables_that_are_not_there_are_the_users_mistake(lab: Lab, words: list[str]) -> None:
    option, *command = words
    done = lab.call([*MIGMATRIX, *command, option, "nonesuch"])
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "migmatrix: no directory of compat tables 'nonesuch'\n"


def test_a_command_prints_json_of_its_own(lab: Lab) -> None:
    done = lab.call([*lab.command("builds", "list", "-f", str(lab.matrix())), "--json"])
    assert done.returncode == 0, done.stderr
    assert '"version": "7.2.0"' in done.stdout


@pytest.mark.parametrize("name", stream.COMMANDS)
def test_a_stream_command_has_short_help_and_a_page(name: str) -> None:
    assert 0 < len(stream.summary(name)) < LONGEST
    assert any(f"migmatrix stream {name}" in page.read_text() for page in TOP.joinpath("docs").rglob("*.md"))


@pytest.mark.slow
def test_an_installed_wheel_answers_as_the_checkout_does(lab: Lab) -> None:
    """Run from an empty directory: the tables, machines and profiles are those in the wheel."""
    python = installed(lab.root)
    write_matrix(lab.root, ["8.0", "8.0.1"])
    empty = lab.root / "empty"
    empty.mkdir()
    for words in NOWHERE:
        store = [] if words == ["compat", "lint"] else ["--store", str(lab.root / "store")]
        told = [
            subprocess.run(
                [*program, *words, "-f", str(lab.root / "matrix.yaml"), *store],
                cwd=empty, env=lab.env() | environment, capture_output=True, text=True, check=False,
            )
            for program, environment in ((MIGMATRIX, {}), ([python, "-m", "migmatrix"], {"PYTHONPATH": ""}))
        ]  # fmt: skip
        assert told[0].stdout == told[1].stdout, told[1].stderr
        assert told[0].returncode == told[1].returncode
        assert told[0].stdout


def installed(directory: Path) -> str:
    """The Python of a virtual environment with a wheel of this checkout, and what is installed beside the checkout."""
    source = directory / "source"
    shutil.copytree(
        TOP, source, symlinks=True, ignore=shutil.ignore_patterns(".*", "runs", "*.egg-info", "build", "dist")
    )
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheel = [*pip, "wheel", "--no-deps", "-w", str(directory / "dist"), str(source)]
    subprocess.run(wheel, check=True, capture_output=True)
    shutil.rmtree(source)
    venv.create(directory / "venv", with_pip=False)
    python = directory / "venv" / "bin" / "python"
    (file,) = (directory / "dist").glob("*.whl")
    place = sysconfig.get_path("purelib", vars={"base": str(directory / "venv")})
    subprocess.run(
        [*pip, "install", "--no-deps", "--target", place, str(file)], check=True, capture_output=True
    )
    # The dependencies, at the end of the path; what a directory on it says of the checkout is not read there.
    others = [path for path in sys.path if path.endswith("site-packages")]
    Path(place, "dependencies.pth").write_text("\n".join(others))
    where = [str(python), "-c", "import migmatrix; print(migmatrix.__file__)"]
    found = subprocess.run(where, cwd=directory, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(directory))
    return str(python)
