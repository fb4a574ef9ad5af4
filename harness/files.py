# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all; the one way in which the harness writes a file that others read.

And the way in which it reads what anybody may have put in a file's place: `plain` follows no link and waits for nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PUBLIC", "is_plain", "is_text", "plain", "replacing", "sealed", "unsealed", "write_whole"]

_SEALED = re.compile(rb'\{"sha256":"([0-9a-f]{64})",(.*)', re.DOTALL)

_PRIVATE = 0o600  # what mkstemp gives; streams hold a guest's memory
PUBLIC = 0o644  # of files for people and web servers


@contextmanager
def replacing(path: Path, mode: int = _PRIVATE) -> Iterator[Path]:
    """An empty file beside `path`, which takes its place when the block ends well, and is removed otherwise.

    A reader sees the old file or the new one, never a part. OSError when the directory cannot be written.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    os.close(handle)
    new = Path(name)
    try:
        yield new
        if mode != _PRIVATE:
            new.chmod(mode)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: bytes, mode: int = _PRIVATE, *, durable: bool = False) -> None:
    """Write `data` to `path` as `replacing` does; `durable` also outlives a crash of the host."""
    with replacing(path, mode) as new, new.open("wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def plain(path: Path) -> Iterator[BinaryIO]:
    """A plain file to read; OSError for anything else, a link too, and when it cannot be opened."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{path.name} is not a plain file")
        yield file


def is_plain(path: Path) -> bool:
    """Whether there is a plain file, itself and not by a link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_text(path: Path) -> bool:
    """Whether a path can be told in a report: its bytes are UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def sealed(data: bytes) -> bytes:
    """A JSON object with the SHA-256 of its rest as its first member."""
    rest = data.removeprefix(b"{")
    return b'{"sha256":"%s",%s' % (hashlib.sha256(rest).hexdigest().encode(), rest)


def unsealed(data: bytes, unsealed_begins: bytes) -> bytes:
    """What was `sealed`, or what begins as the same was written before there were check sums; ValueError for all else."""
    if (found := _SEALED.fullmatch(data)) is None:
        if data.startswith(unsealed_begins):
            return data
        raise ValueError("it does not begin as it should")
    if hashlib.sha256(found[2]).hexdigest().encode() != found[1]:
        raise ValueError("its checksum differs")
    return b"{" + found[2]
