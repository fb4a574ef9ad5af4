# SPDX-License-Identifier: Apache-2.0
"""The source of a postcopy behind its package: sends memory, over one link after the other.

1. The guest is the destination's. Whatever goes wrong with a link, or here, pauses the migration and loses nothing: a
   page that is not known to be there is sent again.
2. Over another link the destination says what came (a bitmap for each block), then that it is ready; only then pages
   are sent.
3. It is over when the destination says that all came. QEMU fails when the link breaks after the last page was written
   and before that word, and from 10.0 on lets its guest run, too: what was under way is lost. This one pauses.
4. While `postcopy-device` is told (10.2), the destination has not begun, and an error ends the migration instead.

Source: "Postcopy recovery" in QEMU's `docs/devel/migration/postcopy.rst`; words and order seen on real 7.2, 10.0, 11.1.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from migmatrix.emulator.errors import bug
from migmatrix.emulator.migration.channel import ChannelError
from migmatrix.emulator.migration.link import Link
from migmatrix.emulator.migration.listening import PAUSED
from migmatrix.emulator.migration.pace import Pace
from migmatrix.emulator.migration.preempt import open_urgent
from migmatrix.emulator.migration.returnpath import LOADED, Listener
from migmatrix.emulator.migration.states import Event, Status
from migmatrix.emulator.migration.transports import connect
from migmatrix.vmstate.wire.commands import ping
from migmatrix.vmstate.wire.constants import CommandCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.emulator.migration.address import Address
    from migmatrix.emulator.migration.channel import Channel, Wake
    from migmatrix.emulator.migration.control import Migration
    from migmatrix.emulator.migration.figures import Figures
    from migmatrix.emulator.migration.savestate import StateWriter

__all__ = ["Late"]

_PIECE = 1 << 16  # bytes that are written at once: whoever waits for a page waits for them
_BY_USER = "Postcopy migration is paused by the user"


class _BrokenError(Exception):
    """The link broke while it was being put to use; the text is the source's line."""


