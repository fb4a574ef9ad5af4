# SPDX-License-Identifier: Apache-2.0
"""One line in place of "Bus error", when a mapped file becomes shorter while it is read.

The kernel then raises SIGBUS in whatever code reads the map. Python's own handlers run only after that code has gone on,
which it cannot: the C library has to call this one, which writes the line and ends the process.
"""

from __future__ import annotations

import ctypes
import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from migmatrix.harness.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["guarded"]

_HANDLER: Final = ctypes.CFUNCTYPE(None, ctypes.c_int)


@contextmanager
def guarded(path: str) -> Iterator[None]:
    """While this lasts, the end of a map of `path` ends the process with exit code 2 and a line."""
    line = f"migmatrix: cannot read {path!r}: it became shorter while it was read\n".encode(
        errors="backslashreplace"
    )

    def leave(_number: int) -> None:
        os.write(2, line)
        os._exit(ExitCode.USAGE)

    install = ctypes.CDLL(None).signal
    install.argtypes, install.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    handler = _HANDLER(leave)
    before = install(signal.SIGBUS, ctypes.cast(handler, ctypes.c_void_p))
    try:
        yield
    finally:
        install(signal.SIGBUS, before)
