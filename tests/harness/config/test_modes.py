# SPDX-License-Identifier: Apache-2.0
"""Modes that can end are taken, and so is every mode of the matrices that come with the program."""

from __future__ import annotations

from pathlib import Path

import pytest

from migmatrix.harness.config import load_matrix
from migmatrix.harness.config.modes import cannot_end

MATRICES = sorted((Path(__file__).parents[3] / "matrices").rglob("*.yaml"))
TAKEN = [
    ("tcp", "return-path"),
    ("unix", "postcopy-ram"),
    ("file", "mapped-ram"),
    ("unix", "multifd"),
    (None, "pause-before-switchover"),
    (None, "x-ignore-shared"),
]


@pytest.mark.parametrize(("transport", "capability"), TAKEN)
def test_a_mode_that_ends_is_taken(transport: str | None, capability: str) -> None:
    assert list(cannot_end(transport, {"": [capability]})) == []


def test_only_a_source_waits_for_an_answer() -> None:
    """A destination that could answer, and is never asked, loads a snapshot on 7.2, 10.0 and 11.1."""
    assert list(cannot_end(None, {"destination": ["return-path"]})) == []


def test_shipped_matrices_have_no_mode_that_cannot_end() -> None:
    loaded = [load_matrix(file) for file in MATRICES if "builds:" in file.read_text()]
    assert len(loaded) > 10
