# SPDX-License-Identifier: Apache-2.0
"""The emulator's process: options, release, chardevs, machine, monitors, main loop, exit status.

`main(argv)` is the whole program on one screen. A wrong command line ends it with ``qemu-system-x86_64: TEXT`` on
standard error and status 1; `quit` and a signal that asks for the end give status 0.

1. Open chardevs first, as QEMU does: a monitor's client may be waiting for its greeting.
2. Remove what this module made (sockets' files, the PID file) on every way out.
"""

from __future__ import annotations

import gc
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.chardev import Backend, open_chardev
from migmatrix.emulator.errors import FatalError, QmpError
from migmatrix.emulator.loop import Loop
from migmatrix.emulator.machine import Machine, build_machine
from migmatrix.emulator.options.accel import choose_accel
from migmatrix.emulator.options.parse import Options, parse
from migmatrix.emulator.qmp.server import Server
from migmatrix.emulator.release import Release, open_release
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Sequence
    from typing import Any, Self
else:
    import _signal as signal  # what `signal` is made of, without the enumerations that it makes when imported

__all__ = ["main"]

_PROGRAM: Final = "qemu-system-x86_64"
_END_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_LAST_WORDS: Final = 1.0  # seconds that a monitor's client has to read them


def main(argv: Sequence[str]) -> int:
    """Run one emulator; its exit status."""
    try:
        options = parse(argv)
        release = open_release(options.release, options.release_file or None)
        if options.help:
            return _answer(options, release)
        if options.dump_vmstate:
            return _dump(options, release)
        ready = _detach(options) if options.daemonize else _nothing
        with _Process(options, release) as process:
            return process.run(ready)
    except FatalError as err:
        _complain(str(err), err.program)
        return 1


def _complain(line: str, program: str = _PROGRAM) -> None:
    sys.stderr.write(f"{program}: {line}\n")
    sys.stderr.flush()


def _answer(options: Options, release: Release) -> int:
    from migmatrix.emulator.help import answer  # noqa: PLC0415 - few starts ask for help

    return answer(options, release)


def _detach(options: Options) -> Callable[[], object]:
    """Go on in the background; what is returned says that the emulator is up."""
    if options.nographic and not options.nodefaults:  # then nothing is on the terminal that is left
        raise FatalError("-nographic cannot be used with -daemonize")
    from migmatrix.emulator.daemon import detach  # noqa: PLC0415 - few are daemons

    return detach()


def _dump(options: Options, release: Release) -> int:
    from migmatrix.emulator.dump import dump  # noqa: PLC0415 - as above

    machine = (release.machine_type(options.machine) if options.machine else None) or release.default_machine
    dump(release, machine.name, options.dump_vmstate)
    return 0