class Late(Listener):
    """One outgoing postcopy. `wake` is set by a cancel."""

    def __init__(self, migration: Migration, figures: Figures, wake: Wake) -> None:
        self._migration = migration
        self._figures = figures
        self._wake = wake
        self._change = threading.Condition(migration.machine.bql)
        self._link: Link | None = None
        self._target: tuple[Address, Channel | None] | None = None
        self._unknown: set[str] = set()  # blocks of which it is not known what came
        self._words = ""  # why somebody broke the link
        self._urgent_words = ""  # why the channel for what is urgent broke
        self._is_loaded = False

    # -- what the destination says (on the return path's thread) -----------------------------------

    def request(self, block: str | None, start: int, length: int) -> None:
        """Send this first, or, with a channel for it, now; one that breaks costs the link."""
        try:
            self._migration.ram.request(block, start, length)
        except ChannelError as error:
            with self._change:
                self._urgent_words = str(error)
                if self._link is not None:
                    self._link.interrupt()

    def loaded(self) -> None:
        """The destination begins, which it may say before `begin` was called."""
        with self._change:
            self._is_loaded = True
            if self._status is Status.POSTCOPY_DEVICE:
                self._migration.progress.fire(Event.POSTCOPY)

    def bitmap_size(self, block: str) -> int:
        """Bytes of its bitmap; ValueError with the status unless it was asked for."""
        with self._change:
            if self._status is not Status.POSTCOPY_RECOVER:
                raise ValueError(self._status.value)
        return self._migration.ram.bitmap_size(block)

    def bitmap(self, block: str, bits: bytes) -> None:
        """What did not come is to be sent."""
        self._migration.ram.came(block, bits)
        with self._change:
            self._unknown.discard(block)
            self._change.notify_all()

    def ready(self) -> None:
        """Pages may be sent."""
        with self._change:
            if self._status is Status.POSTCOPY_RECOVER:
                self._migration.progress.fire(Event.RECOVER)
            self._change.notify_all()

    def ended(self) -> None:
        """Nothing more is said."""
        with self._change:
            self._change.notify_all()

    # -- what commands want (under the machine's lock) ---------------------------------------------

    @property
    def _status(self) -> Status:
        return self._migration.progress.status

    def pause(self) -> None:
        """Break the link."""
        if self._migration.traits.tells_paused:
            self._words = _BY_USER
        if self._link is not None:
            self._link.interrupt()

    def resume(self, address: Address, channel: Channel | None) -> None:
        """Go on over this channel, or one to this address."""
        self._target = address, channel
        self._change.notify_all()

    def cancel(self) -> None:
        """A cancel breaks the link; a paused migration hears nothing of it, in no release that takes one."""
        if self._link is not None:
            self._link.interrupt()
        self._change.notify_all()

    # -- the migration's thread --------------------------------------------------------------------

    def open_urgent(self, link: Link, address: Address) -> None:
        """Have a channel for what is urgent, as the destination has shown that it has the main one; ChannelError."""
        self._link = link
        open_urgent(link, address, self._wake, self._migration.traits)
        self._migration.ram.use_urgent(link.urgent)

    def send_package(self, writer: StateWriter, link: Link) -> None:
        """Send what cannot come late, and what lets the guest run over there; ChannelError."""
        try:
            self._send_package(writer, link)
        except ChannelError as error:
            if self._wake.is_set:
                raise
            if self._migration.traits.tells_late_errors:
                self._migration.say("postcopy_start: Migration stream error: Input/output error")
                raise
            self._migration.say("postcopy_start: Migration stream errored")
            self._migration.say("migration_iteration_run: postcopy failed to start")
            raise ChannelError("") from error  # all is said

    def _send_package(self, writer: StateWriter, link: Link) -> None:
        writer.switchover()
        writer.complete_iterative(postcopy=True)
        writer.discard()
        writer.command(CommandCode.PING, ping(2))
        with self._change, link.holding():
            writer.package([3, LOADED] if self._migration.traits.postcopy_device else [3])
        link.out.flush()
        writer.command(CommandCode.PING, ping(4))

    def begin(self) -> None:
        """The package has gone; the caller holds the lock."""
        progress = self._migration.progress
        if self._status is Status.POSTCOPY_ACTIVE:  # told when the guest stopped
            return
        if self._migration.traits.postcopy_device:
            progress.fire(Event.POSTCOPY_LOAD)
        if self._is_loaded or not self._migration.traits.postcopy_device:
            progress.fire(Event.POSTCOPY)

    def send(self, writer: StateWriter, link: Link) -> Link:
        """Send all the rest; the link over which its end went. ChannelError in `postcopy-device`, or when it was cancelled."""
        self._link = link
        while not self._sent(writer, link):
            link = self._next_link(writer)
        return link

    def _sent(self, writer: StateWriter, link: Link) -> bool:
        """Send pages; False when the link broke and the migration is paused."""
        try:
            self._send(writer, link)
            self._hear(link)
        except ChannelError as error:
            self._pause(link, str(error))
            return False
        except Exception as error:  # noqa: BLE001 - what nobody foresaw costs the link, not the guest
            self._pause(link, bug(error))
            return False
        return True

    def _send(self, writer: StateWriter, link: Link) -> None:
        pace = Pace(link.out, self._migration.settings.parameters, self._wake, limit="max-postcopy-bandwidth")
        self._figures.pace = pace
        link.out.piece = _PIECE
        while not self._iterate(writer):
            pace.keep()
            self._check()
        pace.lift()
        writer.complete_postcopy()
        if self._migration.preempts_early:
            with suppress(ChannelError):  # ended by a destination that has all; else the main link tells
                self._migration.ram.end_urgent()

    def _hear(self, link: Link) -> None:
        """Wait for the word that all came; ChannelError for another one, or none."""
        error = link.returns.finish() if link.returns is not None else None
        if error is not None:
            raise ChannelError(error)

    def _iterate(self, writer: StateWriter) -> bool:
        try:
            return writer.iterate()
        except ChannelError:
            told = self._wake.is_set or self._urgent_words
            if self._migration.traits.tells_late_errors and not told:
                self._migration.say(writer.failure)
            raise

    def _check(self) -> None:
        if self._wake.is_set:
            raise ChannelError("")

    def _pause(self, link: Link, words: str) -> None:
        """The link is of no use: close it, and say so."""
        link.interrupt()
        said = link.returns.finish() if link.returns is not None else None
        self._migration.ram.use_urgent(None)
        link.close(done=True)
        if self._status is Status.POSTCOPY_DEVICE or self._wake.is_set:
            raise ChannelError(self._urgent_words or said or words)
        with self._change:
            self._migration.progress.fire(Event.LOSE)
            self._migration.error = (
                (self._words or self._urgent_words or said or words)
                if self._migration.traits.tells_paused
                else ""
            )
            self._words = self._urgent_words = ""
            if self._migration.traits.tells_late_shutdown and link.channel.is_socket:
                self._migration.say("Unable to shutdown socket: Bad file descriptor")
            self._migration.say(PAUSED)

    def _next_link(self, writer: StateWriter) -> Link:
        """Another link, over which pages can be sent."""
        while True:
            with self._change:
                self._link = None
                while self._target is None:
                    self._change.wait()
                target, self._target = self._target, None
            link = self._linked(*target)
            if link is not None and self._recovered(writer, link, target[0]):
                return link

    def _linked(self, address: Address, channel: Channel | None) -> Link | None:
        """The other link, with its return path; None when there is none, which is told."""
        try:
            link = self._opened(address, channel)
        except ChannelError as error:
            self._lose_target(str(error))
            return None
        if not link.channel.two_way:
            link.channel.close()
            self._lose_target("Unable to open return-path for postcopy")
            return None
        with self._change:
            self._migration.error = ""
            self._link = link
            self._migration.progress.fire(Event.LINK)
            link.returns = self._migration.return_path(link.channel, self)
        self._figures.follow(link.out)
        return link

    def _opened(self, address: Address, channel: Channel | None) -> Link:
        link = Link(channel or connect(address, self._wake))
        try:
            if self._migration.preempts_early:
                open_urgent(link, address, self._wake, self._migration.traits)
        except ChannelError:
            link.close(done=True)
            raise
        return link

    def _lose_target(self, words: str) -> None:
        with self._change:
            self._migration.lose_target(words)

    def _recovered(self, writer: StateWriter, link: Link, address: Address) -> bool:
        """Whether the destination said what is missing and that it is ready."""
        try:
            self._ask(writer, link, address)
        except _BrokenError as error:
            if not self._migration.traits.recovers_again:
                self._hang(link)
            self._migration.say(f"postcopy_do_resume: {error}")
            self._pause(link, "")
            return False
        except Exception as error:  # noqa: BLE001 - as above
            self._pause(link, bug(error))
            return False
        return True

    def _hang(self, link: Link) -> None:
        """Wait for a word that never comes, as a source before 8.2 does when its recovery fails; a cancel ends that."""
        with self._change:
            while not self._wake.is_set:
                self._change.wait()
        link.close(done=True)
        raise ChannelError("")

    def _ask(self, writer: StateWriter, link: Link, address: Address) -> None:
        self._unknown = set(writer.go_on(link.out))
        words = "resume_prepare() failure detected: -1"
        self._tell(writer.ask_what_came, words)
        self._wait(link, lambda: not self._unknown, words)
        writer.resume()
        if self._migration.preempts:
            self._tell(lambda: self.open_urgent(link, address), "postcopy_preempt_establish_channel(): -1")
        words = "handshake failed: -1"
        self._tell(lambda: writer.command(CommandCode.POSTCOPY_RESUME), words)
        self._wait(link, lambda: self._status is not Status.POSTCOPY_RECOVER, words)

    def _tell(self, write: Callable[[], Any], words: str) -> None:
        try:
            write()
        except ChannelError as error:
            raise _BrokenError(words) from error

    def _wait(self, link: Link, is_so: Callable[[], bool], words: str) -> None:
        assert link.returns is not None  # noqa: S101 - opened with the link
        with self._change:
            while not is_so():
                if link.returns.over:
                    raise _BrokenError(words)
                self._change.wait()
