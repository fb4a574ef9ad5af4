# SPDX-License-Identifier: Apache-2.0
"""Files of a directory that a hostile build can change: `Beneath` is the one way to them.

1. The directory is held by its descriptor, and every name is one component, looked up in it: whatever a build puts in
   the place of the directory, or of one above, changes nothing.
2. Nothing is followed and nothing is waited for: ``O_NOFOLLOW`` and ``O_NONBLOCK``, then a look at what was opened.
   What is no plain file, or has a name elsewhere, is `NotPlainError`, and is not read.
3. Reads are bounded.
4. Removal needs two descriptors however deep the tree is, and gets through directories that forbid it.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Beneath", "NotPlainError"]

_SAFE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_DIRECTORY: Final = _SAFE | os.O_RDONLY | os.O_DIRECTORY
_KINDS: Final = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}


class NotPlainError(OSError):
    """There is something under a name, and it is no plain file; the text says what."""


class Beneath:
    """A directory by its descriptor, which `close` or `remove` gives back."""

    def __init__(self, descriptor: int) -> None:
        self._fd = descriptor

    @classmethod
    def open(cls, path: Path) -> Self:
        """Hold the directory at `path`, above which no build can change anything."""
        return cls(os.open(path, _DIRECTORY))

    def make(self, name: str, user: int) -> Beneath:
        """Make a new directory here that emulators of `user` can write to."""
        os.mkdir(name, dir_fd=self._fd)
        made = Beneath(os.open(name, _DIRECTORY, dir_fd=self._fd))
        made._give(made._fd, user)
        return made

    def make_fifo(self, name: str, user: int, mode: int = 0o600) -> None:
        """Make a new FIFO that emulators of `user` can use."""
        os.mkfifo(name, mode, dir_fd=self._fd)
        fd = os.open(name, os.O_RDWR | _SAFE, dir_fd=self._fd)
        try:
            os.fchmod(fd, mode)  # whatever the umask says
            self._give(fd, user)
        finally:
            os.close(fd)

    def _give(self, fd: int, user: int) -> None:
        if os.getuid() == 0:  # without root there is one user only
            os.fchown(fd, user, user)

    def fifo(self, name: str, flags: int) -> int:
        """A descriptor of a FIFO here, which does not wait for the other end."""
        return os.open(name, flags | _SAFE, dir_fd=self._fd)

    def write_new(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Make a file that does not exist yet; FileExistsError when somebody was faster."""
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE, mode, dir_fd=self._fd)
        with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
            os.fchmod(fd, mode)  # whatever the umask says
            file.write(data)

    def path(self, name: str) -> str:
        """A path for what takes paths only: of an entry here, whatever became of this directory's own name."""
        return f"/proc/self/fd/{self._fd}/{name}"

    def open_socket(self, name: str) -> None:
        """Let emulators of any user connect to the socket `name`; its directory is private."""
        with self._held(name) as (fd, mode):
            if not stat.S_ISSOCK(mode):
                raise NotPlainError(f"{name} is {_kind(mode)}, not the socket that was made")
            os.chmod(f"/proc/self/fd/{fd}", 0o666)  # noqa: PTH101, S103 - the very inode, and see above

    @contextmanager
    def socket(self, name: str) -> Iterator[str]:
        """A path to connect to the socket `name` by, whatever is put in its place meanwhile; OSError, NotPlainError."""
        with self._held(name) as (fd, mode):
            if not stat.S_ISSOCK(mode):
                raise NotPlainError(f"{name} is {_kind(mode)}, not a socket")
            yield f"/proc/self/fd/{fd}"

    def ends(self, name: str, limit: int) -> bytes:
        """A file's content, its middle cut out when it is longer than `limit`; FileNotFoundError, NotPlainError."""
        with self.plain(name) as (fd, size):
            if size <= limit:
                return os.pread(fd, limit, 0)
            half = limit // 2
            cut = f"\n[... {size - 2 * half} bytes left out ...]\n".encode()
            return os.pread(fd, half, 0) + cut + os.pread(fd, half, size - half)

    @contextmanager
    def plain(self, name: str) -> Iterator[tuple[int, int]]:
        """A descriptor of a plain file, and its size now; FileNotFoundError, NotPlainError."""
        with self._held(name) as (held, mode):
            if not stat.S_ISREG(mode):
                raise NotPlainError(f"{name} is {_kind(mode)}, not a plain file")
            fd = os.open(f"/proc/self/fd/{held}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                told = os.fstat(fd)
                if told.st_nlink > 1:  # a hard link to a file of the host's keeps its other name
                    raise NotPlainError(f"{name} is a file that has another name, too")
                yield fd, told.st_size
            finally:
                os.close(fd)

    @contextmanager
    def _held(self, name: str) -> Iterator[tuple[int, int]]:
        """What is under a name, unopened: a descriptor of it, good for nothing but to look, and its mode."""
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd)
        try:
            yield fd, os.fstat(fd).st_mode
        finally:
            os.close(fd)

    def free(self) -> int:
        """Bytes that are free where this directory is."""
        space = os.fstatvfs(self._fd)
        return space.f_bavail * space.f_frsize

    def remove(self, name: str, most: int | None = None) -> None:
        """Remove an entry with all that is below it; OSError when somebody adds to it, or it holds over `most`."""
        if not self._unlinked(name):
            with self._emptied(name, most):
                os.rmdir(name, dir_fd=self._fd)

    def _unlinked(self, name: str) -> bool:
        """Remove an entry, unless it is a directory."""
        try:
            os.unlink(name, dir_fd=self._fd)
        except FileNotFoundError:
            pass
        except (IsADirectoryError, PermissionError):  # the latter by POSIX
            with self._held(name) as (_, mode):
                if not stat.S_ISDIR(mode):
                    raise
            return False
        return True

    @contextmanager
    def _emptied(self, name: str, most: int | None) -> Iterator[None]:
        """Empty a directory: what is deeper is moved up first, so that no depth needs descriptors or recursion."""
        with self._held(name) as (fd, _):
            os.chmod(f"/proc/self/fd/{fd}", 0o700)  # noqa: PTH101 - as in `open_socket`
        top = Beneath(os.open(name, _DIRECTORY, dir_fd=self._fd))
        try:
            top._flatten(most)
            yield
        finally:
            top.close()

    def _flatten(self, most: int | None) -> None:
        moved = seen = 0
        token = secrets.token_hex(8)  # no build can have taken a name with it
        while names := os.listdir(self._fd):  # noqa: PTH208 - pathlib takes no descriptor
            seen += len(names)
            if most is not None and seen > most:
                raise OSError(errno.ENOTEMPTY, f"holds more than {most} entries")
            for name in names:
                if self._unlinked(name):
                    continue
                with self._held(name) as (fd, _):
                    os.chmod(f"/proc/self/fd/{fd}", 0o700)  # noqa: PTH101 - as above
                below = Beneath(os.open(name, _DIRECTORY, dir_fd=self._fd))
                try:
                    moved = below._move_up(self._fd, f".{token}", moved)
                finally:
                    below.close()
                os.rmdir(name, dir_fd=self._fd)

    def _move_up(self, top: int, prefix: str, moved: int) -> int:
        """Unlink files here and move directories to `top`, under names that count from `moved`."""
        for name in os.listdir(self._fd):  # noqa: PTH208 - as above
            if not self._unlinked(name):
                with self._held(name) as (fd, _):
                    os.chmod(f"/proc/self/fd/{fd}", 0o700)  # noqa: PTH101 - moving writes its ".."
                moved += 1
                os.rename(name, f"{prefix}-{moved}", src_dir_fd=self._fd, dst_dir_fd=top)
        return moved

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "a device")
