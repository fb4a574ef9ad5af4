# SPDX-License-Identifier: Apache-2.0
"""Names on the wire, as C sees them."""

from __future__ import annotations

__all__ = ["c_string"]


def c_string(raw: bytes) -> str:
    """A name as QEMU sees it: it ends at the first zero byte, however long it was on the wire."""
    return raw.partition(b"\0")[0].decode("latin-1")
