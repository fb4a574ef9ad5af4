# SPDX-License-Identifier: Apache-2.0
"""Reads the migration stream of an open file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.vmstate.view.stream import Stream, read_stream

if TYPE_CHECKING:
    from migmatrix.harness.streams.file import Source
    from migmatrix.vmstate.view.vmdesc import VmDesc

__all__ = ["read_source"]


def read_source(source: Source, described: VmDesc | None = None) -> Stream:
    """What is there, an error included; `described` is the description of a stream that has none."""
    return read_stream(
        source.data, strict=False, release=source.release, vmdesc=described, file_start=source.start
    )
