# SPDX-License-Identifier: Apache-2.0
"""The outgoing migration: a thread from the connection to `completed`, `failed` or `cancelled`.

1. The guest keeps its run state until `_switch`. Every end after that other than `completed` restores it: a guest
   that ran runs again.
2. Hold the machine's lock for changes of state and for device sections, never while waiting for the other side.
3. Whatever is raised, by a device's hook or here, ends the migration as `failed` (`bug` prints what nobody foresaw).
4. A cancel interrupts the channel and every wait; the exception that the thread then gets is not an error.
5. `completed` means that all bytes are with the other side, and, with a return path, that it loaded them.
6. From the package of a postcopy on the guest is the destination's (`late`). A postcopy that fails before, or while
   `postcopy-device` is told, gives it back from 10.0 on, and never before (trait `restores_runstate`), as QEMU does.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.errors import bug
from migmatrix.emulator.memory import PAGE_SIZE
from migmatrix.emulator.migration.channel import ChannelError, Wake
from migmatrix.emulator.migration.figures import Figures
from migmatrix.emulator.migration.hostpages import size_summary
from migmatrix.emulator.migration.late import Late
from migmatrix.emulator.migration.link import Link
from migmatrix.emulator.migration.pace import Pace
from migmatrix.emulator.migration.preempt import open_urgent
from migmatrix.emulator.migration.states import Event, Status
from migmatrix.emulator.migration.transports import connect, secured
from migmatrix.vmstate.device.errors import VMStateError
from migmatrix.vmstate.wire.commands import advise, ping
from migmatrix.vmstate.wire.constants import CommandCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.emulator.migration.address import Address
    from migmatrix.emulator.migration.channel import Channel
    from migmatrix.emulator.migration.control import Migration
    from migmatrix.emulator.migration.handlers import Pending
    from migmatrix.emulator.migration.multifd import PageSink
    from migmatrix.emulator.migration.returnpath import ReturnPath
    from migmatrix.emulator.migration.savestate import StateWriter
    from migmatrix.emulator.migration.streams import Output

__all__ = ["Outgoing"]

_STANDS: Final = "finish-migrate"  # what a guest does that is not given back


class _Cancelled(Exception):
    """Somebody cancelled; not an error."""


class _Way(Enum):
    """How it goes on after a look at what is left."""

    PRECOPY = auto()
    SWITCH = auto()
    POSTCOPY = auto()


class _Failed(Exception):
    """The destination failed, and said so."""


@contextmanager
def _last_resort() -> Iterator[None]:
    """Print what nobody foresaw, and go on."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the last resort
        bug(error)


