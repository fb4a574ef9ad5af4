# SPDX-License-Identifier: Apache-2.0
"""Modes that compare memory, byte by byte: what a source begins with, and what counts as a difference."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest

from migmatrix.harness.beneath import Beneath
from migmatrix.harness.engines.base import Role
from migmatrix.harness.errors import EngineError
from migmatrix.harness.hops.memory import check_memory, contents
from migmatrix.harness.hops.task import Problem
from migmatrix.harness.model import Guest, Mode
from migmatrix.harness.plan.cannot import cannot_guest

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from lab import Lab

    from migmatrix.harness.hops.emulator import Emulator

PAGE = 4096
SIZE = 2 << 20
EMULATED = {"a": {"provider": "emulator", "release": "10.0"}, "b": {"provider": "emulator", "release": "7.2"}}


@dataclass
class Side:
    """What a comparison asks of an emulator, whose memory is `data`."""

    data: bytes
    directory: Path
    role: Role = Role.DESTINATION
    asked: list[dict[str, Any]] = field(default_factory=list)

    @property
    def sandbox(self) -> Side:
        return self

    @property
    def qmp(self) -> Side:
        return self

    def link(self, path: Path) -> str:
        return f"/link/{path.name}"

    async def race(self, work: Coroutine[Any, Any, None], _deadline: float) -> None:
        await work

    async def execute(self, _command: str, arguments: dict[str, Any]) -> None:
        self.asked.append(arguments)
        name = arguments["filename"].removeprefix("/link/")
        (self.directory / name).write_bytes(self.data)


def compare(tmp_path: Path, here: bytes, there: bytes, size: int = SIZE) -> list[Side]:
    """Compare two memories; the directory is empty afterwards."""
    sides = [Side(here, tmp_path, Role.SOURCE), Side(there, tmp_path)]
    files = Beneath.open(tmp_path)
    try:
        source, destination = (cast("Emulator", side) for side in sides)
        asyncio.run(check_memory(source, destination, size, tmp_path, files, 10.0))
    finally:
        files.close()
        assert list(tmp_path.iterdir()) == []
    return sides


def changed(data: bytes, *places: int) -> bytes:
    new = bytearray(data)
    for place in places:
        new[place] ^= 1
    return bytes(new)


def test_a_source_begins_with_pages_of_all_kinds_and_most_are_unlike_any_other() -> None:
    data = b"".join(contents(SIZE + PAGE))
    assert len(data) == SIZE + PAGE
    pages = [data[at : at + PAGE] for at in range(0, len(data), PAGE)]
    assert pages[0] == bytes(PAGE)
    assert len(set(pages)) == 2 + SIZE // PAGE // 2  # zeros, one byte, and the others each for itself


def test_equal_memory_is_saved_whole_by_both_sides(tmp_path: Path) -> None:
    data = b"".join(contents(SIZE))
    for side in compare(tmp_path, data, data):
        (asked,) = side.asked
        assert (asked["val"], asked["size"]) == (0, SIZE)


@pytest.mark.parametrize("place", [0, 0x9FFFF, 0x100000, SIZE - 1])
def test_one_bit_is_a_difference(tmp_path: Path, place: int) -> None:
    data = b"".join(contents(SIZE))
    with pytest.raises(Problem) as caught:
        compare(tmp_path, data, changed(data, place))
    assert (caught.value.problem, caught.value.role) == ("memory-differs", "destination")
    assert caught.value.detail == f"1 of 512 pages differ, the first at {place // PAGE * PAGE:#x}"


def test_pages_are_counted(tmp_path: Path) -> None:
    data = bytes(SIZE)
    with pytest.raises(Problem, match="2 of 512 pages differ, the first at 0x1000'"):
        compare(tmp_path, data, changed(data, PAGE, PAGE + 9, SIZE - 1))


def test_rom_and_video_memory_do_not_count(tmp_path: Path) -> None:
    compare(tmp_path, bytes(SIZE), changed(bytes(SIZE), 0xA0000, 0xFFFFF))


def test_memory_that_was_not_saved_whole_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=f"sides saved {SIZE} and 0 bytes of {SIZE}"):
        compare(tmp_path, bytes(SIZE), b"")


def test_more_memory_than_boards_have_in_one_piece_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="has 2147483648 bytes at most, not 2147483649"):
        compare(tmp_path, b"", b"", (2 << 30) + 1)


def test_a_guest_that_runs_is_left_out() -> None:
    mode = Mode("m", "unix", memory="compared")
    assert "changes its memory" in cannot_guest(mode, Guest("f", "firmware", 1.0))
    assert cannot_guest(mode, Guest("p", "paused")) == ""


def modes() -> list[dict[str, Any]]:
    postcopy = {"capabilities": ["postcopy-ram"], "postcopy": True}
    kinds: list[dict[str, Any]] = [{"name": "plain"}, {"name": "postcopy", **postcopy}]
    return [{**kind, "transport": "unix", "memory": "compared"} for kind in kinds]


def test_memory_comes_over_from_emulator_to_emulator(lab: Lab) -> None:
    matrix = lab.matrix(
        builds=EMULATED,
        profiles={"define": {"plain": {"args": ["-m", "2", "-nodefaults"]}}},
        paths={"pairs": ["a>b"], "explicit": ["b>a>b"]},
        modes=modes(),
    )
    assert lab.run(matrix).returncode == 0
    for result in lab.results().values():
        assert (result["verdict"], result["notes"]) == ("pass", [])
    shown = lab.call(lab.command("show", "out", "b>a>b/plain", "--json")[:-2])
    legs = json.loads(shown.stdout)["evidence"]
    assert len(legs) == 2
    for leg in legs:
        for side in leg["emulators"]:
            assert "pmemsave" in [said["message"].get("execute") for said in side["qmp"]]
