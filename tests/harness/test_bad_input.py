# SPDX-License-Identifier: Apache-2.0
"""The user's mistakes: one line with its place, exit 2, nothing written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lab import Lab

GOOD = """\
builds:
  old: {provider: binary, path: fake-7.2.0}
  new: {provider: binary, path: fake-8.0.0}
machines: [pc-q35-7.2]
profiles:
  define:
    plain: {args: []}
paths: {pairs: all}
"""


@pytest.mark.parametrize(
    ("good", "bad", "line", "message"),
    [
        ("machines:", "machnes:", 4, "unknown key 'machnes': did you mean 'machines'?"),
        ("paths:", "builds: {}\npaths:", 8, "duplicate key 'builds'"),
        ("[pc-q35-7.2]", "[{common: pc-q35, only: [9.10]}]", 4, "9.10"),
        ("pairs: all", 'pairs: ["old>nwe"]', 8, "unknown build 'nwe' in path 'old>nwe': did you mean 'new'?"),
        ("args: []", "args: [-device, nonesuch]", 7, "no build accepts profile 'plain'"),
        ("args: []", "args: [-device, broken]", 7, "no build accepts profile 'plain'"),
        ("path: fake-8.0.0", "path: fake-9.9.9", 3, "there is no emulator"),
        ("provider: binary, path: fake-7.2.0", "provider: image, image: 'nonesuch:1'", 2, "nonesuch:1"),
    ],
)
def test_a_mistake_in_the_matrix(
    lab: Lab, good: str, bad: str, line: int, message: str, request: pytest.FixtureRequest
) -> None:
    if "image" in bad:
        request.getfixturevalue("container_engine")
    lab.matrix()
    matrix = lab.root / "bad.yaml"
    assert good in GOOD
    matrix.write_text(GOOD.replace(good, bad))

    done = lab.run(matrix)

    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    told = done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert re.match(rf"migmatrix: {re.escape(str(matrix))}:{line}:\d+: ", told)
    assert message in told
    assert not (lab.root / "out").exists()


def test_the_good_matrix_is_good(lab: Lab) -> None:
    lab.matrix()
    (lab.root / "bad.yaml").write_text(GOOD)

    assert lab.run(lab.root / "bad.yaml").returncode == 0


@pytest.mark.parametrize("place", ["--out", "--store"])
def test_an_unwritable_directory(lab: Lab, place: str) -> None:
    matrix = lab.matrix()
    (lab.root / "file").write_text("")

    done = lab.call([*lab.run_arguments(matrix), place, str(lab.root / "file" / "below")])

    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("migmatrix: cannot write to ")
    assert not (lab.root / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--select", "colour=red"], "'colour'"),
        (["--select", "profile=nonesuch"], "matches no cell"),
        (["--shard", "3/2"], "shard 3/2 does not exist"),
        (["--path", "old>older"], "unknown build 'older'"),
        (["-f", "nonesuch.yaml"], "nonesuch.yaml"),
        (["--nonesuch"], "migmatrix: run: no such option: --nonesuch"),
        (["-j", "0"], "migmatrix: run: invalid value for '-j'"),
    ],
)
def test_a_mistake_on_the_command_line(lab: Lab, arguments: list[str], message: str) -> None:
    matrix = lab.matrix()

    done = lab.run(matrix, *arguments)

    assert done.returncode == 2, done.stderr
    (told,) = [line for line in done.stderr.splitlines() if not line.startswith(("old: ", "new: "))]
    assert message in told
    assert not (lab.root / "out").exists()
