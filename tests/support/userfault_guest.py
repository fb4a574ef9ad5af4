# SPDX-License-Identifier: Apache-2.0
"""A process whose memory comes page by page, by `userfaultfd`: it reads all of it, in an order of its own.

    python userfault_guest.py SOCKET SIZE SEED

1. It sends its fault descriptor over the UNIX socket, with the address of its memory (8 bytes, little endian).
2. When a byte came back, it reads each page once. A page that is not there stops it until somebody has copied it.
3. It prints the SHA-256 of all of its memory.

When the other side closes the descriptor, pages that did not come are zero, and so the digest is wrong: nothing waits
for ever. Figures: `linux/userfaultfd.h`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import mmap
import os
import platform
import socket
import struct
import sys
from pathlib import Path
from random import Random

__all__ = ["PAGE", "copy", "faults", "new_descriptor"]

PAGE = 4096
_DEVICE = Path("/dev/userfaultfd")
_NEW, _API, _REGISTER, _COPY = 0xAA00, 0xC018AA3F, 0xC020AA00, 0xC028AA03
_VERSION, _MISSING, _FAULT = 0xAA, 1, 0x12
_MESSAGE = struct.Struct("<B7xQQ8x")
_SYSCALLS = {"x86_64": 323, "aarch64": 282}


def new_descriptor() -> int:
    """A descriptor for faults; OSError where the host gives none."""
    if _DEVICE.exists():
        with _DEVICE.open("rb") as device:
            found = fcntl.ioctl(device, _NEW, os.O_CLOEXEC | os.O_NONBLOCK)
    else:
        libc = ctypes.CDLL(None, use_errno=True)
        number = _SYSCALLS.get(platform.machine())
        found = -1 if number is None else libc.syscall(number, os.O_CLOEXEC | os.O_NONBLOCK)
        if found < 0:
            raise OSError(ctypes.get_errno() or errno.ENOSYS, "userfaultfd")
    fcntl.ioctl(found, _API, struct.pack("<QQQ", _VERSION, 0, 0))
    return found


def faults(descriptor: int) -> list[int]:
    """Addresses at which somebody waits, from those that were not read yet."""
    messages = os.read(descriptor, 64 * _MESSAGE.size)
    return [address for event, _, address in _MESSAGE.iter_unpack(messages) if event == _FAULT]


def copy(descriptor: int, address: int, page: bytes) -> None:
    """Put a page where somebody waits for it; OSError (EEXIST) when there is one."""
    held = ctypes.create_string_buffer(page, PAGE)
    fcntl.ioctl(descriptor, _COPY, struct.pack("<QQQQq", address, ctypes.addressof(held), PAGE, 0, 0))


def _main(path: str, size: int, seed: int) -> None:
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    descriptor = new_descriptor()
    fcntl.ioctl(descriptor, _REGISTER, struct.pack("<QQQQ", address, size, _MISSING, 0))
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(path)
        socket.send_fds(link, [struct.pack("<Q", address)], [descriptor])
        os.close(descriptor)
        link.recv(1)
    order = list(range(0, size, PAGE))
    Random(seed).shuffle(order)
    for at in order:
        ctypes.string_at(address + at, 1)
    print(hashlib.sha256(ctypes.string_at(address, size)).hexdigest())


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
