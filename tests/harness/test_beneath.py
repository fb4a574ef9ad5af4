# SPDX-License-Identifier: Apache-2.0
"""Files that a hostile build can change: nothing is followed, nothing waited for, all is bounded and removable."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.beneath import Beneath, NotPlainError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIMIT = 1000


@pytest.fixture
def box(tmp_path: Path) -> Path:
    (tmp_path / "box").mkdir()
    (tmp_path / "secret").write_text("the host's own")
    return tmp_path / "box"


@pytest.fixture
def files(box: Path) -> Iterator[Beneath]:
    beneath = Beneath.open(box)
    yield beneath
    beneath.close()


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


PUT: dict[str, Callable[[Path], object]] = {
    "a symbolic link": lambda path: path.symlink_to("../secret"),
    "a directory": lambda path: path.mkdir(),
    "a FIFO": os.mkfifo,
    "a socket": a_socket,
}


@pytest.mark.parametrize("kind", PUT)
def test_what_is_no_plain_file_is_not_read(box: Path, files: Beneath, kind: str) -> None:
    PUT[kind](box / "stderr")

    with pytest.raises(NotPlainError, match=f"stderr is {kind}, not a plain file"):
        files.ends("stderr", LIMIT)
    with pytest.raises(FileExistsError):
        files.write_new("stderr", b"run")
    assert (box.parent / "secret").read_text() == "the host's own"


def test_a_hard_link_is_not_read(box: Path, files: Beneath) -> None:
    (box / "stderr").hardlink_to(box.parent / "secret")

    with pytest.raises(NotPlainError, match="stderr is a file that has another name, too"):
        files.ends("stderr", LIMIT)


@pytest.mark.parametrize("kind", [kind for kind in PUT if kind != "a socket"])
def test_only_the_socket_that_was_made_is_opened_to_all(box: Path, files: Beneath, kind: str) -> None:
    (box.parent / "secret").chmod(0o600)
    PUT[kind](box / "qmp")

    with pytest.raises(NotPlainError):
        files.open_socket("qmp")

    assert (box.parent / "secret").stat().st_mode & 0o777 == 0o600


def test_a_directory_that_was_replaced_is_still_the_one_that_was_made(box: Path, files: Beneath) -> None:
    job = files.make("1", os.getuid())
    (box.parent / "host").mkdir()
    (box / "1").rename(box / "away")
    (box / "1").symlink_to(box.parent / "host")

    job.write_new("run", b"exec")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(job.path("qmp"))
        job.open_socket("qmp")

    assert sorted(path.name for path in (box / "away").iterdir()) == ["qmp", "run"]
    job.close()
    files.remove("1")
    assert list((box.parent / "host").iterdir()) == []
    assert [path.name for path in box.iterdir()] == ["away"]


def test_long_output_is_cut_in_the_middle(box: Path, files: Beneath) -> None:
    with (box / "stderr").open("wb") as file:
        file.write(b"begin")
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write(b"end")

    data = files.ends("stderr", LIMIT)

    assert data.startswith(b"begin")
    assert data.endswith(b"end")
    assert b"[... 1099511626779 bytes left out ...]" in data
    assert len(data) < LIMIT + 60


def test_any_tree_is_removed(box: Path, files: Beneath) -> None:
    top = box / "tree"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(3000):  # deeper than recursion, descriptors and the longest path
        os.mkdir("d", 0o700, dir_fd=here)
        os.symlink("/", "link", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.mkdir("forbidden", dir_fd=here)
    os.mkdir("forbidden/more", dir_fd=here)
    os.chmod("forbidden", 0, dir_fd=here)
    os.fchmod(here, 0o500)
    os.close(here)

    files.remove("tree")
    files.remove("absent")

    assert list(box.iterdir()) == []


def test_more_entries_than_allowed_are_left(box: Path, files: Beneath) -> None:
    (box / "tree").mkdir()
    for number in range(11):
        (box / "tree" / str(number)).touch()

    with pytest.raises(OSError, match="holds more than 10 entries"):
        files.remove("tree", 10)
