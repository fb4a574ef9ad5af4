# SPDX-License-Identifier: Apache-2.0
"""Encrypted connections as they arrive: handshakes beside each other, so that none waits for another's bytes.

1. A thread accepts, and one shakes hands with all, the earlier first where several have sent something: a source
   connects its next channel when it has sent the last of its handshake on the one before, and that order is what tells
   its channels apart. All threads end by `close`.
2. A handshake that fails is told, and does not count: somebody else may come.
3. What is wrong with this side's own credentials ends the wait, in releases in which it does.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from migmatrix.emulator.errors import bug
from migmatrix.emulator.migration.channel import ChannelError, CredentialsError, Wake
from migmatrix.emulator.migration.transports import securing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from migmatrix.emulator.migration.address import Address
    from migmatrix.emulator.migration.channel import Channel
    from migmatrix.emulator.migration.transports import Arrival

__all__ = ["SecureArrival"]


class SecureArrival:
    """Connections of `arrival`, encrypted as `address` says; `say` prints why one was not."""

    ready: Channel | None = None

    def __init__(self, arrival: Arrival, address: Address, say: Callable[[str], object]) -> None:
        self.ready = arrival.ready
        self._arrival = arrival
        self._address = address
        self._say = say
        self._stop = Wake()
        self._done: deque[Channel | CredentialsError] = deque()
        self._count = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
        self._new: deque[Channel] = deque()  # accepted, and not looked at
        self._came = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
        self._threads = [
            threading.Thread(target=target, name="tls", daemon=True)
            for target in (self._accept_all, self._shake_all)
        ]
        for thread in self._threads:
            thread.start()

    def _accept_all(self) -> None:
        while (channel := self._arrival.accept(self._stop)) is not None:
            self._new.append(channel)
            os.eventfd_write(self._came, 1)

    def _shake_all(self) -> None:
        """Go on with each handshake whose other side has sent something, in the order of their beginning."""
        shaking: dict[Channel, Iterator[None]] = {}
        while not self._stop.is_set:
            ready = self._wait(shaking)
            for channel in [each for each in shaking if each.fileno() in ready]:
                self._shake(channel, shaking)
            if self._came in ready:
                os.eventfd_read(self._came)
                channel = self._new.popleft()
                shaking[channel] = securing(channel, self._address, self._stop)
                self._shake(channel, shaking)
        for channel in shaking:
            channel.close()

    def _wait(self, shaking: Iterable[Channel]) -> set[int]:
        poll = select.poll()
        for fd in (self._stop.fd, self._came, *(channel.fileno() for channel in shaking)):
            poll.register(fd, select.POLLIN)
        return {fd for fd, _ in poll.poll()}

    def _shake(self, channel: Channel, shaking: dict[Channel, Iterator[None]]) -> None:
        """One step; a connection that is ready, or lost, is taken out of `shaking`."""
        try:
            next(shaking[channel])
        except StopIteration:
            self._add(channel)
        except CredentialsError as error:
            if self._address.tls is not None and self._address.tls.setup_ends:
                self._add(error)
            else:
                self._say(str(error))
        except ChannelError as error:
            if not self._stop.is_set:
                self._say(str(error))
        except Exception as error:  # noqa: BLE001 - the last resort: this connection is lost, and no other
            channel.close()
            bug(error)
        else:
            return
        del shaking[channel]

    def _add(self, found: Channel | CredentialsError) -> None:
        self._done.append(found)
        os.eventfd_write(self._count, 1)

    def accept(self, wake: Wake) -> Channel | None:
        """The next connection that is ready; CredentialsError when there can be none."""
        poll = select.poll()
        for fd in (self._count, wake.fd):
            poll.register(fd, select.POLLIN)
        poll.poll()
        if wake.is_set:
            return None
        os.eventfd_read(self._count)
        found = self._done.popleft()
        if isinstance(found, CredentialsError):
            raise found
        return found

    def close(self) -> None:
        """Wait for nothing more; connections that are not ready are closed."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        os.close(self._came)
        self._arrival.close()
        for channel in self._new:
            channel.close()
        while self._done:
            found = self._done.popleft()
            if not isinstance(found, CredentialsError):
                found.close()

    def describe(self) -> list[dict[str, Any]]:
        """Socket addresses as `query-migrate` gives them."""
        return self._arrival.describe()
