# SPDX-License-Identifier: Apache-2.0
"""Command lines that real QEMU 5.2, 7.2, 10.0 and 11.1 took or refused (tests/data/recorded/lines.json), and its words.

Each line is run by the emulator's own program. A line is tried at every release whose answer differs from that of the
release before. `unlike.txt` lists what the emulator says otherwise, or does not look at: whoever mends one takes it
out, and nothing is added without a decision.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from forked import Runs
from recorded import RELEASES, answer_in, read

from migmatrix.emulator.release import freeze, load

if TYPE_CHECKING:
    from collections.abc import Iterator

ROWS = read("lines")
UNLIKE = Path(__file__).with_name("unlike.txt")
START = ("-M", "none", "-S", "-nodefaults", "-display", "none")
QUIT = '{"execute": "qmp_capabilities"}{"execute": "quit"}\n'


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    with Runs() as made:
        yield made


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A file for each release, which it starts from at once."""
    place = tmp_path_factory.mktemp("releases")
    for release in RELEASES:
        freeze(load(release), place / release)
    return {release: str(place / release) for release in RELEASES}


def known() -> set[tuple[str, str]]:
    """(release, line) of what is answered otherwise."""
    pairs = (line.split(" ", 1) for line in UNLIKE.read_text().splitlines() if not line.startswith("#"))
    return {(release, line) for release, line in pairs}


@pytest.mark.parametrize("release", RELEASES)
def test_a_command_line_is_taken_or_refused_as_by_real_qemu(
    release: str, runs: Runs, frozen: dict[str, str]
) -> None:
    differs = set()
    changed = [row for row in ROWS if release in row["answers"]]
    for row in changed:
        words = ("-release", release, "-release-file", frozen[release], *START, *shlex.split(row["ask"]))
        if list(runs.run((*words, "-qmp", "stdio"), QUIT)) != answer_in(row, release):
            differs.add((release, row["ask"]))
    assert differs == {pair for pair in known() if pair[0] == release}
    assert changed


def test_what_differs_is_the_lesser_part() -> None:
    assert len(known()) < sum(len(row["answers"]) for row in ROWS) // 3


@pytest.mark.parametrize("release", RELEASES)
def test_no_command_line_ends_in_a_traceback(release: str, runs: Runs, frozen: dict[str, str]) -> None:
    """Those that differ too end with a sentence and a status, or go on."""
    for _, line in sorted(pair for pair in known() if pair[0] == release):
        words = ("-release", release, "-release-file", frozen[release], *START, *shlex.split(line))
        status, said = runs.run((*words, "-qmp", "stdio"), QUIT)
        assert status in (0, 1), (line, said)
        assert "Traceback (most recent call last):" not in said, line


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-chardev socket,id=a,host=127.0.0.1", "chardev: socket: no port given"),
        ("-chardev ringbuf,id=a,size=3", "size of ringbuf chardev must be power of two"),
        ("-chardev file,id=a", "chardev: file: no filename given"),
        ("-chardev pipe,id=a", "chardev: pipe: no device path given"),
        ("-chardev id=a", 'chardev: "a" missing backend'),
        ("-mon mode=control", "Parameter 'chardev' is missing"),
        ("-blockdev node-name=a", "Parameter 'driver' is missing"),
        ("-object id=a", "Parameter 'qom-type' is missing"),
        ("-name a,debug-threads=x", "Parameter 'debug-threads' expects 'on' or 'off'"),
    ],
)
def test_what_is_missing_is_named(line: str, said: str, runs: Runs, frozen: dict[str, str]) -> None:
    """These once fell over, were taken, or were refused for something else."""
    words = ("-release", "10.0", "-release-file", frozen["10.0"], *START, *shlex.split(line))
    assert runs.run(words) == (1, [f"{line}: {said}"])
