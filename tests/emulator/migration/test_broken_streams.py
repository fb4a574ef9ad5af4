# SPDX-License-Identifier: Apache-2.0
"""One good stream of a `pc-q35` guest, broken in 85 ways: status and words are those of real QEMU.

The rows ``wire/...`` of `tests/data/failure-samples.jsonl` tell what QEMU 5.2.0, 7.2.22, 10.0.13 and 11.1.3 did with a
stream of their own that was broken so; here the emulator's stream of that release is.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from broken_streams import BROKEN
from migration_machines import RELEASES, Box, make
from whole_streams import loaded, saved

_FILE = Path(__file__).parents[2] / "data" / "failure-samples.jsonl"
_PROGRAM = "qemu-system-x86_64: "
# Real QEMU waits for another connection: there is no load to compare with.
_NO_LOAD: Final = {"empty-stream"}
# Real QEMU stops reading and says nothing, for ever; the emulator refuses.
_ENDLESS: Final = {("5.2", "cmd-enable-colo"), ("7.2", "cmd-enable-colo")}


@functools.cache
def rows() -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of broken streams by release and what was done."""
    found = [
        row for row in map(json.loads, _FILE.read_text().splitlines()) if row["kind"].startswith("wire/")
    ]
    return {(row["dst_version"].rpartition(".")[0], row["kind"][5:]): row for row in found}


CASES = [key for key in rows() if key[1] not in _NO_LOAD]


def guest(release: str, *more: str) -> Box:
    return make(release, "-M", f"pc-q35-{release}", "-m", "64", "-S", "-nodefaults", *more)


@functools.cache
def good(release: str) -> bytes:
    return saved(guest(release))


def shape(lines: list[str]) -> list[str]:
    """Without what depends on the length of the stream."""
    return [re.sub(r"ret=\d+ ", "ret=N ", line) for line in lines]


def wanted(row: dict[str, Any]) -> list[str]:
    return [line.removeprefix(_PROGRAM) for line in row["stderr"].splitlines()]


def test_every_sample_has_its_way_to_break_a_stream() -> None:
    assert {kind for _, kind in rows()} == {*BROKEN, *_NO_LOAD}
    assert {release for release, _ in rows()} == set(RELEASES)


@pytest.mark.parametrize(("release", "kind"), CASES)
def test_a_broken_stream_is_answered_as_by_real_qemu(release: str, kind: str) -> None:
    row = rows()[release, kind]
    status, lines = loaded(guest(release, "-incoming", "defer"), BROKEN[kind](good(release)))
    if (release, kind) in _ENDLESS:
        assert (status, row["outcome"]) == (1, "no-result (destination still waiting)")
        return
    assert (status, shape(lines)) == (row["rc"], shape(wanted(row)))


@pytest.mark.parametrize("release", RELEASES)
def test_every_way_changes_the_stream(release: str) -> None:
    streams = {kind: change(good(release)) for kind, change in BROKEN.items()}
    assert good(release) not in streams.values()
    assert len(set(streams.values())) == len(streams)


@pytest.mark.parametrize("release", RELEASES)
def test_a_good_stream_is_taken_after_a_refused_one_by_another_machine(release: str) -> None:
    """A refusal leaves nothing behind in what machines share."""
    refused = [kind for (of, kind), row in rows().items() if of == release and row["rc"] == 1]
    for kind in refused[:10]:
        assert loaded(guest(release, "-incoming", "defer"), BROKEN[kind](good(release)))[0] == 1
    there = guest(release, "-incoming", "defer")
    assert loaded(there, good(release)) == (0, [])
    assert there.migration.global_state.received == "prelaunch"
