# SPDX-License-Identifier: Apache-2.0
"""The file side of `migmatrix stream`: what stands at a place of a mapped file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.errors import UserError
from migmatrix.harness.streams.file import open_stream

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_read_is_what_is_mapped(tmp_path: Path) -> None:
    (tmp_path / "stream").write_bytes(bytes(range(256)) * 100)
    with open_stream(str(tmp_path / "stream")) as source:
        into = memoryview(bytearray(1000))
        source.read(7, into)
        assert into == source.data[7:1007]


def test_a_file_that_becomes_shorter_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "stream").write_bytes(b"abc")
    with (
        pytest.raises(UserError, match=r"cannot read '.*stream': it became shorter while it was read"),
        open_stream(str(tmp_path / "stream")) as source,
    ):
        source.read(1, memoryview(bytearray(3)))
