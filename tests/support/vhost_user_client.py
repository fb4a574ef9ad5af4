# SPDX-License-Identifier: Apache-2.0
"""The back end of a vhost-user disk that does nothing but read the guest's memory, as it comes in a postcopy.

    python vhost_user_client.py SOCKET CONTENT ADDRESS SEED [--without mq|log|ack|pagefault|config|descriptor] [--hang-up MESSAGE]
        [--write LOG]

1. It listens on the UNIX socket and answers one front end, until that hangs up.
2. It maps what SET_MEM_TABLE names. In a postcopy it hands over a fault descriptor, tells its own addresses, registers
   them, and reads each page of the guest that the file CONTENT has, from the guest's ADDRESS on, in an order of its own.
3. It prints `ready` when it listens, `read` when it has read all, and one line of JSON at the end: messages by name,
   pages read, how many of them were not there when it wanted them, and which were wrong.

Messages and numbers: QEMU's `docs/interop/vhost-user.rst`; they are in the byte order of the machine.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import mmap
import os
import socket
import struct
import threading
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from userfault_guest import PAGE, new_descriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["NAMES", "WRITTEN"]

NAMES = {
    1: "GET_FEATURES", 2: "SET_FEATURES", 3: "SET_OWNER", 4: "RESET_OWNER", 5: "SET_MEM_TABLE", 6: "SET_LOG_BASE",
    7: "SET_LOG_FD", 8: "SET_VRING_NUM", 9: "SET_VRING_ADDR", 10: "SET_VRING_BASE", 11: "GET_VRING_BASE",
    12: "SET_VRING_KICK", 13: "SET_VRING_CALL", 14: "SET_VRING_ERR", 15: "GET_PROTOCOL_FEATURES",
    16: "SET_PROTOCOL_FEATURES", 17: "GET_QUEUE_NUM", 18: "SET_VRING_ENABLE", 24: "GET_CONFIG", 25: "SET_CONFIG",
    28: "POSTCOPY_ADVISE", 29: "POSTCOPY_LISTEN", 30: "POSTCOPY_END", 34: "RESET_DEVICE",
}  # fmt: skip
WRITTEN = b"by another process"
_HEADER = struct.Struct("=III")
_REGION = struct.Struct("=QQQQ")
_VERSION, _REPLY, _NEED_REPLY = 1, 4, 8
# for a disk: seg_max, geometry, blk_size, flush, topology, config_wce, mq, discard, write_zeroes; log_all; rings; 1.0
_FEATURES = sum(1 << bit for bit in (2, 4, 6, 9, 10, 11, 12, 13, 14, 24, 26, 27, 28, 29, 30, 32, 40))
_PROTOCOL = {"mq": 0, "log": 1, "ack": 3, "pagefault": 8, "config": 9}
_QUEUES = 8
_REGISTER, _MISSING = 0xC020AA00, 1
_libc = ctypes.CDLL(None, use_errno=True)  # its calls let other threads run, as `ctypes.string_at` does not


class Region(NamedTuple):
    """A part of the guest's memory: where the guest has it, and where it is mapped here."""

    guest: int
    size: int
    address: int
    memory: mmap.mmap


def _map(guest: int, size: int, offset: int, fd: int) -> Region:
    memory = mmap.mmap(fd, offset + size)
    return Region(guest, size, ctypes.addressof(ctypes.c_char.from_buffer(memory)) + offset, memory)


