# SPDX-License-Identifier: Apache-2.0
"""The destination of a postcopy behind its package: a thread that reads memory, over one link after the other.

1. Until the guest runs here, an error ends the process: the source still has the guest, or nobody has.
2. From then on nothing that goes wrong with a link ends anything: the migration is paused, and waits for another link.
3. Whoever waits for a page waits on.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from migmatrix.emulator.errors import bug
from migmatrix.emulator.migration.channel import Wake
from migmatrix.emulator.migration.faults import LoadError, LoadFault
from migmatrix.emulator.migration.messages import explain
from migmatrix.emulator.migration.postcopy import State
from migmatrix.emulator.migration.states import Event, Status
from migmatrix.emulator.migration.streams import Input

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.emulator.migration.channel import Channel
    from migmatrix.emulator.migration.control import Migration
    from migmatrix.emulator.migration.loadstate import StateReader
    from migmatrix.emulator.migration.preempt_receive import UrgentReader
    from migmatrix.emulator.migration.returnpath import ReplyPath
    from migmatrix.emulator.migration.transports import Arrival

__all__ = ["PAUSED", "Listening"]

PAUSED = "Detected IO failure for postcopy. Migration paused."


class Listening:
    """One incoming postcopy, at first over `channel`. `lose` is called with the lines of an error that ends it.

    `close` closes all connections with which it began, and is called at its end. `urgent` reads what is urgent, where
    that has a channel of its own.
    """

    def __init__(
        self,
        migration: Migration,
        channel: Channel,
        reader: StateReader,
        replies: ReplyPath,
        lose: Callable[[list[str]], object],
        close: Callable[[], object],
        urgent: UrgentReader | None = None,
    ) -> None:
        self._urgent = urgent
        self._migration = migration
        self._channel = channel
        self._reader = reader
        self._replies = replies
        self._lose = lose
        self._close = close
        self._change = threading.Condition(migration.machine.bql)
        self._arrival: Arrival | None = None
        self._wake: Wake | None = None
        self._thread = threading.Thread(target=self._run, name="postcopy/listen", daemon=True)
        reader.postcopy.on_recover = lambda: migration.progress.fire(Event.RECOVER)

    # -- what other threads ask for (under the machine's lock) -------------------------------------

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def pause(self) -> None:
        """Break the link."""
        self._channel.interrupt()

    @property
    def waits(self) -> bool:
        """Whether another link may come."""
        return self._arrival is not None

    def forget(self) -> None:
        """Wait for no other link, as one is about to be named."""
        if self._arrival is not None and self._wake is not None:
            self._wake.set()
            self._arrival.close()
            self._arrival = None

    def recover(self, arrival: Arrival) -> None:
        """Go on over the link that comes here."""
        self._arrival, self._wake = arrival, Wake()
        self._change.notify_all()

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            source: Input | None = None
            while not self._read(source):
                source = self._next_link()
        except Exception as error:  # noqa: BLE001 - the last resort
            with self._change:
                self._lose(explain(LoadError(LoadFault(bug(error))), self._migration.traits))
        finally:
            if self._urgent is not None:
                with self._change:
                    self._urgent.end()
            self._close()
            self._channel.close()

    def _read(self, source: Input | None) -> bool:
        """Read to the end; False when the link is broken and the migration paused."""
        with self._change:
            try:
                self._reader.listen(source)
                if self._urgent is not None:
                    self._reader.postcopy.wait_for_package()
                    self._urgent.finish()
            except LoadError as error:
                return self._failed(error)
            except Exception as error:  # noqa: BLE001 - what nobody foresaw costs the link, not the guest
                return self._failed(LoadError(LoadFault(bug(error))))
            self._end()
            return True

    def _end(self) -> None:
        self._reader.done()
        self._reader.postcopy.end()
        self._replies.shut(failed=False)
        self._migration.settings.listening = False
        self._migration.progress.fire(Event.COMPLETE)

    def _failed(self, error: LoadError) -> bool:
        """Pause, or, before the guest runs, end; whether it has ended."""
        if self._reader.postcopy.state is not State.RUNNING:
            self._replies.shut(failed=True)
            self._reader.done()
            self._lose(self._last_words(error))
            return True
        for line in explain(error, self._migration.traits)[:-1]:
            self._migration.say(line)
        self._pause()
        return False

    def _last_words(self, error: LoadError) -> list[str]:
        *before, last = explain(error, self._migration.traits)
        number = error.fault.errno
        if not self._migration.traits.joined_errors:
            return [*before, f"postcopy_ram_listen_thread: loadvm failed: -{number}"]
        rest = last.removeprefix(f"load of migration failed: {os.strerror(number)}")
        text = f"loadvm failed during postcopy: -{number}{rest}"
        return [*before, text, text]

    def _pause(self) -> None:
        migration = self._migration
        if self._urgent is not None:
            self._urgent.lose()
        self._reader.postcopy.pause()
        self._replies.attach(None)
        self._channel.close()
        if migration.progress.status is Status.POSTCOPY_DEVICE:  # it runs, and nobody has said so yet
            migration.progress.fire(Event.POSTCOPY)
        migration.progress.fire(Event.LOSE)
        if migration.traits.tells_late_shutdown:
            migration.say("Unable to shutdown socket: Bad file descriptor")
        migration.say(PAUSED)

    def _next_link(self) -> Input:
        """Wait for a command that says where, and for the link itself."""
        while True:
            with self._change:
                while self._arrival is None or self._wake is None:
                    self._change.wait()
                arrival, wake = self._arrival, self._wake
            channel = self._accepted(arrival, wake)
            early = self._urgent is not None and not self._migration.traits.late_preempt
            urgent = self._accepted(arrival, wake) if early and channel is not None else None
            with self._change:
                if arrival is self._arrival and channel is not None and not (early and urgent is None):
                    wake.close()
                    return self._linked(channel, urgent)
            for each in (channel, urgent):
                if each is not None:
                    each.close()
            wake.close()

    def _accepted(self, arrival: Arrival, wake: Wake) -> Channel | None:
        try:
            return arrival.accept(wake)
        except (OSError, ValueError):
            if wake.is_set:  # closed under way, or before it was looked at, as another link was named
                return None
            raise

    def _linked(self, channel: Channel, urgent: Channel | None) -> Input:
        assert self._arrival is not None  # noqa: S101 - it brought this channel
        if self._urgent is not None and urgent is None:
            self._urgent.wait_at(self._arrival)
        else:
            self._arrival.close()
        if self._urgent is not None and urgent is not None:
            self._urgent.take(urgent)
        self._arrival = None
        self._channel = channel
        self._replies.attach(channel)
        self._reader.postcopy.recovering = True
        self._migration.progress.fire(Event.LINK)
        return Input(channel, self._migration.machine.bql)
