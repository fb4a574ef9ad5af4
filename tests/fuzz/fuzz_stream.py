# SPDX-License-Identifier: Apache-2.0
"""Invariant: any bytes give events or StreamError, nothing else, and events encode to the bytes read.

Run by `tox -e fuzz`: `python tests/fuzz/fuzz_stream.py [corpus] [libFuzzer options]`. The first byte picks the
reader and the size of the pieces.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports():
    from migmatrix.vmstate.check.accept import acceptance
    from migmatrix.vmstate.errors import StreamError
    from migmatrix.vmstate.view.accounting import account
    from migmatrix.vmstate.view.digest import digest
    from migmatrix.vmstate.view.outline import outline
    from migmatrix.vmstate.view.stream import read_stream
    from migmatrix.vmstate.view.vmdesc import find_vmdesc, parse_vmdesc
    from migmatrix.vmstate.wire.channel import ChannelReader, PreemptReader
    from migmatrix.vmstate.wire.multifd import MultifdReader
    from migmatrix.vmstate.wire.reader import StreamReader
    from migmatrix.vmstate.wire.returnpath import ReturnPathReader


def _whole(data: bytes) -> None:
    stream = read_stream(data, strict=False)
    if not data.startswith(stream.encode()):
        raise AssertionError("events do not encode to the bytes that were read")
    account(stream, data)
    acceptance(stream, stream)
    try:
        outline(stream, lambda _section: True)
        digest(stream)
    except StreamError:
        return


def _pieces(reader: ChannelReader | StreamReader, data: bytes, size: int) -> None:
    found = b""
    try:
        for at in range(0, len(data), size):
            reader.feed(data[at : at + size])
            found += b"".join(e.encode() for e in reader.events())
        reader.close()
        found += b"".join(e.encode() for e in reader.events())
    except StreamError:
        return
    if found != data:
        raise AssertionError("events do not encode to the bytes that were read")


def _main_channel(data: bytes) -> StreamReader:
    place = find_vmdesc(memoryview(data))
    try:
        described = parse_vmdesc(data[place[0] + 5 :]) if place else None
    except StreamError:
        described = None
    return StreamReader(delimiter=described.delimiter() if described else None)


def test_one(data: bytes) -> None:
    """Try one input."""
    if not data:
        return
    kind, data = data[0], data[1:]
    size = (1, 3, 64, 4096)[kind >> 3 & 3]
    match kind & 7:
        case 0:
            _pieces(_main_channel(data), data, size)
        case 1:
            _pieces(MultifdReader(), data, size)
        case 2:
            _pieces(ReturnPathReader(), data, size)
        case 3:
            _pieces(PreemptReader(), data, size)
        case _:
            _whole(data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, test_one)
    atheris.Fuzz()
