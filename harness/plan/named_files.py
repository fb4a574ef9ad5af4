# SPDX-License-Identifier: Apache-2.0
"""The files that arguments name, by their content: what is in them is as much an input of a leg as the arguments are.

1. `_WHOLE` are options whose value is a file (of ``-L``, a directory: the files in it count), `_PARTS` options with a file behind a key. What an emulator writes (a log,
   a trace, a socket) is in neither, nor is a relative name: an emulator runs in a directory of its own.
2. Beyond `_MOST` bytes, a disk image, size and time of change stand for the content.

Facts: ``qemu-system-x86_64 -help`` of 5.2 to 11.1.
"""

from __future__ import annotations

import hashlib
import re
import stat
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["named_files"]

_WHOLE = (
    *("bios", "kernel", "initrd", "dtb", "pflash", "option-rom", "readconfig", "L"),
    *("cdrom", "sd", "mtdblock", "fda", "fdb", "hda", "hdb", "hdc", "hdd"),
)
_PARTS = ("drive", "blockdev", "device", "global", "acpitable", "smbios", "fw_cfg", "machine", "M", "object")
# ``key=/file`` and ``"key": "/file"``; `-global` names a property behind its device.
_PART = re.compile(
    r"""(?:^|[,.{"\s])(?:file|filename|file\.filename|romfile|firmware|data|kernel|initrd|dtb|igvm-file|value)"?\s*[=:]\s*"?"""
    r"""(?:file:(?://)?)?(?P<path>/[^,"]*)"""
)
_MOST: Final = 64 << 20


def named_files(arguments: Sequence[str]) -> list[list[str | int]]:
    """Path and SHA-256 (or size and time) of each regular file that the arguments name, in order, each once."""
    files = (str(file) for path in _paths(tuple(arguments)) for file in _beneath(Path(path)))
    found = ((path, _content(path)) for path in files)
    return [[path, *content] for path, content in found if content]


@cache
def _paths(arguments: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path for path in _walk(arguments) if path.startswith("/")))


def _walk(arguments: tuple[str, ...]) -> Iterator[str]:
    for option, value in pairwise(arguments):
        name = re.sub("^--?", "", option) if option.startswith("-") else ""
        if name in _WHOLE:
            yield value
        elif name in _PARTS:
            yield from (match["path"] for match in _PART.finditer(value))


def _beneath(path: Path) -> list[Path]:
    """The path, or what is in the directory."""
    try:
        return sorted(path.iterdir()) if path.is_dir() else [path]
    except OSError:
        return []


def _content(path: str) -> tuple[str | int, ...]:
    """What stands for the file; nothing when it is no file or cannot be read, which the emulator will say."""
    try:
        at = Path(path).stat()
        if not stat.S_ISREG(at.st_mode):
            return ()
        if at.st_size > _MOST:
            return at.st_size, at.st_mtime_ns
        return (_hash(path, at.st_ino, at.st_size, at.st_mtime_ns),)
    except OSError:
        return ()


@lru_cache(4096)
def _hash(path: str, *seen: int) -> str:
    """The content's hash, read once while the file is as it was `seen`."""
    del seen
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
