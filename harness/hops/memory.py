# SPDX-License-Identifier: Apache-2.0
"""Memory that is compared: the source begins with bytes that the harness made, and both sides must have them at the end.

1. The source's memory is private to it and begins as a file's content; a destination's is plain, as a postcopy needs
   memory that can be missing. The guest never runs, so that nobody but the migration writes.
2. Both sides save their memory themselves (`pmemsave`), and every byte is compared.
3. `pmemsave` shows what a guest sees. Below 1 MiB that is ROMs and video memory, which are no migrated memory on all boards.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Final

from migmatrix.harness.errors import EngineError
from migmatrix.harness.hops.task import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from migmatrix.harness.beneath import Beneath
    from migmatrix.harness.hops.emulator import Emulator

__all__ = ["check_memory", "contents"]

_PAGE: Final = 4096
_PERIOD: Final = 1 << 20  # after which pages come again, each with its number in front
_AT_ONCE: Final = 1 << 20
_WINDOWS: Final = range(0xA0000, 0x100000)
_MOST: Final = 2 << 30  # where boards may leave a hole


def contents(size: int) -> Iterator[bytes]:
    """What the source's memory begins with, in pieces: pages of zeros, of one byte, of text and of noise in turn."""
    for start in range(0, size, _PERIOD):
        piece = bytearray(_pages())
        for offset in range(0, _PERIOD, _PAGE):
            if offset // _PAGE % 4 > 1:
                piece[offset : offset + 8] = (start + offset).to_bytes(8, "little")
        yield bytes(piece[: size - start])


@cache
def _pages() -> bytes:
    random = Random(0)  # noqa: S311 - no secret
    kinds = bytes(_PAGE), bytes([0xA5]) * _PAGE, (b"all work and no play; " * 200)[:_PAGE]
    return b"".join(b"".join((*kinds, random.randbytes(_PAGE))) for _ in range(_PERIOD // _PAGE // 4))


async def check_memory(
    source: Emulator, destination: Emulator, size: int, directory: Path, files: Beneath, deadline: float
) -> None:
    """Both sides have the same `size` bytes; Problem when not. `directory`, held by `files`, is where they meet."""
    if size > _MOST:
        raise EngineError(f"memory that is compared has {_MOST} bytes at most, not {size}")
    names = secrets.token_hex(12), secrets.token_hex(12)
    try:
        for side, name in zip((source, destination), names, strict=True):
            files.write_new(name, b"", 0o666)
            wanted = {"val": 0, "size": size, "filename": side.sandbox.link(directory / name)}
            await side.race(side.qmp.execute("pmemsave", wanted), deadline)
        unlike = await asyncio.to_thread(_differences, files, names, size)
    except OSError as err:
        raise EngineError(f"cannot compare memory: {err}") from err
    finally:
        for name in names:
            with contextlib.suppress(OSError):  # what an emulator put in its place goes with the workspace
                files.remove(name)
    if unlike:
        told = f"{len(unlike)} of {size // _PAGE} pages differ, the first at {unlike[0]:#x}"
        raise Problem("memory-differs", told, destination.role.value)


def _differences(files: Beneath, names: tuple[str, str], size: int) -> list[int]:
    """Addresses of the pages that differ."""
    with files.plain(names[0]) as (here, long), files.plain(names[1]) as (there, other):
        if {long, other} != {size}:
            raise OSError(f"sides saved {long} and {other} bytes of {size}")
        return [at for start in range(0, size, _AT_ONCE) for at in _unlike(here, there, start)]


def _unlike(here: int, there: int, start: int) -> Iterator[int]:
    ours, theirs = (os.pread(fd, _AT_ONCE, start) for fd in (here, there))
    if ours != theirs:
        for at in range(0, len(ours), _PAGE):
            if ours[at : at + _PAGE] != theirs[at : at + _PAGE] and start + at not in _WINDOWS:
                yield start + at
