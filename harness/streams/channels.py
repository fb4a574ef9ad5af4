# SPDX-License-Identifier: Apache-2.0
"""Reads files of the other channels of a migration, and joins them with the main one: `vmstate.view.channels`."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import zstandard

from migmatrix.harness.errors import UserError
from migmatrix.harness.streams.file import open_stream
from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.channels import Channel, joined, read_channel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migmatrix.vmstate.view.stream import Stream
    from migmatrix.vmstate.wire.multifd import Unpack

__all__ = ["with_channels", "zstd_decoder"]

_SLICE: Final = 256  # bytes that are unpacked at once; no four of them become more than 128 KiB


@contextmanager
def with_channels(main: Stream, paths: Sequence[str]) -> Iterator[tuple[Stream, list[Channel]]]:
    """The stream with the memory of all channels, and these; UserError for a file that is no channel of it."""
    with ExitStack() as stack:
        channels = []
        for path in paths:
            source = stack.enter_context(open_stream(path, main=False))
            try:
                channels.append(read_channel(source.data, main, zstd_decoder))
            except StreamError as error:
                raise UserError(f"{path!r} is no whole channel: {error}") from error
        yield joined(main, channels), channels


def zstd_decoder() -> Unpack:
    """A decoder of one channel's pages. It holds little more than was asked for, whatever comes out of the data."""
    decoder = zstandard.ZstdDecompressor().decompressobj()

    def unpack(data: bytes, most: int) -> bytes:
        pieces, size = [], 0
        try:
            for at in range(0, len(data), _SLICE):
                pieces.append(decoder.decompress(data[at : at + _SLICE]))
                size += len(pieces[-1])
                if size >= most:
                    break
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from error
        return b"".join(pieces)[:most]

    return unpack