class Outgoing:
    """One outgoing migration; `figures` are for `query-migrate`."""

    def __init__(self, migration: Migration, address: Address, channel: Channel | None) -> None:
        self._migration = migration
        self._machine = migration.machine
        self._address = address
        self._channel = channel
        self._wake = Wake()
        self._goes_on = threading.Condition(self._machine.bql)
        self._before = ""  # run state before the switch, "" until then and when it is not ours any more
        self.wants_postcopy = False
        self._stays = bool(migration.settings.capabilities.get("background-snapshot"))  # the guest, here
        self.figures = Figures()
        self._late = Late(migration, self.figures, self._wake)
        self._paused = False  # before the switchover, as a capability asks for
        self._stage = "Failed to save setup"
        self._pace: Pace | None = None
        self._link: Link | None = None
        self._sink: PageSink | None = None
        self._thread = threading.Thread(target=self._run, name="live_migration", daemon=True)

    # -- what other threads ask for (under the machine's lock) -------------------------------------

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """End soon; the status is `cancelling` already."""
        self._wake.set()
        if self._link is not None:
            self._link.interrupt()
        elif self._channel is not None:
            self._channel.interrupt()
        if self._sink is not None:
            self._sink.interrupt()
        self._late.cancel()
        self._goes_on.notify_all()

    def pause(self) -> None:
        """Break the link of a postcopy."""
        self._late.pause()

    def resume(self, address: Address, channel: Channel | None) -> None:
        """Go on with a paused postcopy over this channel, or one to this address."""
        self._late.resume(address, channel)

    def go_on(self) -> None:
        """Leave `pre-switchover`."""
        self._migration.progress.fire(Event.SWITCH)
        self._paused = False
        self._goes_on.notify_all()

    def join(self, seconds: float | None = None) -> None:
        """Wait for the end of the thread, if it was ever started."""
        if self._thread.ident is not None:
            self._thread.join(seconds)

    @property
    def _returns(self) -> ReturnPath | None:
        return self._link.returns if self._link is not None else None

    @property
    def _out(self) -> Output:
        assert self._link is not None  # noqa: S101 - made before anything is written
        return self._link.out

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        writer: StateWriter | None = None
        try:
            self._link = self._connect()
            writer = self._migration.writer(self._link.out)
            if self._stays:
                self._snapshot(writer)
            elif self._precopy(writer) is _Way.POSTCOPY:
                self._postcopy(writer)
                self._link = self._late.send(writer, self._link)
            else:
                self._switch(writer)
            self._finish()
        except (_Cancelled, _Failed, ChannelError, VMStateError) as error:
            self._end(self._words(error))
        except Exception as error:  # noqa: BLE001 - the last resort: rule 3
            self._end(bug(error))
        finally:
            self._clean_up(writer)

    def _clean_up(self, writer: StateWriter | None) -> None:
        """Whatever happened: each of these steps is done, even if one before it raises."""
        with self._machine.bql, _last_resort():
            if writer is not None:
                writer.cleanup()
        self.figures.end()
        with _last_resort():
            self._close()
        with self._machine.bql:
            self._settle()

    def _connect(self) -> Link:
        if self._channel is None:
            channel = connect(self._address, self._wake)
            with self._machine.bql:
                self._channel = channel
                self._check()
        elif not self._channel.secured:
            secured(self._channel, self._address, self._wake)
        assert self._channel is not None  # noqa: S101 - either came in or was just made
        link = Link(self._channel)
        self.figures.follow(link.out)
        self._sink = self._migration.sink(self._address, self._channel, link.out, self._wake)
        if self._migration.preempts_early:
            open_urgent(link, self._address, self._wake, self._migration.traits)
        return link

    def _check(self) -> None:
        """Stop here if somebody cancelled or the destination failed."""
        if self._wake.is_set:
            raise _Cancelled
        if self._sink is not None:
            self._sink.check()
        if self._returns is not None and (error := self._returns.failed):
            raise _Failed(error)

    def _precopy(self, writer: StateWriter) -> _Way:
        assert self._link is not None  # noqa: S101 - made by the caller
        with self._machine.bql:
            self._migration.prepare_save()
        writer.begin()
        self._open_return_path(writer, self._link)
        pace = self._activate(writer, self._link)
        while (way := self._way(writer, pace)) is _Way.PRECOPY:
            idle = self._iterate(writer) and not self._machine.running
            pace.keep(idle=idle)
            self._check()
        return way

    def _activate(self, writer: StateWriter, link: Link) -> Pace:
        self._set_up(writer, link)
        self._fire(Event.ACTIVATE)
        self.figures.set_up()
        self._stage = "Failed to save iterable device state"
        self._pace = self.figures.pace = Pace(link.out, self._migration.settings.parameters, self._wake)
        return self._pace

    def _snapshot(self, writer: StateWriter) -> None:
        """Send the guest as it is at one moment, while it goes on: devices are saved first and sent last."""
        assert self._link is not None  # noqa: S101 - made by the caller
        with self._machine.bql:
            self._migration.prepare_save()
        writer.begin()
        pace = self._activate(writer, self._link)
        rest = self._moment(writer)
        while not self._iterate(writer):
            pace.keep()
            self._check()
        self._check()
        self._out.put(rest)
        self._out.flush()

    def _moment(self, writer: StateWriter) -> bytes:
        """Stop the guest, save its devices, keep its memory as it is, and let it go on. QEMU aborts if it never ran."""
        with self._machine.bql:
            self._check()
            self.figures.guest_stops()
            before = self._machine.runstate
            self._migration.global_state.store(before)
            if before == "running":
                self._before = before
                self._machine.vm_stop("paused")
            rest = writer.complete_apart()
            self._migration.ram.freeze()
            self.figures.guest_resumes()
            self._give_back()
        return rest

    def _open_return_path(self, writer: StateWriter, link: Link) -> None:
        capabilities = self._migration.settings.capabilities
        late = capabilities["postcopy-ram"]
        if not late and not capabilities.get("return-path"):
            return
        if late and not link.channel.two_way:
            raise ChannelError("Unable to open return-path for postcopy")
        link.returns = self._migration.return_path(link.channel, self._late)
        writer.command(CommandCode.OPEN_RETURN_PATH)
        writer.command(CommandCode.PING, ping(1))
        if late:
            writer.command(
                CommandCode.POSTCOPY_ADVISE,
                advise(size_summary(self._machine.ram_blocks.values()), PAGE_SIZE),
            )

    def _iterate(self, writer: StateWriter) -> bool:
        """One round; QEMU names the section during which the connection was lost."""
        try:
            return writer.iterate()
        except ChannelError:
            if not self._wake.is_set:
                self._migration.say(writer.failure)
            raise

    def _set_up(self, writer: StateWriter, link: Link) -> None:
        locked = self._migration.traits.locked_setup
        with self._machine.bql, link.holding():
            writer.early()
            if locked:
                writer.start_iterative()
        if not locked:
            writer.start_iterative()
        link.out.flush()

    def _way(self, writer: StateWriter, pace: Pace) -> _Way:
        """Whether what is left can be sent with the guest stopped, or after it goes on over there."""
        self._check()
        pending = writer.pending(exact=False)
        if self._must_know(pending, pace.threshold):
            pending = writer.pending(exact=True)
        fits = pending.total <= pace.threshold
        if not self._migration.may_switch(self._returns):
            return _Way.PRECOPY
        late = self.wants_postcopy and pending.must_precopy <= pace.threshold
        if late and (not fits or self._migration.traits.postcopy_first):
            return _Way.POSTCOPY
        return _Way.SWITCH if fits else _Way.PRECOPY

    def _must_know(self, pending: Pending, threshold: int) -> bool:
        """Whether what is left is so little that the exact amount decides; 11.1 looks at what cannot come late only."""
        if self._migration.traits.exact_before_switchover:
            return pending.must_precopy <= threshold
        return pending.total < threshold

    def _fire(self, event: Event) -> None:
        """Change the status, unless a cancel came first."""
        with self._machine.bql:
            if self._wake.is_set:
                raise _Cancelled
            self._migration.progress.fire(event)

    def _stop(self) -> None:
        """Stop the guest; from here on all ends but the good one must give it back."""
        self._check()
        self.figures.guest_stops()
        self._before = self._machine.runstate
        self._migration.global_state.store(self._before)
        self._machine.vm_stop("finish-migrate")
        self._enter_device()

    def _switch(self, writer: StateWriter) -> None:
        """Stop the guest and send all the rest."""
        assert self._link is not None and self._pace is not None  # noqa: S101, PT018 - from the precopy on
        with self._machine.bql:
            self._stop()
        self._pace.lift()
        writer.switchover()
        writer.complete_iterative()
        self._out.flush()
        with self._machine.bql, self._link.holding():
            self._stage = "Failed to save device state"
            writer.complete()
        self._out.flush()

    # -- postcopy --------------------------------------------------------------------------------

    def _postcopy(self, writer: StateWriter) -> None:
        """Stop the guest and let it go on over there; `late` sends the rest of its memory."""
        assert self._link is not None and self._pace is not None  # noqa: S101, PT018 - from the precopy on
        traits = self._migration.traits
        if self._migration.preempts:
            self._open_urgent(self._link)
        if traits.part_before_postcopy:
            writer.prepare_postcopy()
        with self._machine.bql:
            if not traits.device_status:
                self._fire(Event.POSTCOPY)
            self._stop()
            self._before = self._before if traits.restores_runstate else _STANDS
        self._pace.lift()
        self._stage = "Failed to save device state"
        self._late.send_package(writer, self._link)
        with self._machine.bql:
            self._check_cancel()
            self.figures.guest_goes()
            self._late.begin()

    def _open_urgent(self, link: Link) -> None:
        """Open the channel for what is urgent when a PONG has shown that the destination has the main one."""
        assert link.returns is not None  # noqa: S101 - a postcopy has one
        if not link.returns.wait_for_pong():
            self._check()
            raise ChannelError("")
        try:
            self._late.open_urgent(link, self._address)
        except ChannelError:
            if self._migration.traits.tells_late_errors and not self._wake.is_set:
                self._migration.say("postcopy_start: Failed to establish preempt channel")
            raise

    def _enter_device(self) -> None:
        """`pre-switchover` until somebody says that it goes on, then `device` where the release shows it."""
        progress = self._migration.progress
        if self._migration.settings.capabilities.get("pause-before-switchover"):
            progress.fire(Event.PAUSE)
            self._paused = True
            while progress.status is Status.PRE_SWITCHOVER:
                self._goes_on.wait()
            self._check()
        elif self._migration.traits.device_status:
            progress.fire(Event.SWITCH)

    def _finish(self) -> None:
        """Nothing is left to send: wait for the destination's word and for the channel's own end."""
        if self._returns is not None and (error := self._returns.finish()) is not None:
            self._check_cancel()
            raise _Failed(error)
        self._close()
        with self._machine.bql:
            self._check_cancel()
            self.figures.end(completed=True)
            self._migration.progress.fire(Event.COMPLETE)
            if not self._stays:
                self._machine.vm_stop("postmigrate")

    def _check_cancel(self) -> None:
        if self._wake.is_set:
            raise _Cancelled

    def _close(self) -> None:
        if self._sink is not None:
            self._sink.close()
        if self._link is not None:
            self._link.close(done=self._migration.progress.status is Status.COMPLETED)
        elif self._channel is not None:
            self._channel.close()

    # -- ends that are not `completed` -----------------------------------------------------------

    def _words(self, error: Exception) -> str:
        """The error as QEMU of this release says it."""
        if self._wake.is_set or isinstance(error, _Cancelled):
            return self._late_words()
        return f"{self._stage}: {error}" if isinstance(error, VMStateError) else str(error)

    def _late_words(self) -> str:
        """The error of a migration that was cancelled: in newer releases there is one when it was late or had a return path."""
        traits, paused = self._migration.traits, self._paused
        if paused and traits.interrupted_switchover:
            return "Switchover is interrupted"
        late = traits.late_cancel_error and (paused or self._returns is not None)
        return "Channel error: Input/output error" if late else ""

    def _end(self, words: str) -> None:
        """Give the guest back and say what happened. An empty error of a cancelled one is none."""
        with self._machine.bql:
            if self._migration.progress.status is Status.CANCELLING:
                self._migration.told(words)
                self._give_back()
                return
            quiet = self._link is None and self._migration.traits.quiet_connect
            self._migration.fail(words, failing=self._give_back, quiet=quiet)

    def _give_back(self) -> None:
        """The guest goes on, or stands, as before the switch."""
        if not self._before:
            return
        if self._before == "running":
            self._machine.vm_start()
        else:
            old = self._before if self._migration.traits.restores_runstate else "postmigrate"
            self._machine.vm_stop(old)
        self._before = ""

    def _settle(self) -> None:
        """The last change of status of a cancelled migration: after it another may begin."""
        if self._migration.progress.status is Status.CANCELLING:
            self._migration.progress.fire(Event.CANCELLED)
