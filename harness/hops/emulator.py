# SPDX-License-Identifier: Apache-2.0
"""One emulator during a leg: process, QMP session, guest console, and the ladder that ends it.

Every wait is a race between the work, the emulator's end and a deadline; the loser is named in a `Problem`.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from migmatrix.harness.engines.base import Role
from migmatrix.harness.errors import EngineError
from migmatrix.harness.hops.furnish import tls_parameters
from migmatrix.harness.hops.guests import Console, can_beat, guest_arguments, guest_files
from migmatrix.harness.hops.patience import patience
from migmatrix.harness.hops.qmp import Disconnected, Malformed, QmpSession, Refused
from migmatrix.harness.hops.race import Interrupted, Until
from migmatrix.harness.hops.task import Problem
from migmatrix.harness.model import EmulatorEvidence

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from migmatrix.harness.builds.facts import PreparedBuild
    from migmatrix.harness.engines.base import Sandbox
    from migmatrix.harness.model import Guest, Mode

__all__ = ["Emulator", "MigrationFailed", "refuse_stopped"]

T = TypeVar("T")

# The kernel's letters for a process that a signal, or a debugger, stopped.
_STOPPED = ("T", "t")
# Where a source with `pause-before-switchover` waits for a word from its client.
_PAUSED = "pre-switchover"
_FINAL = ("completed", "failed", "cancelled")
# How long an emulator may take to end after it has said, or shown, that it will.
_LAST_WORDS = 10.0
# How long a daemon may take from the end of the process that was started to its monitor.
_FOLLOWS = 3.0
# The ladder: signal, and seconds until the next one.
_LADDER = (("INT", 3.0), ("TERM", 3.0), ("KILL", 10.0))


class MigrationFailed(Exception):
    """The migration status went to failed or cancelled."""


class Emulator:
    """One emulator, from its start to its end."""

    def __init__(
        self, sandbox: Sandbox, build: PreparedBuild, role: Role, guest: Guest, clock: Callable[[], float]
    ) -> None:
        self.build = build
        self.role = role
        self.sandbox = sandbox
        self.job = sandbox.job()
        self.qmp = QmpSession(clock)
        self.console = Console(guest)
        self.beats = False  # whether the guest is expected to write to its console for ever
        self._guest = guest
        self._argv: tuple[str, ...] = ()
        self._statuses: list[str] = []
        self._pass = 0
        self._exit: int | None = None  # of an emulator that ended by itself
        self._end: asyncio.Future[int] | None = None
        self._killed = False  # by the harness
        self._gone_on = False  # as another process, after the one that was started had ended with success

    async def start(self, machine: str, arguments: Iterable[str], *, incoming: bool) -> None:
        """Start it and negotiate QMP; the guest does not run yet."""
        arguments = tuple(arguments)
        self.beats = can_beat(self._guest, machine, (*self.build.args, *arguments))
        try:
            await self._listen()
        except OSError as err:
            raise EngineError(f"cannot make an emulator's files: {err}") from err
        self._argv = self._command_line(machine, arguments, incoming=incoming)
        await self.job.start(self._argv)
        await self.qmp.accept()

    async def _listen(self) -> None:
        files = self.job.files
        await self.qmp.listen(files.path("qmp"))
        files.open_socket("qmp")
        if self.beats:
            guest_files(self._guest, self.job)
            await self.console.listen(files.path("console"))
            files.open_socket("console")

    def _command_line(self, machine: str, arguments: Iterable[str], *, incoming: bool) -> tuple[str, ...]:
        return (
            self.build.binary,
            *("-machine", machine, "-no-user-config", "-display", "none", "-S"),
            *self.build.args,
            *arguments,
            *(guest_arguments(self._guest, self.job) if self.beats else ()),
            *("-qmp", f"unix:{self.job.inner('qmp')}"),
            *(("-incoming", "defer") if incoming else ()),
        )

    async def race(self, work: Coroutine[Any, Any, T], deadline: float) -> T:
        """The result of `work`; Problem when the emulator ends, refuses or the deadline comes first."""
        try:
            async with patience(deadline), Until(self._ended()):
                return await work
        except Interrupted as err:
            await self._note_exit()
            if self._gone_on:
                raise EngineError(
                    f"build {self.build.id!r}: the process that was started has ended,"
                    " and another goes on in its place, which no leg can follow"
                ) from err
            raise Problem("exited", role=self.role.value) from err
        except TimeoutError as err:
            late = f"not done within {deadline:g} s"
            raise Problem("deadline", late, self.role.value, waited=deadline) from err
        except (Refused, Disconnected, MigrationFailed) as err:
            raise await self._problem(err) from err

    def _ended(self) -> asyncio.Future[int]:
        """One waiter for the emulator's end, shared by all races."""
        if self._end is None:
            self._end = asyncio.ensure_future(self._until_nobody_follows())
            self._end.add_done_callback(_retrieve)
        return self._end

    async def _until_nobody_follows(self) -> int:
        """Its exit status; after a success with a note of who has its monitor then.

        Whoever goes on in its place may not be there yet, and may wait for what the interrupted work is going to let go of.
        """
        status = await self.job.wait()
        if status == 0:
            await self.qmp.awaited(_FOLLOWS)
            self._gone_on = self.qmp.held()
        return status

    async def _problem(self, err: Refused | Disconnected | MigrationFailed) -> Problem:
        if isinstance(err, Refused):
            kind = "malformed" if isinstance(err, Malformed) else "qmp-error"
            return Problem(kind, str(err), self.role.value)
        # A destination prints its reason and exits; a source stays and keeps the reason.
        leaves = isinstance(err, Disconnected) or self.role is Role.DESTINATION
        if leaves and await self._ends_soon():
            return Problem("exited", role=self.role.value)
        if isinstance(err, Disconnected):
            return Problem("deadline", "closed its QMP session but did not end", self.role.value)
        return Problem("migration-failed", await self._error_desc(), self.role.value)

    async def _ends_soon(self) -> bool:
        try:
            async with patience(_LAST_WORDS):
                await self._note_exit()
        except TimeoutError:
            return False
        return True

    async def _note_exit(self) -> None:
        self._exit = await self.job.wait()

    async def _error_desc(self) -> str:
        try:
            async with patience(_LAST_WORDS):
                return str((await self.qmp.execute("query-migrate")).get("error-desc", ""))
        except (TimeoutError, Disconnected, Refused) as err:
            return f"no reason given ({err!r})"

    async def set_up(self, mode: Mode) -> None:
        """Set the mode's capabilities and parameters for this side."""
        side = mode.side(self.role)
        names = sorted({"events", *side.capabilities})
        capabilities = [{"capability": name, "state": True} for name in names]
        await self.qmp.execute("migrate-set-capabilities", {"capabilities": capabilities})
        if parameters := {**tls_parameters(mode, self.role), **side.parameters}:
            await self.qmp.execute("migrate-set-parameters", parameters)

    async def migration_status(self, *wanted: str) -> str:
        """Wait for one of the statuses, or a final one; MigrationFailed when it failed."""
        while not (hits := [s for s in self._statuses if s in wanted or s in _FINAL]):
            await self._note_event(await self.qmp.event())
        if hits[0] in ("failed", "cancelled"):
            raise MigrationFailed(hits[0])
        return hits[0]

    async def passes(self, count: int) -> None:
        """Wait until precopy has gone over all memory so many times; a migration that ends before ends the wait, too."""
        while self._pass <= count and not any(status in _FINAL for status in self._statuses):
            await self._note_event(await self.qmp.event())

    async def _note_event(self, event: Mapping[str, Any]) -> None:
        if event.get("event") == "MIGRATION_PASS":
            self._pass = event["data"]["pass"]  # of the one that begins, from 1
        if event.get("event") == "MIGRATION":
            status = event["data"]["status"]
            self._statuses.append(status)
            if status == _PAUSED:
                await self.qmp.execute("migrate-continue", {"state": _PAUSED})

    def forget_migration(self) -> None:
        """Before the next migration of the same emulator."""
        self._statuses.clear()
        self._pass = 0

    def become_source(self) -> None:
        """A destination that has loaded goes on as the source of the next leg."""
        self.role = Role.SOURCE
        self.forget_migration()

    async def quit(self, deadline: float) -> None:
        """Tell it to quit and wait; if it does not exit in time, `end` kills it."""
        try:
            async with patience(deadline):
                await self.qmp.execute("quit")
                await self.job.wait()
        except (TimeoutError, Disconnected, Refused):
            pass  # its work is done and recorded; `end` climbs the ladder

    async def stopped(self) -> bool:
        """Whether somebody stopped it (SIGSTOP, a debugger); then no signal but KILL will end it, which is sent."""
        stopped = await self.job.state() in _STOPPED
        if stopped:
            self._kill()
        return stopped

    async def end(self) -> EmulatorEvidence:
        """End it by all means, and return what is known of it."""
        if self._end is not None:
            self._end.cancel()
        await self.qmp.close()
        await self.console.close()
        await self._climb()
        await self._note_kill()
        evidence = self.evidence()
        self.job.discard()
        return evidence

    def evidence(self) -> EmulatorEvidence:
        """What is known of it so far."""
        self.qmp.drain()
        return EmulatorEvidence(
            role=self.role.value,
            build=self.build.id,
            version=self.build.facts.version,
            argv=self._argv,
            stderr=self.job.output("stderr"),
            exit=self._exit,
            qmp=self.qmp.log,
        )

    async def _climb(self) -> None:
        for name, seconds in _LADDER:
            if self.job.exited or not self._argv:
                return
            self._kill() if name == "KILL" else self.job.signal(name)
            try:
                async with patience(seconds):
                    await self.job.wait()
            except TimeoutError:
                continue

    def _kill(self) -> None:
        self._killed = True
        self.job.signal("KILL")

    async def _note_kill(self) -> None:
        """Note that somebody else killed it, which no race was there to see when the other side was killed, too."""
        if self._exit is None and not self._killed and self.job.exited:
            with suppress(EngineError):  # of a dead sandbox nobody knows how its emulators ended
                status = await self.job.wait()
                self._exit = status if status == -signal.SIGKILL else None


async def refuse_stopped(problem: Problem, *emulators: Emulator) -> None:
    """EngineError when something was waited for in vain because one of the emulators had been stopped."""
    if problem.problem in ("deadline", "silent"):
        stopped = [emulator.build.id for emulator in emulators if await emulator.stopped()]
        if stopped:
            raise EngineError(
                f"somebody stopped the emulator of build {stopped[0]!r} (SIGSTOP or a debugger)"
            )


def _retrieve(end: asyncio.Future[int]) -> None:
    """Retrieve an engine's error, so that asyncio does not log it when no race asks for the exit."""
    if not end.cancelled():
        end.exception()
