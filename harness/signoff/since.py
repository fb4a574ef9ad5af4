# SPDX-License-Identifier: Apache-2.0
"""What is otherwise than in the last signed release: the comparison of `migmatrix diff`, for the page.

A baseline counts only when it is whole and follows from its evidence, as `verify` sees it without a key: whose it is
stands in `baseline.json`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migmatrix.harness.errors import UserError
from migmatrix.harness.history.compare import compare
from migmatrix.harness.history.side import read_side
from migmatrix.harness.history.told import to_json, to_lines
from migmatrix.harness.signoff.verify import verify

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["since"]


def since(baseline: Path, run: Path) -> tuple[list[str], dict[str, Any]]:
    """The differences of a run from a signed directory, as lines and as JSON; UserError when that is not as it was signed."""
    found = verify(baseline, None)
    if not found.good:
        raise UserError(f"the baseline {str(baseline)!r} is not as it was signed: {found.problems[0]}")
    comparison = compare(read_side(str(baseline)), read_side(str(run)))
    signed = {"signer": found.signer, "signed_at": found.at, "version": found.version}
    return [line for line in to_lines(comparison) if line], {"baseline": signed, **to_json(comparison)}
