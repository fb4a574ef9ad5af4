# SPDX-License-Identifier: Apache-2.0
"""Fork server: starts emulators by fork, so that hundreds of starts load the code once.

`serve(root, directory)` is a supervisor as the harness has one for every emulator (docs/architecture.md, "Engines and
the supervisor"), and speaks its protocol: lines of the FIFO ``commands`` start and signal, lines of ``events`` tell.

1. `serve` returns in each child, with the words that its launcher would have been given; the child then does what
   the launcher does, in a process, with descriptors, of its own. Here are no machine, no thread and no monitor.
2. Children share loaded code and nothing else: each makes its release, options and devices itself.
3. The shell starts whatever is not a launcher of this bundle.
4. An id's ``pid`` comes before its ``exit``; a signal goes to a child that was not yet waited for, or to nobody.
5. The end of ``commands`` is the end of all that was started here.
"""

from __future__ import annotations

import gc
import os
import select
import shlex
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator
else:
    import _signal as signal  # what `signal` is made of: handlers and enumerations are not for children

__all__ = ["serve"]

# What an emulator loads only when it needs it, beside devices and QMP commands.
_LATER: Final = (
    "migmatrix.emulator.boards", "migmatrix.emulator.guest", "migmatrix.emulator.migration.control", "migmatrix.emulator.migration.ram_load",
    "migmatrix.emulator.migration.ram_save", "migmatrix.emulator.migration.sockets",
    "migmatrix.emulator.options.machineprops", "migmatrix.emulator.topology", "socket",
)  # fmt: skip
_CHUNK: Final = 65536
_SIGNALLED: Final = 128


def serve(root: str, directory: str) -> list[str]:
    """Serve until `commands` ends, and then end; in a child: release and arguments of the emulator to become."""
    os.chdir(directory)
    server = _ForkServer(f"{root}/bin")
    _load_all()
    gc.freeze()  # children have nothing to look for among this
    words = server.serve()
    if words is None:
        _end_all()
    return words


def _load_all() -> None:
    """All code that an emulator may need."""
    from migmatrix.emulator.devices import classes  # noqa: PLC0415 - only this module loads all of them
    from migmatrix.emulator.qmp.commands import load  # noqa: PLC0415 - as above

    classes()
    for _ in load():
        pass
    for name in _LATER:
        __import__(name)


def _end_all() -> NoReturn:
    """In a container this is process 1, whose end is everybody's; outside, the process group goes."""
    if os.getpid() != 1:
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


class _ForkServer:
    """The children, and the FIFOs of the directory that is the current one; `launchers` is the directory of theirs."""

    def __init__(self, launchers: str) -> None:
        self._launchers = os.path.realpath(launchers)
        # Non-blocking, so that opening fails at once if the harness is already dead.
        self._commands = os.open("commands", os.O_RDONLY | os.O_NONBLOCK)
        self._events = os.open("events", os.O_WRONLY | os.O_NONBLOCK)
        os.set_blocking(self._commands, True)
        os.set_blocking(self._events, True)
        self._children: dict[int, tuple[int, str]] = {}  # descriptor -> process id, name
        self._poll = select.poll()
        self._poll.register(self._commands, select.POLLIN)
        self._partial = b""

    def serve(self) -> list[str] | None:
        """Serve until the commands end, then give None; in a child, give the words of its launcher."""
        self._tell("ready")
        while True:
            for fd, _ in self._poll.poll():
                if fd != self._commands:
                    self._reap(fd)
                    continue
                for line in (lines := self._lines()):
                    words = self._obey(*line.split())
                    if words is not None:
                        return words
                if not lines:
                    return None

    def _lines(self) -> list[str]:
        """Wait for at least one whole line; no line means the end."""
        while data := os.read(self._commands, _CHUNK):
            *lines, self._partial = (self._partial + data).split(b"\n")
            if lines:
                return [line.decode() for line in lines]
        return []

    def _tell(self, line: str) -> None:
        os.write(self._events, f"{line}\n".encode())

    def _obey(self, verb: str, name: str, value: str = "") -> list[str] | None:
        if verb == "start":
            return self._start(name)
        if verb == "state":
            self._tell(f"state {name} {_state(int(value))}")
        else:
            self._signal(int(name), value)
        return None

    def _start(self, name: str) -> list[str] | None:
        pid = os.fork()
        if not pid:
            return self._child(name)
        child = os.pidfd_open(pid)
        self._children[child] = pid, name
        self._poll.register(child, select.POLLIN)
        self._tell(f"pid {name} {pid}")
        return None

    def _signal(self, pid: int, name: str) -> None:
        for child, (number, _) in self._children.items():
            if number == pid:
                signal.pidfd_send_signal(child, getattr(signal, f"SIG{name}"))

    def _reap(self, child: int) -> None:
        """Tell how a child ended."""
        pid, name = self._children.pop(child)
        self._poll.unregister(child)
        os.close(child)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self._tell(f"exit {name} {code if code >= 0 else _SIGNALLED - code}")

    # -- in the child --------------------------------------------------------------------------------------------

    def _child(self, name: str) -> list[str]:
        """Leave the parent's descriptors, and find out what to become."""
        for fd in (self._commands, self._events, *self._children):
            os.close(fd)
        for number, (path, flags) in enumerate(_standard_files(name)):
            fd = os.open(path, flags, 0o666)
            os.dup2(fd, number)
            os.close(fd)
        script = f"./{name}/run"
        with open(script, encoding="utf-8") as file:  # noqa: PTH123 - pathlib is not for emulators
            _, command, *arguments = shlex.split(file.read())
        where, _, launcher = command.rpartition("/")
        if os.path.realpath(where) != self._launchers:
            os.execv("/bin/sh", ["sh", script])  # noqa: S606 - as any supervisor does
        return [launcher.removeprefix("qemu-"), *arguments]


def _state(pid: int) -> str:
    """The kernel's letter for a process, ``-`` when there is none (proc_pid_stat(5))."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib is not for emulators
            return file.read().rpartition(b") ")[2][:1].decode() or "-"
    except OSError:
        return "-"


def _standard_files(name: str) -> Iterator[tuple[str, int]]:
    written = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    yield "/dev/null", os.O_RDONLY
    yield f"{name}/stdout", written
    yield f"{name}/stderr", written
