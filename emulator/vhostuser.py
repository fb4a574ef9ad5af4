# SPDX-License-Identifier: Apache-2.0
"""The front end of vhost-user: messages to the process that works on a device's queues, over a UNIX socket.

Numbers, payloads and order: QEMU's `docs/interop/vhost-user.rst`, and what 7.2, 10.0 and 11.1 were seen to send to a
back end of ours. All numbers are in the byte order of the machine.

1. One conversation after the other: who waits for an answer keeps others out, and the machine's lock is free meanwhile,
   for the back end may wait for a page that somebody has to put into its place. A thread reads, to the end of the link.
2. A back end that hangs up, or answers something else, raises `BackEndError`, in QEMU's words.
3. The address of a region in this process is of no use to anybody else, so it is the guest's.
"""

from __future__ import annotations

import os
import struct
import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

from migmatrix.emulator.errors import BackEndError
from migmatrix.emulator.sockets import SHUT_RDWR, Socket, receive, send

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["FrontEnd", "Queue", "Region"]

_HEADER: Final = struct.Struct("=III")
_REGION: Final = struct.Struct("=QQQQ")
_VERSION, _REPLY, _NEED_REPLY = 1, 4, 8
_GET_FEATURES, _SET_FEATURES, _SET_OWNER, _SET_TABLE = 1, 2, 3, 5
_SET_LOG_BASE = 6
_SET_NUM, _SET_ADDR, _SET_BASE, _GET_BASE = 8, 9, 10, 11
_SET_KICK, _SET_CALL, _SET_ERR = 12, 13, 14
_GET_PROTOCOL, _SET_PROTOCOL, _GET_QUEUES, _SET_ENABLE, _GET_CONFIG = 15, 16, 17, 18, 24
_ADVISE, _LISTEN, _END = 28, 29, 30
_LARGEST: Final = 4096  # bytes of a message's payload
_LOG_ALL: Final = 1 << 26
_HAS_PROTOCOL: Final = 1 << 30
_MQ, _LOG_SHMFD, _REPLY_ACK, _PAGEFAULT, _CONFIG = 0, 1, 3, 8, 9
_KNOWN: Final = 1 << _MQ | 1 << _LOG_SHMFD | 1 << _REPLY_ACK | 1 << _PAGEFAULT | 1 << _CONFIG
_NO_CONFIG: Final = (
    "vhost-user device expecting VHOST_USER_PROTOCOL_F_CONFIG but the vhost-user backend does not support it."
)


class Region(NamedTuple):
    """A part of the guest's memory: its address there, its size, and where it is in the file `fd`."""

    address: int
    size: int
    offset: int
    fd: int


class Queue(NamedTuple):
    """What a back end is told of a queue: number of entries, first request to look at, three addresses of the guest's."""

    size: int
    base: int
    desc: int
    used: int
    avail: int