class _Process:
    """The resources of a running emulator; a context manager that releases them."""

    def __init__(self, options: Options, release: Release) -> None:
        self._options = options
        self._release = release
        self._loop = Loop()
        self._chardevs: dict[str, Backend] = {}
        self._server = Server(self._loop, release.name, self._chardevs)
        self._pidfile = ""

    def __enter__(self) -> Self:
        signal.pthread_sigmask(signal.SIG_BLOCK, _END_SIGNALS)  # before any other thread: they inherit it
        return self

    def __exit__(self, *_: object) -> None:
        for chardev in self._chardevs.values():
            chardev.flush(_LAST_WORDS)
            chardev.close()
        if self._pidfile:
            os.unlink(self._pidfile)  # noqa: PTH108 - pathlib is not for the start
        self._loop.close()

    def run(self, ready: Callable[[], object]) -> int:
        """From the open chardevs to the end; `ready` is called in between, when all is up."""
        self._write_pidfile()
        accel, said = choose_accel(self._options.accels, self._release.name)
        sys.stderr.writelines(f"{line}\n" for line in said)
        if not accel:
            return 1
        for spec in self._options.chardevs:
            if spec.kind == "stdio" and self._options.daemonize:
                raise FatalError(f"{spec.where}: cannot use stdio with -daemonize")
            self._chardevs[spec.id] = open_chardev(spec, self._loop)
        machine = build_machine(self._release, self._options, _complain, self._chardevs)
        self._connect(machine)
        self._add_guest(machine)
        self._watch_signals()
        gc.freeze()  # what there is stays: only what comes from now on is worth a look
        gc.enable()
        self._begin(machine)
        ready()
        self._loop.run()
        return self._server.status

    def _write_pidfile(self) -> None:
        path = self._options.pidfile
        if not path:
            return
        try:
            with open(path, "w", encoding="ascii") as file:  # noqa: PTH123 - as above
                file.write(f"{os.getpid()}\n")
        except OSError as err:
            raise FatalError(f"cannot create PID file: Could not create '{path}': {err.strerror}") from err
        self._pidfile = path

    def _connect(self, machine: Machine) -> None:
        """Tie machine, loop and monitors together."""
        self._loop.clock = machine.clock
        self._server.machine = machine
        machine.emit = self._server.emit
        machine.clock.wake = partial(self._loop.call, _nothing)
        machine.on_change(lambda _running, _state: self._loop.call(_nothing))  # timers start or stop to count
        for monitor in self._options.monitors:
            self._server.add(self._chardevs[monitor.chardev], control=monitor.control, pretty=monitor.pretty)

    def _add_guest(self, machine: Machine) -> None:
        """Start a guest if it has a workload, or a console on which it can report that it runs."""
        consoles = [d for d in machine.walk() if d.type_name == "isa-debugcon"]
        chardev = self._chardevs.get(str(consoles[0].props.get("chardev", ""))) if consoles else None
        if chardev is None and self._options.workload is None:
            return
        from migmatrix.emulator.guest import start_guest  # noqa: PLC0415 - most guests never run

        start_guest(machine, _nothing if chardev is None else chardev.write)
        if chardev is not None:
            chardev.lossy = True
            chardev.start()

    def _watch_signals(self) -> None:
        """Wait for signals in a thread: only `sigwaitinfo` tells which process sent one."""
        import threading  # noqa: PLC0415 - already loaded, a name is enough

        threading.Thread(target=self._wait_for_signal, name="signals", daemon=True).start()

    def _wait_for_signal(self) -> None:
        while True:
            got = signal.sigwaitinfo(_END_SIGNALS)
            self._loop.call(partial(self._terminate, got.si_signo, got.si_pid))

    def _terminate(self, number: int, sender: int) -> None:
        whose = f" ({name})" if (name := _name_of(sender)) else ""
        _complain(f"terminating on signal {number} from pid {sender}{whose}")
        self._server.shut_down("host-signal")

    def _begin(self, machine: Machine) -> None:
        """Do what the command line asks for at once: load a stream or a snapshot, run."""
        options = self._options
        if options.incoming is not None:
            machine.migration.on_fatal = partial(self._loop.call, self._server.abandon)
        try:
            self._load(machine)
        except QmpError as err:
            where = f"-incoming {options.incoming}: " if options.incoming is not None else ""
            raise FatalError(f"{where}{err}") from err
        if options.incoming is None and not options.stopped:
            machine.vm_start()

    def _load(self, machine: Machine) -> None:
        options = self._options
        if options.incoming is not None and options.incoming != "defer":
            machine.migration.incoming(_origin(options.incoming, self._release.name))
        if options.loadvm:
            self._server.snapshots.load(options.loadvm)


def _origin(given: str, release: str) -> Any:
    """What `-incoming` means: a URI, or from 10.0 also a channel as QMP has it; QmpError."""
    kind, colon, _ = given.partition(":")
    if (colon and kind.isalpha()) or not lives("10.0", "", release):
        return given
    from migmatrix.emulator.qmp.commands.migration import read_channel  # noqa: PLC0415 - most say a URI

    return [read_channel(given, release)]


def _nothing(*_: object) -> None:
    """Wake the loop up and do nothing else; also the console's output if there is no chardev."""


def _name_of(pid: int) -> str:
    """The command line of a process, which QEMU prints when that process ended it; "" if it has exited."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - as above
            return file.read().split(b"\0")[0].decode("utf-8", "replace")
    except OSError:
        return ""
