# SPDX-License-Identifier: Apache-2.0
"""Invariant: any bytes on a channel of a live migration are taken by the emulator, or refused in words, and nothing else.

Run by `tox -e fuzz`: `python tests/fuzz/fuzz_migration.py [corpus] [libFuzzer options]`. The first byte picks the
reader (`hostile_migrations`), and release and host page size or status.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["migmatrix.emulator"]):
    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.migration import (  # noqa: F401 - to be watched
        commands,
        late,
        postcopy,
        ram_load,
        returnpath,
    )
    from migmatrix.emulator.migration.channel import ChannelError
    from migmatrix.emulator.migration.faults import LoadError, LoadFault
    from migmatrix.emulator.migration.multifd import Multifd, PacketError
    from migmatrix.emulator.migration.multifd_receive import PacketReader
    from migmatrix.emulator.migration.rdma import exchange, memory, messages, verbs  # noqa: F401 - as above
    from migmatrix.emulator.migration.streams import BytesChannel, Input
    from migmatrix.emulator.migration.traits import Traits

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import hostile_migrations as readers
from rdma_inputs import served

METHODS = ("none", "zlib", "zstd")
BLOCKS = {"pc.ram": RamBlock("pc.ram", 1 << 20)}
BROKEN = [readers.broken_channel(size) for _, size in readers.KINDS]


def _multifd(which: int, data: bytes) -> None:
    release = Traits(readers.KINDS[which % len(readers.KINDS)][0])
    multifd = Multifd(release, 2, bytes(16), METHODS[which % 3], 1, "multifd", per_section=False)
    reader = PacketReader(Input(BytesChannel(data)), 1, multifd, BLOCKS)
    while reader.read() is not None:
        pass


def test_one(data: bytes) -> None:
    """Try one input."""
    if not data:
        return
    reader, which, data = data[0] & 7, data[0] >> 3, data[1:]
    kind = which % len(readers.KINDS)
    release, size = readers.KINDS[kind]
    with suppress(LoadError, LoadFault, PacketError, ChannelError):
        match reader:
            case readers.HEAR:
                readers.hear(readers.source(release), data, readers.STATUSES[which % len(readers.STATUSES)])
            case readers.LOAD:
                readers.load(readers.destination(release, size), data)
            case readers.RECOVER:
                readers.load(readers.destination(release, size), BROKEN[kind], [data])
            case readers.URGENT:
                readers.load_urgent(readers.destination(release, size), data)
            case readers.MULTIFD:
                _multifd(which, data)
            case readers.RDMA:
                served(data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one)
    atheris.Fuzz()
