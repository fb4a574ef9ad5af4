# SPDX-License-Identifier: Apache-2.0
"""The channel of postcopy-preempt on the destination: a thread that reads pages which somebody waits for.

1. It reads one channel after the other: the first from LISTEN on, another one after each link that broke. A channel is
   there already, or comes as the next connection of an arrival, by which it is known: it has no magic.
2. A channel ends by an EOS word, or by `finish`. From 8.0 on the destination waits for no EOS: when the main channel is at
   its end and nobody waits for a page, all is here.
3. When it alone breaks, nothing happens at once, as in QEMU: the source finds out when it sends the next page. At the
   end, where QEMU would wait for ever, the link counts as broken, so that it can be recovered.

Everything here runs under the machine's lock, which is free during every wait. Format: `preempt`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from migmatrix.emulator.errors import bug
from migmatrix.emulator.migration.channel import CredentialsError, Wake
from migmatrix.emulator.migration.faults import LoadError, LoadFault
from migmatrix.emulator.migration.messages import explain
from migmatrix.emulator.migration.streams import Input

if TYPE_CHECKING:
    from migmatrix.emulator.migration.channel import Channel
    from migmatrix.emulator.migration.control import Migration
    from migmatrix.emulator.migration.postcopy import Postcopy
    from migmatrix.emulator.migration.transports import Arrival

__all__ = ["UrgentReader"]


class UrgentReader:
    """One incoming postcopy's channels for what is urgent."""

    def __init__(self, migration: Migration, postcopy: Postcopy) -> None:
        self._migration = migration
        self._postcopy = postcopy
        self._change = postcopy.missing.change
        self._arrival: Arrival | None = None
        self._wake: Wake | None = None
        self._next: Channel | None = None
        self._channel: Channel | None = None  # that is read
        self._whole = False  # an EOS came over this link
        self._over = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="postcopy/fast", daemon=True)

    # -- what other threads ask for (under the machine's lock) -------------------------------------

    def start(self) -> None:
        """Begin, with the channel or the arrival that was given."""
        self._thread.start()

    def take(self, channel: Channel) -> None:
        """Read this channel next."""
        self._next = channel
        self._change.notify_all()

    def wait_at(self, arrival: Arrival) -> None:
        """Read the channel that comes next there, and close the arrival then."""
        self._arrival, self._wake = arrival, Wake()
        self._change.notify_all()

    def lose(self) -> None:
        """The link is broken: return when nothing of it is read any more."""
        self._drop()
        while not self._idle:
            self._change.wait()
        self._whole = False

    def finish(self) -> None:
        """The main channel is at its end: return when all is here; LoadError when it cannot come over this link."""
        missing = self._postcopy.missing
        while missing.open or not (self._whole or self._migration.traits.late_preempt):
            if self._idle:
                if missing.open:
                    raise LoadError(LoadFault())
                break
            self._change.wait()
        self.end()

    @property
    def _idle(self) -> bool:
        """Whether nothing is read, and nothing is about to be."""
        return self._channel is None and self._next is None and self._arrival is None

    def end(self) -> None:
        """Nothing is urgent any more."""
        self._over = True
        self._drop()
        while not self._ended:
            self._change.wait()

    def _drop(self) -> None:
        if self._channel is not None:
            self._channel.interrupt()
        if self._next is not None:
            self._next.close()
            self._next = None
        if self._wake is not None:
            self._wake.set()
        self._change.notify_all()

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        with self._change:
            while not self._over:
                try:
                    self._one()
                except Exception as error:  # noqa: BLE001 - what nobody foresaw costs the channel, as if it broke
                    bug(error)
            if self._arrival is not None:  # it was over before anybody waited there
                self._arrival.close()
            self._ended = True
            self._change.notify_all()

    def _one(self) -> None:
        """Read one channel to its end, or wait for it."""
        if self._arrival is not None:
            self._accept()
        elif self._next is None:
            self._change.wait()
        else:
            self._channel, self._next = self._next, None
            try:
                self._read(self._channel)
            finally:
                self._channel.close()
                self._channel = None
                self._change.notify_all()

    def _accept(self) -> None:
        arrival, wake = self._arrival, self._wake
        assert arrival is not None and wake is not None  # noqa: S101, PT018 - they come together
        self._change.release()
        try:
            channel = self._accepted(arrival, wake)
        finally:
            self._change.acquire()
            self._arrival = self._wake = None
            wake.close()
            arrival.close()
            self._change.notify_all()
        self._next = channel

    def _accepted(self, arrival: Arrival, wake: Wake) -> Channel | None:
        try:
            return arrival.accept(wake)
        except CredentialsError as error:
            self._migration.say(str(error))
            return None

    def _read(self, channel: Channel) -> None:
        source = Input(channel, self._migration.machine.bql)
        try:
            self._migration.ram.load_urgent(source)
            self._whole = True
        except LoadFault as fault:
            if not source.fell_short:
                for line in explain(LoadError(fault), self._migration.traits)[:-1]:
                    self._migration.say(line)
