# SPDX-License-Identifier: Apache-2.0
"""The incoming migration: a thread from the first connection to a guest that goes on, or to the end of the process.

1. A connection that ends before its first byte does not count: wait for the next one.
2. Hold the machine's lock while loading, and release it while waiting for bytes.
3. The guest resumes (RESUME) before `completed`; in a postcopy before its memory is there, while another thread reads
   on (`listening`).
4. Whatever else is raised, by a device's hook or here, refuses the stream (`bug` prints what nobody foresaw).
5. A refused stream ends the process with QEMU's message, unless `migrate-incoming` said ``exit-on-error: false``.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from migmatrix.emulator.errors import bug
from migmatrix.emulator.migration.channel import CredentialsError, Wake
from migmatrix.emulator.migration.faults import LoadError, LoadFault
from migmatrix.emulator.migration.listening import Listening
from migmatrix.emulator.migration.messages import explain
from migmatrix.emulator.migration.multifd import PacketError
from migmatrix.emulator.migration.preempt_receive import UrgentReader
from migmatrix.emulator.migration.returnpath import ReplyPath
from migmatrix.emulator.migration.states import Event, Status
from migmatrix.emulator.migration.streams import Input

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.emulator.migration.control import Migration
    from migmatrix.emulator.migration.loadstate import StateReader
    from migmatrix.emulator.migration.multifd import Connections
    from migmatrix.emulator.migration.postcopy import Postcopy
    from migmatrix.emulator.migration.transports import Arrival

__all__ = ["Incoming"]


class Incoming:
    """One incoming migration, waiting at `arrival`."""

    def __init__(self, migration: Migration, arrival: Arrival, *, exit_on_error: bool) -> None:
        self._migration = migration
        self._machine = migration.machine
        self._arrival = arrival
        self._exit_on_error = exit_on_error
        self._wake = Wake()
        self._connections: Connections | None = None
        self._where = arrival.describe()
        self.listening: Listening | None = None
        self._thread = threading.Thread(target=self._run, name="incoming", daemon=True)

    def start(self) -> None:
        """Wait for the stream."""
        self._thread.start()

    def join(self, seconds: float | None = None) -> None:
        """Wait for the end of the thread."""
        self._thread.join(seconds)

    def describe(self) -> list[dict[str, Any]]:
        """Socket addresses that are listened on, or were until the stream came; none after its end."""
        return self._where if self._migration.progress.running else []

    def forget(self) -> None:
        """Nothing is listened on."""
        self._where = []
        if self.listening is not None:
            self.listening.forget()

    def recover(self, arrival: Arrival) -> None:
        """Go on with a paused postcopy over the link that comes there."""
        assert self.listening is not None  # noqa: S101 - nothing else is paused
        self._where = arrival.describe()
        self.listening.recover(arrival)

    def _run(self) -> None:
        try:
            self._wait()
        except (CredentialsError, PacketError) as error:
            self._arrival.close()
            if self._connections is not None:
                self._connections.close()
            with self._machine.bql:
                self._refuse([str(error)])
        except Exception as error:  # noqa: BLE001 - the last resort: rule 4
            with self._machine.bql:
                self._refuse(explain(LoadError(LoadFault(bug(error))), self._migration.traits))
            if self._connections is not None:
                self._connections.close()

    def _wait(self) -> None:
        while (channel := self._arrival.accept(self._wake)) is not None:
            with self._machine.bql:
                connections = self._connections = self._connections or self._migration.connections()
                if not connections.take_urgent(channel):
                    source = Input(channel, self._machine.bql)
                    if not source.need(1) and not channel.secured:
                        channel.close()
                        continue
                    connections.add(channel, source)
                if connections.complete:
                    self._load_all(connections)
                    return

    def _load_all(self, connections: Connections) -> None:
        """Load; another connection, for what is urgent, may still come."""
        later = self._migration.preempts and connections.urgent is None
        if not later:
            self._arrival.close()
        try:
            self._load(connections)
        finally:
            if later and self.listening is None:
                self._arrival.close()

    def _load(self, connections: Connections) -> None:
        channel, source = connections.main
        replies = ReplyPath(channel)
        self._migration.progress.fire(Event.ACTIVATE)
        reader = self._migration.reader(source, replies)
        reader.on_listen = partial(self._start_listening, connections, reader, replies)
        try:
            if not self._ends(replies, reader.load):
                connections.close()
            elif reader.postcopy.listening:
                self._run_early(reader.postcopy)
            else:
                replies.shut(failed=False)
                self._go_on()
                connections.close()
        except Exception:
            connections.close()
            raise

    def _ends(self, replies: ReplyPath, load: Callable[[], object]) -> bool:
        """Load; False when the stream was refused, which the source is told."""
        try:
            load()
        except LoadError as error:
            replies.shut(failed=True)
            self._refuse(self._words(error))
            return False
        except Exception:
            replies.shut(failed=True)
            raise
        return True

    def _words(self, error: LoadError) -> list[str]:
        """Why the stream is refused: what a channel found first, if one did."""
        lines = explain(error, self._migration.traits)
        if self._connections is None or not (found := self._connections.error):
            return lines
        return [found] if self._migration.traits.multifd_words else [found, lines[-1]]

    def _start_listening(self, connections: Connections, reader: StateReader, replies: ReplyPath) -> None:
        waits = self._migration.traits.postcopy_device and replies.is_open
        self._migration.progress.fire(Event.POSTCOPY_LOAD if waits else Event.POSTCOPY)
        channel, _ = connections.main
        urgent = self._urgent(connections, reader.postcopy) if self._migration.preempts else None
        self.listening = Listening(
            self._migration, channel, reader, replies, self._lose, connections.close, urgent
        )
        self.listening.start()

    def _urgent(self, connections: Connections, postcopy: Postcopy) -> UrgentReader:
        """Who reads what is urgent: over a connection that is there, or over the next one."""
        reader = UrgentReader(self._migration, postcopy)
        if connections.urgent is not None:
            reader.take(connections.urgent)
        else:
            reader.wait_at(self._arrival)
        reader.start()
        return reader

    def _lose(self, lines: list[str]) -> None:
        """The rest of a guest cannot be had: whatever `exit-on-error` says, the process ends, as QEMU's."""
        if not self._migration.progress.can(Event.FAIL):  # the package was refused before
            return
        for line in lines:
            self._migration.say(line)
        self._migration.fail(lines[-1], quiet=True)
        self._migration.on_fatal()

    def _run_early(self, postcopy: Postcopy) -> None:
        """The guest runs, while memory still comes."""
        if self._machine.autostart:
            self._machine.vm_start()
        else:
            self._machine.vm_stop("paused")
        if self._migration.progress.status is Status.POSTCOPY_DEVICE:
            self._migration.progress.fire(Event.POSTCOPY)
        postcopy.loaded()

    def _go_on(self) -> None:
        state = self._migration.global_state
        if state.starts_guest and self._machine.autostart:
            self._machine.vm_start()
        else:
            self._machine.vm_stop("paused" if state.starts_guest else state.runstate_after)
        self._migration.settings.listening = False
        self._migration.progress.fire(Event.COMPLETE)

    def _refuse(self, lines: list[str]) -> None:
        if not self._migration.progress.can(Event.FAIL):  # whoever reads behind the package was first
            return
        *before, last = lines
        for line in before:
            self._migration.say(line)
        if self._exit_on_error:
            self._migration.say(last)
        self._migration.settings.listening = False
        self._migration.fail(last, quiet=True)
        if self._exit_on_error:
            self._migration.on_fatal()
