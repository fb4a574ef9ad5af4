# SPDX-License-Identifier: Apache-2.0
"""170 streams made by hand (support/made_streams.py), and what real QEMU 5.2, 7.2, 10.0 and 11.1 said of each.

Configuration sections, headers, footers, run states, words of memory and commands: each taken or refused with the
status and the lines that are recorded. `unlike-streams.txt` lists those that the emulator takes otherwise.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from made_streams import STREAMS, good
from migration_machines import memory, none, target
from recorded import RELEASES, answer_in, read

from migmatrix.emulator.migration.faults import LoadError
from migmatrix.emulator.migration.messages import explain
from migmatrix.emulator.migration.returnpath import ReplyPath
from migmatrix.emulator.migration.streams import BytesChannel, Input

ROWS = {row["ask"]: row for row in read("streams")}
UNLIKE = Path(__file__).with_name("unlike-streams.txt")


def load(release: str, data: bytes) -> tuple[int, list[str]]:
    """Exit status and lines of a destination that is given a stream."""
    machine = target(release, "-S")
    try:
        machine.migration.reader(Input(BytesChannel(data)), ReplyPath(None)).load()
    except LoadError as error:
        return 1, machine.said + explain(error, machine.migration.traits)
    return 0, machine.said


def known() -> set[tuple[str, str]]:
    pairs = (line.split(" ", 1) for line in UNLIKE.read_text().splitlines() if not line.startswith("#"))
    return {(release, name) for release, name in pairs}


def test_every_stream_was_recorded() -> None:
    assert ROWS.keys() == STREAMS.keys()
    assert len(STREAMS) > 150


@pytest.mark.parametrize("release", RELEASES)
def test_a_made_stream_is_taken_or_refused_as_by_real_qemu(release: str) -> None:
    differs = {
        (release, name)
        for name, data in STREAMS.items()
        if list(load(release, data)) != answer_in(ROWS[name], release)
    }
    assert differs == {pair for pair in known() if pair[0] == release}


def test_what_differs_is_the_lesser_part() -> None:
    assert len(known()) * 8 < len(STREAMS) * len(RELEASES)


@pytest.mark.parametrize("release", RELEASES)
def test_what_qemu_refuses_is_refused_and_what_it_takes_is_taken(release: str) -> None:
    """The words may differ where they are listed, the decision only where a line of that list says so."""
    wrong = {
        (release, name)
        for name, data in STREAMS.items()
        if (load(release, data)[0] == 0) is not (answer_in(ROWS[name], release)[0] == 0)
    }
    assert wrong <= known()


@pytest.mark.parametrize("release", RELEASES)
def test_a_refused_stream_ends_with_one_last_line(release: str) -> None:
    for name, data in STREAMS.items():
        status, lines = load(release, data)
        last = [line for line in lines if line.startswith("load of migration failed: ")]
        assert last == (lines[-1:] if status else []), name


@pytest.mark.parametrize("release", RELEASES)
def test_a_good_stream_cut_anywhere_is_refused(release: str) -> None:
    """At every byte: only the whole stream is taken."""
    data = good()
    machine = none(release)
    for at in range(len(data)):
        with pytest.raises(LoadError):
            machine.migration.reader(Input(BytesChannel(data[:at])), ReplyPath(None)).load()
    machine.migration.reader(Input(BytesChannel(data)), ReplyPath(None)).load()


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("name", "at", "wanted"),
    [
        ("a page", 0, bytes(range(256)) * 16),
        ("a page in the last part", 0, bytes(range(256)) * 16),
        ("two pages", 4096, bytes(range(256)) * 16),
        ("the last page", (1 << 20) - 4096, bytes(range(256)) * 16),
        ("a zero page", 0, bytes(4096)),
        ("many zero pages", 4096, bytes(4096)),
        ("XBZRLE of a byte", 0, bytes(5) + b"\xaa" + bytes(4090)),
    ],
)
def test_what_a_stream_holds_is_in_memory(name: str, at: int, wanted: bytes, release: str) -> None:
    machine = target(release, "-S")
    next(iter(machine.ram_blocks.values())).write(8192, b"was here before")
    machine.migration.reader(Input(BytesChannel(STREAMS[name])), ReplyPath(None)).load()
    (ram,) = memory(machine).values()
    assert ram[at : at + 4096] == wanted
