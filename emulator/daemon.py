# SPDX-License-Identifier: Apache-2.0
"""`-daemonize`: go on in the background. The caller's process ends when the emulator is up (0) or has failed (1).

1. `detach` comes before any thread, chardev or file: what is opened belongs to the process that stays.
2. Until `ready` is called, errors go where they would have gone without it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["detach"]

_UP: Final = b"\0"
_MASK: Final = 0o027  # as QEMU's


def detach() -> Callable[[], None]:
    """Go on in a process without a terminal; call what this returns when everything is up."""
    heard, said = os.pipe2(os.O_CLOEXEC)
    if os.fork():
        os.close(said)
        _wait(heard)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.close(heard)
    os.umask(_MASK)

    def ready() -> None:
        """Let go of the caller's directory and standard streams, and tell it."""
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        os.write(said, _UP)
        os.close(said)

    return ready


def _wait(heard: int) -> NoReturn:
    """End as the emulator begins: well, or, when it is gone without a word, not."""
    os._exit(0 if os.read(heard, 1) == _UP else 1)
