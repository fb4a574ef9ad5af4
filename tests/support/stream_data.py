# SPDX-License-Identifier: Apache-2.0
"""Real streams of five QEMU builds (tests/data/streams), by name."""

from __future__ import annotations

import gzip
import lzma
from functools import cache
from pathlib import Path

__all__ = ["DATA", "MAIN", "load"]

DATA = Path(__file__).parents[1] / "data" / "streams"

MAIN = sorted(
    path.name.removesuffix(".gz")
    for path in DATA.glob("*.gz")
    if path.name.startswith(("none-", "q35-", "advised-")) and "return" not in path.name
)
"""Complete main channels."""


@cache
def load(name: str) -> bytes:
    """Return the bytes of one stream."""
    packed = DATA / f"{name}.xz"
    if packed.is_file():
        return lzma.decompress(packed.read_bytes())
    return gzip.decompress((DATA / f"{name}.gz").read_bytes())