class FrontEnd:
    """One back end, at the other end of `sock`. `lock` is free while an answer is waited for.

    `features` are those that the back end offers, `queues` how many it has. `thread` reads until one of both hangs up.
    """

    def __init__(self, sock: Socket, lock: threading.RLock) -> None:
        self._socket = sock
        self._free = threading.Condition(lock)
        self._busy = False
        self._came: deque[tuple[int, int, bytes, list[int]]] = deque()
        self._closed = False
        self._lost = ""  # why no answer comes any more
        self._why = f"Failed to read msg header. Read 0 instead of {_HEADER.size}."  # the reader's
        self._events: list[int] = []
        self._protocol = 0
        self.features = 0
        self.queues = 1
        self.thread = threading.Thread(target=self._read_all, name="vhost-user", daemon=True)
        self.thread.start()

    # -- the beginning -------------------------------------------------------------------------------

    def begin(self, queues: int, config_size: int) -> bytes:
        """Say hello, and get the device's config; BackEndError."""
        with self._turn():
            self.features = self._get(_GET_FEATURES)
            if not self.features & _HAS_PROTOCOL:
                raise BackEndError(_NO_CONFIG)
            self._protocol = self._get(_GET_PROTOCOL) & _KNOWN
            if not self._has(_CONFIG):
                raise BackEndError(_NO_CONFIG)
            self._send(_SET_PROTOCOL, _number(self._protocol))
            self.queues = self._get(_GET_QUEUES) if self._has(_MQ) else 1
            if self.queues < queues:
                raise BackEndError(f"The maximum number of queues supported by the backend is {self.queues}")
            self._send(_SET_OWNER)
            self.features = self._get(_GET_FEATURES)
            for number in range(queues):
                self._send_event(_SET_CALL, number)
                self._send_event(_SET_ERR, number)
            return self._read_config(config_size)

    def _read_config(self, size: int) -> bytes:
        head = struct.pack("=III", 0, size, 0)
        answer, _ = self._ask(_GET_CONFIG, head + bytes(size))
        if len(answer) != len(head) + size:
            raise BackEndError("Received bad msg size.")
        return answer[len(head) :]

    @property
    def can_log(self) -> bool:
        """Whether it notes which pages it writes, so that the guest can be sent while it works."""
        return self._has(_LOG_SHMFD)

    @property
    def can_wait(self) -> bool:
        """Whether it can wait for pages that did not come yet."""
        return self._has(_PAGEFAULT)

    def close(self) -> None:
        """Hang up."""
        self._closed = True
        self._free.notify_all()
        if not self._lost:
            self._socket.shutdown(SHUT_RDWR)

    # -- it works ------------------------------------------------------------------------------------

    def start(
        self,
        features: int,
        regions: Sequence[Region],
        queues: Sequence[Queue],
        hears: Callable[[Sequence[int]], object] | None = None,
    ) -> None:
        """Let it work. In a postcopy `hears` gets the addresses at which it has the regions, before it may use them."""
        with self._turn():
            self._send(_SET_FEATURES, _number(features | _HAS_PROTOCOL))
            self._table(regions, hears)
            for number, queue in enumerate(queues):
                self._send(_SET_NUM, struct.pack("=II", number, queue.size))
                self._send(_SET_BASE, struct.pack("=II", number, queue.base))
                self._send_addresses(number, queue, logged=False)
                self._send_event(_SET_KICK, number)
                self._send_event(_SET_CALL, number)
            self._enable(len(queues), on=True)

    def stop(self, queues: int) -> list[int]:
        """Let it stop; the next request that it would look at, for each queue."""
        with self._turn():
            self._enable(queues, on=False)
            bases = []
            for number in range(queues):
                answer, _ = self._ask(_GET_BASE, struct.pack("=II", number, 0))
                if len(answer) != 8:  # noqa: PLR2004 - a queue and its number
                    raise BackEndError("Received bad msg size.")
                bases.append(struct.unpack("=II", answer)[1])
            self._close_events()
            return bases

    def log(self, features: int, queues: Sequence[Queue], size: int, fd: int) -> None:
        """Note in `size` bytes of the file `fd` which pages it writes, a bit for each."""
        with self._turn():
            self._ask(_SET_LOG_BASE, struct.pack("=QQ", size, 0), fd)
            self._logging(features | _LOG_ALL, queues, on=True)

    def stop_log(self, features: int, queues: Sequence[Queue]) -> None:
        """Note nothing any more."""
        with self._turn():
            self._logging(features, queues, on=False)

    def _logging(self, features: int, queues: Sequence[Queue], *, on: bool) -> None:
        self._tell(_SET_FEATURES, _number(features | _HAS_PROTOCOL))
        for number, queue in enumerate(queues):
            self._send_addresses(number, queue, logged=on)

    def _send_addresses(self, number: int, queue: Queue, *, logged: bool) -> None:
        log = queue.used if logged else 0
        words = struct.pack("=IIQQQQ", number, logged, queue.desc, queue.used, queue.avail, log)
        if logged:
            self._tell(_SET_ADDR, words)
        else:
            self._send(_SET_ADDR, words)

    def _enable(self, queues: int, *, on: bool) -> None:
        for number in range(queues):
            self._tell(_SET_ENABLE, struct.pack("=II", number, on))

    def _table(self, regions: Sequence[Region], hears: Callable[[Sequence[int]], object] | None) -> None:
        words = b"".join(_REGION.pack(r.address, r.size, r.address, r.offset) for r in regions)
        body = struct.pack("=II", len(regions), 0) + words
        fds = [r.fd for r in regions]
        if hears is None:
            self._tell(_SET_TABLE, body, *fds)
            return
        answer, _ = self._ask(_SET_TABLE, body, *fds)
        if len(answer) != len(body):
            raise BackEndError(
                f"vhost_user_set_mem_table_postcopy: Unexpected size for postcopy reply {len(answer)} vs {len(body)}"
            )
        told = [_REGION.unpack_from(answer, 8 + _REGION.size * n) for n in range(len(regions))]
        same = sum(told[n][0] == region.address for n, region in enumerate(regions))
        if same != len(regions):
            raise BackEndError(
                f"vhost_user_set_mem_table_postcopy: postcopy reply not fully consumed {same} vs {len(regions)}"
            )
        hears([address for _, _, address, _ in told])
        self._send(_SET_TABLE, _number(0))

    # -- postcopy ------------------------------------------------------------------------------------

    def advise(self) -> int:
        """A postcopy may come: the descriptor by which the back end's faults are read."""
        try:
            with self._turn():
                answer, fds = self._ask(_ADVISE)
        except BackEndError as error:
            raise BackEndError(*error.lines, "Failed to get postcopy_advise reply from vhost") from error
        if answer:
            raise BackEndError("Received bad msg size.")
        if not fds:
            raise BackEndError("vhost_user_postcopy_advise: Failed to get ufd")
        return fds[0]

    def listen(self) -> None:
        """It comes."""
        self._must(_LISTEN, "postcopy_listen")

    def end(self) -> None:
        """All pages are here."""
        self._must(_END, "postcopy_end")

    def _must(self, request: int, name: str) -> None:
        words = f"Failed to send {name} to vhost" if self._lost else f"Failed to receive reply to {name}"
        try:
            with self._turn():
                self._done(request)
        except BackEndError as error:
            raise BackEndError(*error.lines, words) from error

    def _done(self, request: int, body: bytes = b"", *fds: int) -> None:
        """Send, and wait until it is done."""
        answer, _ = self._ask(request, body, *fds, flags=_NEED_REPLY)
        if answer != _number(0):
            raise BackEndError

    # -- messages ------------------------------------------------------------------------------------

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One conversation, rule 1; the lock is held around it."""
        while self._busy:
            self._free.wait()
        self._busy = True
        try:
            yield
        finally:
            self._busy = False
            self._free.notify_all()

    def _has(self, bit: int) -> bool:
        return bool(self._protocol >> bit & 1)

    def _send_event(self, request: int, queue: int) -> None:
        """A descriptor by which one side calls the other: nobody does here, but a back end wants one."""
        event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._events.append(event)
        self._send(request, _number(queue), event)

    def _close_events(self) -> None:
        while self._events:
            os.close(self._events.pop())

    def _tell(self, request: int, body: bytes, *fds: int) -> None:
        """Send, and wait until it is done if the back end says so; else ask something, as it does one after the other."""
        if not self._has(_REPLY_ACK):
            self._send(request, body, *fds)
            self._get(_GET_FEATURES)
            return
        self._done(request, body, *fds)

    def _get(self, request: int) -> int:
        answer, _ = self._ask(request)
        if len(answer) != 8:  # noqa: PLR2004 - a number
            raise BackEndError("Received bad msg size.")
        return int(struct.unpack("=Q", answer)[0])

    def _send(self, request: int, body: bytes = b"", *fds: int, flags: int = 0) -> None:
        if self._lost:
            raise BackEndError("Failed to set msg fds.")
        message = _HEADER.pack(request, _VERSION | flags, len(body)) + body
        try:
            send(self._socket, message, fds)
        except OSError as error:
            raise BackEndError(f"Failed to write msg. Wrote -1 instead of {len(message)}.") from error

    def _ask(self, request: int, body: bytes = b"", *fds: int, flags: int = 0) -> _Answer:
        """Send, and wait for the answer: its payload, and what descriptors came with it."""
        self._send(request, body, *fds, flags=flags)
        while not self._came and not self._lost:
            self._free.wait()
        if not self._came:
            asked = 0 if flags & _NEED_REPLY else request  # as QEMU forgets it there
            raise BackEndError(f"{self._lost} Original request {asked}.")
        answered, flags, payload, given = self._came.popleft()
        self._free.notify_all()
        wrong = ""
        if flags != _VERSION | _REPLY:
            wrong = f"Failed to read msg header. Flags {flags:#x} instead of {_VERSION | _REPLY:#x}."
        elif answered != request:
            wrong = f"Received unexpected msg type. Expected {request} received {answered}"
        if wrong:
            for fd in given:
                os.close(fd)
            raise BackEndError(wrong)
        return _Answer(payload, given)

    def _read_all(self) -> None:
        """The thread that reads answers, to the end of the connection: who waits for one waits for the lock, too."""
        while (message := self._read()) is not None:
            with self._free:
                self._came.append(message)
                self._free.notify_all()
                while self._came and not self._closed:  # nobody can make this process keep more than one
                    self._free.wait()
        with self._free:
            self._lost = self._why
            self._socket.close()
            self._close_events()
            self._free.notify_all()

    def _read(self) -> tuple[int, int, bytes, list[int]] | None:
        """One message; None at the end of the connection, or after it was used for something else."""
        head, fds = self._take(_HEADER.size)
        if len(head) < _HEADER.size:
            return None
        request, flags, size = _HEADER.unpack(head)
        if size > _LARGEST:
            self._why = f"Failed to read msg header. Size {size} exceeds the maximum {_LARGEST}."
            return None
        body, more = self._take(size)
        return (request, flags, body, fds + more) if len(body) == size else None

    def _take(self, size: int) -> tuple[bytes, list[int]]:
        """So many bytes, fewer at the end, and the descriptors that came with them."""
        data, fds = b"", list[int]()
        while len(data) < size:
            try:
                more, new = receive(self._socket, size - len(data))
            except OSError:  # a reset connection is an ended one
                break
            if not more:
                break
            data, fds = data + more, fds + new
        return data, fds


class _Answer(NamedTuple):
    payload: bytes
    fds: list[int]


def _number(value: int) -> bytes:
    return struct.pack("=Q", value)
