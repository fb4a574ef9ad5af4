# SPDX-License-Identifier: Apache-2.0
"""What a program of this host prints, in bounded time and memory, whatever the program does.

A build may print for ever, never end, or leave processes that hold its output open: `printed` returns or raises all the
same, and takes the program's process group with it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Final

from migmatrix.harness.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LONGEST", "SECONDS", "printed"]

# Far more than QEMU prints for us: a few MB, with the properties of all its devices.
LONGEST: Final = 64 << 20
SECONDS: Final = 180.0
_CHUNK: Final = 1 << 16


def printed(argv: Sequence[str], what: str, *, errors: bool) -> str:
    """All that a command prints until it ends, with or without its standard error.

    BuildError, which names `what`, when it takes over `SECONDS` or prints over `LONGEST` bytes.
    """
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if errors else subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            return _read(process, what).decode(errors="replace")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _read(process: subprocess.Popen[bytes], what: str) -> bytes:
    assert process.stdout is not None  # noqa: S101 - asked for above
    output, end = process.stdout.fileno(), time.monotonic() + SECONDS
    os.set_blocking(output, False)
    ended = os.pidfd_open(process.pid)
    data = bytearray()
    try:
        while True:
            ready, _, _ = select.select([output, ended], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise BuildError(f"{what} did not end within {SECONDS:g} s")
            if not (chunk := _chunk(output)):  # the end, or all that it left when it ended
                return bytes(data)
            data += chunk
            if len(data) > LONGEST:
                raise BuildError(f"{what} printed over {LONGEST} bytes")
    finally:
        os.close(ended)


def _chunk(output: int) -> bytes:
    try:
        return os.read(output, _CHUNK)
    except BlockingIOError:
        return b""
