# SPDX-License-Identifier: Apache-2.0
"""A Merkle tree over the verdicts of a night, built as RFC 6962 (section 2.1) builds it, with SHA-256.

A leaf is the UTF-8 of ``cell id``, verdict, outcome and signature ("" for none) with a NUL behind each, in the order of the
ids. So whoever knows a root can be shown one verdict with a path of a few hashes, and nobody can exchange it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from migmatrix.harness.history.records import NightCell
    from migmatrix.harness.model import CellResult

__all__ = ["merkle_root", "root_of"]


def root_of(cells: Iterable[NightCell | CellResult]) -> str:
    """The root over some cells in any order, as hex."""
    texts = sorted(
        (cell.cell.id, cell.verdict.value, cell.outcome.value, cell.signature or "") for cell in cells
    )
    return merkle_root(
        ["".join(f"{part}\0" for part in text).encode(errors="surrogatepass") for text in texts]
    )


def merkle_root(leaves: Sequence[bytes]) -> str:
    """The root over leaves in their order, as hex; of none it is the hash of nothing.

    Hashing neighbours level by level, an odd last one rising as it is, is what the RFC's recursion comes to.
    """
    level = [hashlib.sha256(b"\0" + leaf).digest() for leaf in leaves]
    if not level:
        return hashlib.sha256(b"").hexdigest()
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [hashlib.sha256(b"\1" + left + right).digest() for left, right in pairs]
        level = above + level[len(above) * 2 :]
    return level[0].hex()
