# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.files import PUBLIC, replacing, write_whole

if TYPE_CHECKING:
    from pathlib import Path


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with replacing(target) as new:
        new.write_text("half")
        assert target.read_text() == "old"
        new.write_text("whole")
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


def break_off(target: Path, error: type[BaseException]) -> None:
    with replacing(target) as new:
        new.write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_breaks_off_leaves_the_old_file_and_no_rest(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(error):
        break_off(target, error)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("durable", [False, True])
def test_bytes_are_written_for_the_owner_alone_unless_they_are_public(tmp_path: Path, durable: bool) -> None:
    for name, mode in (("private", 0o600), ("public", PUBLIC)):
        write_whole(tmp_path / name, b"data", mode, durable=durable)
        assert (tmp_path / name).read_bytes() == b"data"
        assert (tmp_path / name).stat().st_mode & 0o777 == mode


def test_a_directory_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "file", b"")
