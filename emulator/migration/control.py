# SPDX-License-Identifier: Apache-2.0
"""`Migration`: what QMP and the command line do with a machine's migration. Start here.

1. One migration at a time, outgoing or incoming; its status changes only through `progress`.
2. Everything here runs under the machine's lock, from whichever thread.
3. A refused command is a `QmpError` with the text of the release.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration import recovery, snapshot
from migmatrix.emulator.migration.address import Address, from_channels, parse_uri
from migmatrix.emulator.migration.blocktime import Blocktime
from migmatrix.emulator.migration.commands import CommandHandler
from migmatrix.emulator.migration.configuration import Configuration
from migmatrix.emulator.migration.converge import Converge
from migmatrix.emulator.migration.globalstate import GlobalState
from migmatrix.emulator.migration.incoming import Incoming
from migmatrix.emulator.migration.loadstate import StateReader
from migmatrix.emulator.migration.multifd import (
    NO_CHANNELS,
    Connections,
    Multifd,
    make_receivers,
    multifd_of,
    open_sink,
)
from migmatrix.emulator.migration.outgoing import Outgoing
from migmatrix.emulator.migration.postcopy import Postcopy, unfit
from migmatrix.emulator.migration.preempt import NO_URGENT_CHANNEL, opens_early, preempts
from migmatrix.emulator.migration.properties import OBJECT, framing_of, settings_of
from migmatrix.emulator.migration.query import describe
from migmatrix.emulator.migration.ram import RamSection
from migmatrix.emulator.migration.rdma.opening import arriving_rdma, opened_rdma
from migmatrix.emulator.migration.requirements import (
    SOCKETS,
    check_address,
    check_descriptor,
    check_file,
    has_channels,
    protected,
)
from migmatrix.emulator.migration.returnpath import ReturnPath
from migmatrix.emulator.migration.savestate import StateWriter
from migmatrix.emulator.migration.sections import complete_sections, find_state
from migmatrix.emulator.migration.states import Event, Progress, Status
from migmatrix.emulator.migration.traits import Traits
from migmatrix.emulator.migration.transports import listen, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.memory import PageMissingError
    from migmatrix.emulator.migration.channel import Channel, Wake
    from migmatrix.emulator.migration.multifd import PageSink
    from migmatrix.emulator.migration.returnpath import Listener, ReplyPath
    from migmatrix.emulator.migration.savestate import Framing
    from migmatrix.emulator.migration.streams import Input, Output, Readable, Writable

__all__ = ["Migration"]


def _no_fd(_name: str) -> int | None:
    return None  # for a caller without a monitor


def _end_process() -> None:
    sys.stderr.flush()
    os._exit(1)


def _say(line: str) -> None:
    sys.stderr.write(f"qemu-system-x86_64: {line}\n")
    sys.stderr.flush()


def _error(text: str) -> QmpError:
    return QmpError("GenericError", text)


class Migration:
    """A machine's migration.

    `settings` are its capabilities and parameters, `error` the last failure's text. `on_fatal` ends the process
    after an incoming stream was refused; the main loop may set a gentler one. `say` prints a line as QEMU does.
    """

    def __init__(self, machine: Machine) -> None:
        release = machine.release.name
        self.machine = machine
        self.traits = Traits(release)
        self.object = machine.new(OBJECT)
        self.settings = settings_of(self.object)
        self.progress = Progress(self.tell)
        self.error = ""
        self.outgoing: Outgoing | None = None
        self.incoming_side: Incoming | None = None
        self.on_fatal: Callable[[], object] = _end_process
        self.say: Callable[[str], None] = _say
        self._expects = machine.options.incoming is not None
        self._was_told = False  # an incoming migration was begun
        complete_sections(machine.registry, machine.ram_blocks, release)
        self.ram.passed, self.ram.settings = self._passed, self.settings
        self.settings.unfit = self._unfit
        self.ram.converge = Converge(machine, self.settings)
        self.global_state.always = self.object.props["store-global-state"]

    # -- what it consists of -----------------------------------------------------------------------

    @property
    def ram(self) -> RamSection:
        """The section of guest memory."""
        return find_state(self.machine.registry, RamSection)

    @property
    def global_state(self) -> GlobalState:
        """The section of the run state."""
        return find_state(self.machine.registry, GlobalState)

    def framing(self) -> Framing:
        """How streams of this release and machine type are framed."""
        return framing_of(self.object, self.traits)

    def _configuration(self) -> Configuration:
        uuid = self.machine.options.uuid
        raw = bytes.fromhex(uuid.replace("-", "")) if uuid else None
        return Configuration(
            self.machine.type.name, self.settings.capabilities, raw, lambda text: self.say(f"warning: {text}")
        )

    def writer(self, out: Output) -> StateWriter:
        """A writer of this machine's stream to `out`."""
        return StateWriter(out, self.machine.registry, self._configuration(), self.framing())

    def reader(self, source: Input, replies: ReplyPath) -> StateReader:
        """A reader that loads a stream from `source` into this machine."""
        allowed = bool(self.settings.capabilities.get("postcopy-ram"))  # a snapshot has none
        blocktime = (
            Blocktime(self.machine.smp.cpus) if allowed and self.capabilities["postcopy-blocktime"] else None
        )
        postcopy = Postcopy(self.machine, replies, allowed=allowed, blocktime=blocktime, say=self.say)
        self.ram.postcopy = postcopy
        commands = CommandHandler(
            self.traits, replies, self.machine.ram_blocks, self.say, postcopy, acks=self._asks_for_switchover
        )
        registry = self.machine.registry
        return StateReader(source, registry, self._configuration(), self.framing(), commands, self.say)

    def return_path(self, channel: Channel, listener: Listener) -> ReturnPath:
        """The source's end of the connection by which the destination answers; `listener` hears what a postcopy needs."""
        return ReturnPath(self, channel, listener, asked=self._asks_for_switchover)

    def _multifd(self) -> Multifd | None:
        return multifd_of(self.machine, self.settings, self.object.props, self.traits)

    def sink(self, address: Address, channel: Channel, out: Output, wake: Wake) -> PageSink | None:
        """What takes pages beside the main stream: channels of multifd, connected, or a file. ChannelError."""
        self.ram.sink = open_sink(self._multifd(), self.ram, address, channel, out, wake)
        return self.ram.sink

    def connections(self) -> Connections:
        """What sorts the connections of an incoming migration."""
        self.ram.mapped = bool(self.capabilities.get("mapped-ram"))
        multifd = None if self.ram.mapped else self._multifd()
        self.ram.receivers = None if multifd is None else make_receivers(multifd, self.machine)
        return Connections(
            self.ram.receivers, self.traits, preempts=self.preempts and not self.traits.late_preempt
        )

    def when_here(self, missing: PageMissingError, then: Callable[[], object]) -> None:
        """Ask for a page that a guest misses, and call `then` when it is here."""
        assert self.ram.postcopy is not None  # noqa: S101 - no page is missing without
        self.ram.postcopy.missing.when_here(missing.block, missing.page, then, vcpu=0)

    @property
    def preempts(self) -> bool:
        """Whether pages that a guest waits for have a channel of their own."""
        return preempts(self.capabilities)

    @property
    def preempts_early(self) -> bool:
        """Whether a source opens it with the main one, and ends it."""
        return self.preempts and opens_early(self.object.props)

    def prepare_save(self) -> None:
        """Forget the run state that an earlier stream brought."""
        self.global_state.received = ""

    def may_switch(self, returns: ReturnPath | None) -> bool:
        """Whether the destination agrees to the switchover, or is not asked."""
        return not self._asks_for_switchover or returns is None or returns.acked

    @property
    def _asks_for_switchover(self) -> bool:
        legacy = self.object.props.get("switchover-ack-legacy", True)
        return bool(self.settings.capabilities.get("switchover-ack")) and legacy

    # -- statuses ----------------------------------------------------------------------------------

    def tell(self, status: Status) -> None:
        """Tell of a status, by event."""
        if self.settings.capabilities.get("events"):
            self.machine.emit("MIGRATION", {"status": status.value})

    def _passed(self, number: int) -> None:
        if self.settings.capabilities.get("events"):
            self.machine.emit("MIGRATION_PASS", {"pass": number})

    def fail(self, text: str, *, failing: Callable[[], object] | None = None, quiet: bool = False) -> None:
        """Record a failure with its text: fire the statuses, and call `failing` between them."""
        with self.machine.bql:
            self.error = text
            if self.traits.failing_status and self.outgoing is not None:
                self.progress.fire(Event.BREAK)
            else:
                self.progress.fire(Event.FAIL)
            if failing is not None:
                failing()
            if self.progress.status is Status.FAILING:
                self.progress.fire(Event.FAIL)
            if not quiet:
                self.told(text)

    def lose_target(self, text: str, *, quiet: bool = False) -> None:
        """Another link for a paused postcopy could not be made; it stays paused."""
        if self.progress.can(Event.LOSE):
            self.progress.fire(Event.LOSE)
        self.error = text if self.traits.tells_paused else ""
        if not quiet and not self.traits.quiet_connect:
            self.say(text)

    def told(self, text: str) -> None:
        """Keep an error for `query-migrate`, and print it; "" is none."""
        self.error = text
        if text:
            self.say(text)

    # -- commands ----------------------------------------------------------------------------------

    @property
    def capabilities(self) -> dict[str, bool]:
        """Capabilities by name."""
        return self.settings.capabilities

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters by name."""
        return self.settings.parameters

    def set_capabilities(self, items: Iterable[Mapping[str, Any]]) -> None:
        """`migrate-set-capabilities`."""
        with self.machine.bql:
            if self.progress.running and self.outgoing is not None:
                raise _error("There's a migration process in progress")
            self.settings.set_capabilities(items)

    def _unfit(self) -> str:
        """Words for why this destination can take no postcopy."""
        incoming = self.machine.runstate == "inmigrate"
        return unfit(self.machine, self.traits, self.say) if incoming else ""

    def set_parameters(self, given: Mapping[str, Any]) -> None:
        """`migrate-set-parameters`."""
        with self.machine.bql:
            self.settings.set_parameters(given)

    def query(self) -> dict[str, Any]:
        """`query-migrate`."""
        with self.machine.bql:
            return describe(self)

    def migrate(
        self,
        target: str | Sequence[Any],
        fds: Callable[[str], int | None] = _no_fd,
        *,
        resume: bool = False,
    ) -> None:
        """`migrate`: begin, or QmpError.

        `target` is a URI or a list of channels; `fds` gives and forgets a descriptor that came by `getfd`.
        """
        with self.machine.bql:
            if self.traits.address_first:
                address = self.address(target, incoming=False)
            if resume:
                recovery.resume(self, target, fds)
                return
            self._check_source()
            if not self.traits.address_first:
                address = self._late_address(target)
            self._begin(address, fds)

    def _late_address(self, target: str | Sequence[Any]) -> Address:
        """The address, where one that is wrong is a migration that failed."""
        try:
            return self.address(target, incoming=False)
        except QmpError as error:
            self._start_side()
            self.fail("" if "valid migration protocol" in error.desc else error.desc, quiet=True)
            raise

    def address(self, target: str | Sequence[Any], *, incoming: bool) -> Address:
        """The address that a URI or a list of channels names; QmpError."""
        if isinstance(target, str):
            address = parse_uri(target, self.traits, incoming=incoming)
        else:
            address = from_channels(target)
        check_address(address, self.capabilities, self.traits, incoming=incoming)
        return protected(
            address, self.machine.options.of("object"), self.settings, self.traits, incoming=incoming
        )

    def _check_source(self) -> None:
        self.check_idle(loading=True)
        if self.machine.runstate == "inmigrate":
            raise _error("Guest is waiting for an incoming migration")
        if self.machine.runstate == "postmigrate" and self.traits.once_only:
            raise _error("Can't migrate the vm that was paused due to previous migration")
        check_file(self.capabilities, self.parameters)
        self.check_idle()

    def check_idle(self, *, loading: bool = False) -> None:
        """QmpError when a migration is under way, or, to save, when something blocks it."""
        if self.progress.running and self.outgoing is not None:
            raise _error("There's a migration process in progress")
        if loading:
            return
        for entry in self.machine.registry.blockers():
            raise _error(f"State blocked by non-migratable device '{entry.idstr}'")
        for words in filter(None, (sharer.blocks() for sharer in self.machine.sharers)):
            raise _error(words)

    def _start_side(self) -> None:
        self.error = ""
        self.outgoing, self.incoming_side = None, None
        self.progress.fire(Event.START)

    def _begin(self, address: Address, fds: Callable[[str], int | None]) -> None:
        self._start_side()
        try:
            channel = opened_rdma(self, address) or opened(address, fds, self.machine.fdsets)
            check_descriptor(channel, self.traits, self.say)
        except QmpError as error:
            self.outgoing = Outgoing(self, address, None)
            self.fail(error.desc, quiet=True)
            raise
        self.outgoing = Outgoing(self, address, channel)
        if has_channels(address, self.capabilities):
            self.outgoing.start()
        else:
            if channel is not None:  # a command would wait for a stream as long as this process is there
                channel.interrupt()
                channel.close()
            self.say(NO_URGENT_CHANNEL if self.preempts else NO_CHANNELS)
            self.fail("", quiet=True)

    def incoming(
        self,
        target: str | Sequence[Any],
        fds: Callable[[str], int | None] | None = None,
        *,
        exit_on_error: bool = True,
    ) -> None:
        """`migrate-incoming`, or `-incoming URI`, which has no monitor and no `fds`: wait for a stream, or QmpError."""
        with self.machine.bql:
            if not self._expects:
                raise _error("'-incoming' was not specified on the command line")
            if self._was_told:
                raise _error("The incoming migration has already been started")
            if self.progress.status is not Status.NONE and self.traits.incoming_once:
                raise _error(f"Illegal migration incoming state: {self.progress.status.value}")
            address = self.address(target, incoming=True)
            # A try that could not listen left SETUP behind.
            self.progress.fire(Event.RETRY if self.progress.can(Event.RETRY) else Event.START)
            arrival = arriving_rdma(self, address) or listen(address, fds, self.machine.fdsets, self.say)
            check_descriptor(arrival.ready, self.traits, self.say)
            self._was_told = True
            self.settings.listening = address.kind in SOCKETS
            self.incoming_side = Incoming(self, arrival, exit_on_error=exit_on_error)
            self.incoming_side.start()

    def cancel(self) -> None:
        """`migrate_cancel`: nothing happens when nothing runs; QmpError in a postcopy, by release."""
        with self.machine.bql:
            if self.outgoing is not None:
                recovery.check_cancel(self)
            if self.outgoing is not None and self.progress.can(Event.CANCEL):
                self.progress.fire(Event.CANCEL)
                self.outgoing.cancel()

    def continue_(self, state: str) -> None:
        """`migrate-continue`."""
        with self.machine.bql:
            status = self.progress.status
            if status.value != state:
                raise _error(f"Migration not in expected state: {status.value}")
            if status is Status.PRE_SWITCHOVER and self.outgoing is not None:
                self.outgoing.go_on()

    def pause(self) -> None:
        """`migrate-pause`: break the link of a postcopy; QmpError."""
        with self.machine.bql:
            recovery.pause(self)

    def start_postcopy(self) -> None:
        """`migrate-start-postcopy`; QmpError."""
        with self.machine.bql:
            recovery.start(self)

    def recover(self, uri: str, fds: Callable[[str], int | None] | None = None) -> None:
        """`migrate-recover`: wait for another link of a paused postcopy; QmpError."""
        with self.machine.bql:
            recovery.recover(self, uri, fds)

    def save_snapshot(self, sink: Writable, finish: Callable[[], None]) -> None:
        """Save the machine into a channel, then call `finish`, all while it is stopped; QmpError."""
        snapshot.save(self, sink, finish)

    def load_snapshot(self, source: Readable) -> None:
        """Load the machine from a channel; QmpError."""
        snapshot.load(self, source)
