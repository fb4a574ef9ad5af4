# SPDX-License-Identifier: Apache-2.0
"""A signed directory is a side of `migmatrix diff`, wherever it lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.harness.history.compare import Kind, compare
from migmatrix.harness.history.side import read_side

if TYPE_CHECKING:
    from signed import Release


def test_a_signed_directory_is_a_side_of_a_comparison(signed: Release) -> None:
    """From a directory that nothing can be written to."""
    place = signed.root / "signed"
    place.chmod(0o555)
    told = compare(read_side(str(signed.run)), read_side(str(place)))
    place.chmod(0o755)
    assert {
        kind: [list(one.cells) for one in ones] for kind, ones in told.problems.items() if ones
    }.keys() == {Kind.STILL}
    assert (told.cells[0], told.worse, told.silenced) == (told.cells[1], False, ())
    assert told.changes == ()