class Reader:
    """Who reads pages and compares them with the file."""

    def __init__(self, content: bytes, start: int, seed: int) -> None:
        self._content = content
        self.start = start
        self._order = list(range(0, len(content), PAGE))
        Random(seed).shuffle(self._order)
        self.read = self.waited = 0
        self.wrong: list[int] = []
        self._thread: threading.Thread | None = None

    def begin(self, regions: Sequence[Region]) -> None:
        """Read, in a thread: whoever waits for a page cannot answer a message."""
        self._thread = threading.Thread(target=self._run, args=(regions,))
        self._thread.start()

    def join(self) -> None:
        """Wait until all is read."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, regions: Sequence[Region]) -> None:
        page, there = ctypes.create_string_buffer(PAGE), ctypes.create_string_buffer(1)
        for at in self._order:
            guest = self.start + at
            region = next(r for r in regions if r.guest <= guest < r.guest + r.size)
            place = ctypes.c_void_p(region.address + guest - region.guest)
            _libc.mincore(place, ctypes.c_size_t(PAGE), there)
            self.waited += not there.raw[0] & 1
            _libc.memcpy(page, place, ctypes.c_size_t(PAGE))
            self.read += 1
            if page.raw != self._content[at : at + PAGE]:
                self.wrong.append(at)
        print("read", flush=True)


class Client:
    """One front end, at the other end of `link`. `without` names what this back end cannot do, `last` its last message.

    `writes` is the number of the log with which it writes something; 0 for none.
    """

    def __init__(
        self, link: socket.socket, reader: Reader, without: Sequence[str], last: str = "", writes: int = 0
    ) -> None:
        self._last = last
        self._writes = writes
        self._logs = 0
        self._link = link
        self._reader = reader
        self._without = without
        self._regions: list[Region] = []
        self._descriptor = -1
        self._listens = False
        self._bases: dict[bytes, bytes] = {}  # of a ring, both as they come
        self.messages: list[str] = []
        self._answers: dict[int, Callable[[bytes, list[int]], bytes | None]] = {
            1: lambda *_: _number(_FEATURES),
            5: self._table,
            6: self._log,
            10: self._base,
            11: lambda body, _: body[:4] + self._bases.get(body[:4], bytes(4)),
            15: lambda *_: _number(sum(1 << bit for word, bit in _PROTOCOL.items() if word not in without)),
            17: lambda *_: _number(_QUEUES),
            24: lambda body, _: body,
            28: self._advise,
            29: self._listen,
            30: self._end,
        }

    def serve(self) -> None:
        """Answer until the front end hangs up."""
        while (head := self._take(_HEADER.size)) is not None:
            words, fds = head
            request, flags, size = _HEADER.unpack(words)
            self.messages.append(NAMES.get(request, str(request)))
            body = (self._take(size) or (b"", []))[0] if size else b""
            if self.messages[-1] == self._last:
                return
            handler = self._answers.get(request)
            answer = handler(body, fds) if handler is not None else None
            if answer is None and flags & _NEED_REPLY:
                answer = _number(0)
            if answer is not None:
                self._answer(request, answer)
            for fd in fds:
                os.close(fd)

    def _take(self, size: int) -> tuple[bytes, list[int]] | None:
        """All of `size` bytes and what descriptors came with them; None when nobody is there any more."""
        data, fds = b"", list[int]()
        while len(data) < size:
            try:
                more, new, _, _ = socket.recv_fds(self._link, size - len(data), 8)
            except ConnectionResetError:
                return None
            if not more:
                return None
            data, fds = data + more, fds + list(new)
        return data, fds

    def _answer(self, request: int, body: bytes) -> None:
        message = _HEADER.pack(request, _VERSION | _REPLY, len(body)) + body
        fds = [self._descriptor] if request == 28 and self._descriptor >= 0 else []
        socket.send_fds(self._link, [message], fds)

    # -- messages that are more than a figure ------------------------------------------------------

    def _table(self, body: bytes, fds: list[int]) -> bytes | None:
        count, _ = struct.unpack_from("=II", body)
        words = [_REGION.unpack_from(body, 8 + _REGION.size * n) for n in range(count)]
        self._regions = [
            _map(guest, size, offset, fd) for (guest, size, _, offset), fd in zip(words, fds, strict=True)
        ]
        if not self._listens:
            return None
        told = [_REGION.pack(*w[:2], r.address, w[3]) for w, r in zip(words, self._regions, strict=True)]
        self._answer(5, struct.pack("=II", count, 0) + b"".join(told))
        self._take(_HEADER.size + 8)  # the front end is ready for faults
        for region in self._regions:
            start, end = region.address & -PAGE, region.address + region.size
            fcntl.ioctl(self._descriptor, _REGISTER, struct.pack("<QQQQ", start, end - start, _MISSING, 0))
        self._reader.begin(self._regions)
        return None

    def _log(self, body: bytes, fds: list[int]) -> bytes:
        """With a log of that number it writes to the first page of those that it would read, and notes it."""
        self._logs += 1
        if self._logs == self._writes:
            size, offset = struct.unpack("=QQ", body)
            log = mmap.mmap(fds[0], size + offset)
            region = next(r for r in self._regions if r.guest <= self._reader.start < r.guest + r.size)
            ctypes.memmove(region.address + self._reader.start - region.guest, WRITTEN, len(WRITTEN))
            page = self._reader.start // PAGE
            log[offset + page // 8] |= 1 << page % 8
        return b""

    def _base(self, body: bytes, _: list[int]) -> None:
        self._bases[body[:4]] = body[4:]

    def _advise(self, *_: object) -> bytes:
        if "descriptor" not in self._without:
            self._descriptor = new_descriptor()
        return b""

    def _listen(self, *_: object) -> bytes:
        self._listens = True
        return _number(0)

    def _end(self, *_: object) -> bytes:
        self._reader.join()
        self._listens = False
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        return _number(0)


def _number(value: int) -> bytes:
    return struct.pack("=Q", value)


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("socket", type=Path)
    parser.add_argument("content", type=Path)
    parser.add_argument("address", type=int)
    parser.add_argument("seed", type=int)
    parser.add_argument("--without", action="append", default=[])
    parser.add_argument("--hang-up", default="")
    parser.add_argument("--write", type=int, default=0)
    given = parser.parse_args()
    reader = Reader(given.content.read_bytes(), given.address, given.seed)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(given.socket))
        server.listen()
        given.socket.chmod(0o666)
        print("ready", flush=True)
        link, _ = server.accept()
    with link:
        client = Client(link, reader, given.without, given.hang_up, given.write)
        client.serve()
    found = {"messages": client.messages, "read": reader.read, "waited": reader.waited, "wrong": reader.wrong}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    _main()
