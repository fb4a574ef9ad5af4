# SPDX-License-Identifier: Apache-2.0
"""A link that breaks: forwards bytes between two UNIX sockets, and closes both ends when a count is reached."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["NEVER", "CutLink"]

NEVER = 1 << 62
_PIECE = 1 << 16
_MORE = 1 << 13


class CutLink:
    """Listens at `front`; each connection is forwarded to `back`. A context manager that ends all of its threads.

    `there` and `back_again` count the bytes that went on towards `back` and towards `front`, over all connections.
    With `keeps`, `kept` are the bytes of each connection that went towards `back`, in the order of connections.
    `cut_at(there, back_again)` says at which counts the link breaks, between two bytes; after a cut it forwards again.
    """

    def __init__(self, front: Path, back: Path, *, keeps: bool = False) -> None:
        self._keeps = keeps
        self.kept: list[bytearray] = []
        self._back = str(back)
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._limits = [NEVER, NEVER]
        self._counts = [0, 0]
        self.cuts = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(front))
        self._listener.listen()
        self._begin(self._accept)

    @property
    def there(self) -> int:
        """Bytes forwarded towards `back`."""
        return self._counts[0]

    @property
    def back_again(self) -> int:
        """Bytes forwarded towards `front`."""
        return self._counts[1]

    def pages_go(self) -> Callable[[], bool]:
        """What tells whether pages went towards `back` since now: no more of anything else follows a package."""
        since = self.there
        return lambda: self.there > since + _MORE

    def cut_at(self, there: int = NEVER, back_again: int = NEVER) -> None:
        """Break the link once, as soon as so many bytes have gone on in one of the directions."""
        with self._lock:
            self._limits = [there, back_again]
            if self._counts[0] >= there or self._counts[1] >= back_again:
                self._cut()

    def cut(self) -> None:
        """Break the link now."""
        with self._lock:
            self._cut()

    def cut_one(self, number: int) -> None:
        """Break one connection now, the others go on."""
        with self._lock:
            self._shut(self._pairs[number])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        with self._lock:
            self._close_pairs()
        for thread in self._threads:
            thread.join()
        for pair in self._pairs:
            for end in pair:
                end.close()

    def _begin(self, run: object, *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments)  # type: ignore[arg-type]  # any of the two below
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                front = self._listener.accept()[0]
            except OSError:
                return
            kept = bytearray()
            self.kept.append(kept)
            back = socket.socket(socket.AF_UNIX)
            try:
                back.connect(self._back)
            except OSError:
                front.close()
                back.close()
                continue
            with self._lock:
                self._pairs.append((front, back))
            self._begin(self._forward, front, back, 0, kept if self._keeps else None)
            self._begin(self._forward, back, front, 1, None)

    def _forward(
        self, source: socket.socket, target: socket.socket, way: int, kept: bytearray | None
    ) -> None:
        """Forward one direction to its end, which ends the other one, too."""
        try:
            while data := source.recv(_PIECE):
                with self._lock:
                    room = self._room(way, kept, data)
                    piece = data[:room] if room < len(data) else data
                    self._counts[way] += len(piece)
                    if kept is not None:
                        kept += piece
                target.sendall(piece)
                if room <= len(data):
                    self.cut()
        except OSError:
            pass  # cut, or the other end is gone
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _room(self, way: int, kept: bytearray | None, data: bytes) -> int:
        """How many bytes more may go on: of `data`, behind what was `kept` of this connection."""
        del kept, data
        return self._limits[way] - self._counts[way]

    def _cut(self) -> None:
        self.cuts += 1
        self._limits = [NEVER, NEVER]
        self._close_pairs()

    def _close_pairs(self) -> None:
        """Wake both threads of every connection; the sockets are closed when the link is."""
        for pair in self._pairs:
            self._shut(pair)

    def _shut(self, pair: tuple[socket.socket, socket.socket]) -> None:
        for end in pair:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
