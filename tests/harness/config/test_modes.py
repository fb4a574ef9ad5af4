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
    ("tcp", "zero-copy-send"),
]


@pytest.mark.parametrize(("transport", "capability"), TAKEN)
def test_a_mode_that_ends_is_taken(transport: str | None, capability: str) -> None:
    assert list(cannot_end(transport, {"": [capability]})) == []


@pytest.mark.parametrize(("both", "wrong"), [(["multifd"], 1), (["multifd", "mapped-ram"], 0)])
def test_several_channels_to_a_file_need_fixed_places(both: list[str], wrong: int) -> None:
    """10.0 and 11.1 refuse to migrate there otherwise."""
    assert len(list(cannot_end("file", {"": both}))) == wrong
    assert not list(cannot_end("file", {"": ["mapped-ram"], "source": ["multifd"]}))


@pytest.mark.parametrize("transport", [None, "unix", "fd", "exec", "file"])
def test_zero_copy_needs_a_connection_that_has_it(transport: str | None) -> None:
    """7.2, 10.0 and 11.1 fail at once over a UNIX socket, and a destination of 7.2 then waits for ever."""
    ((side, place, message),) = cannot_end(transport, {"source": ["zero-copy-send"]})
    assert (side, place) == ("source", 0)
    assert message.startswith("the capability 'zero-copy-send' needs a TCP connection, not")
    assert list(cannot_end(transport, {"destination": ["zero-copy-send"]})) == []  # only a source sends


def test_only_a_source_waits_for_an_answer() -> None:
    """A destination that could answer, and is never asked, loads a snapshot on 7.2, 10.0 and 11.1."""
    assert list(cannot_end(None, {"destination": ["return-path"]})) == []


def test_shipped_matrices_have_no_mode_that_cannot_end() -> None:
    loaded = [load_matrix(file) for file in MATRICES if "builds:" in file.read_text()]
    assert len(loaded) > 10
