# SPDX-License-Identifier: Apache-2.0
"""Invariant: whatever a mapped-ram file says of where its pages are, it is taken or refused with LoadError, in bounded
memory, and comes to an end.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import pytest
from fuzzing import each, spoil
from migration_machines import enable, none, status, target

from migmatrix.emulator.migration.channel import Channel
from migmatrix.emulator.migration.faults import LoadError
from migmatrix.emulator.migration.messages import explain
from migmatrix.emulator.migration.returnpath import ReplyPath
from migmatrix.emulator.migration.streams import Input

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

    from migration_machines import Box

HEADER = 4 + 3 * 8  # version, page size, where the bitmap and the pages are
BITMAP = 256 // 8


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of a guest of 1 MiB."""
    path: Path = tmp_path_factory.mktemp("mapped") / "file"
    source = none("11.1", "-S")
    for page in range(0, 256, 32):
        source.ram_blocks["ram"].write(page * 4096, b"guest")
    enable(source, "mapped-ram")
    source.migration.migrate(f"file:{path}")
    assert status(source)["status"] == "completed", source.migration.query()
    return path.read_bytes()


@cache
def destination(release: str) -> Box:
    machine = target(release, "-S")
    enable(machine, "mapped-ram")
    return machine


class File:
    """A file whose beginning can be written anew each time."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        section = content.index(b"\3ram")
        self.start = (
            content.index(b"\3ram", section + 4) + 4 + 8
        )  # of the header, behind name and length of the block
        self.head = content[: self.start + HEADER + BITMAP]
        self.fd = os.memfd_create("mapped")
        os.pwrite(self.fd, content, 0)

    @contextmanager
    def damaged(self, rng: random.Random) -> Iterator[Channel]:
        """A channel from a file that differs at its beginning, or ends early."""
        head, rest = self.head[: self.start], self.head[self.start :]
        head, rest = (head, spoil(rest, rng)) if rng.randrange(4) else (spoil(head, rng), rest)
        os.pwrite(self.fd, head + rest, 0)
        short = not rng.randrange(8)
        if short:
            os.ftruncate(self.fd, rng.randrange(len(self.content)))
        channel = Channel(os.dup(self.fd), "file")
        channel.seek(0)
        try:
            yield channel
        finally:
            channel.close()
            os.pwrite(self.fd, self.content if short else self.content[: len(self.head) + 512], 0)


def test_files(saved: bytes) -> None:
    file = File(saved)

    def run(rng: random.Random) -> None:
        machine = destination(rng.choice(("9.0", "10.0", "11.1")))
        machine.migration.ram.mapped = True
        machine.said.clear()
        with file.damaged(rng) as channel, machine.bql:
            machine.migration.reader(Input(channel), ReplyPath(None)).load()

    ends = each("mapped-ram", run, LoadError)
    os.close(file.fd)
    assert ends.keys() == {"taken", "LoadError"}


def test_pages_that_end_before_their_header_do_not_go_round_for_ever(saved: bytes) -> None:
    """Behind the pages the list of blocks goes on: here with the same block again, whose pages are those again."""
    machine, file = destination("11.1"), File(saved)
    entry = file.content[file.start - 12 : file.start + HEADER - 8] + bytes(8)
    os.pwrite(file.fd, (1 << 62 | 4).to_bytes(8) + entry, file.start - 20)
    os.pwrite(file.fd, entry, 1 << 20)
    machine.migration.ram.mapped = True
    channel = Channel(file.fd, "file")
    channel.seek(0)
    with machine.bql, pytest.raises(LoadError) as refused:
        machine.migration.reader(Input(channel), ReplyPath(None)).load()
    channel.close()
    assert explain(refused.value, machine.migration.traits)[0] == (
        "Error reading ramblock ram pages, they end before their header"
    )
