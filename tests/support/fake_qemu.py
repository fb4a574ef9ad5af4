# SPDX-License-Identifier: Apache-2.0
"""An emulator that is no emulator: just enough of QEMU's command line, QMP and streams to test the harness fast.

It is a real process with real sockets and files, so that tests on it run the harness's own code and nothing else.
What it should do wrong comes as `-fake KEY=VALUE`:

    crash=STAGE     SIGSEGV in start, load or save
    hang=STAGE      never answer in start, load or save
    fatal=STAGE     end the supervisor that started it, in start, load or save
    first=FILE      crash or hang the first time only, and make FILE
    full=save       the disk is full when the stream is written
    state=TEXT      "device state" written to the stream; a load wants the same TEXT
    turns=FILE      take the first load and each second one after it; FILE counts
    block=TEXT      refuse to migrate
    wait=FILE       wait until FILE exists before a load, after writing the process id to FILE.waiting
    lock=FILE       start only if no other has it, as with a port of the host
    once=FILE       start only if FILE does not exist, and make it, as with a helper that serves once
    daemon=STAGE    go on in a session of its own, and end the process that was started, in start or load; such a load
                    is never done, but commands are answered
    touch=FILE      append a line for every start, to count them

tests/emulator/test_conformance.py holds it against real QEMU. A migration whose bandwidth was limited never ends,
unless postcopy is asked for, of which this knows nothing: then it goes on without.
"""

# ruff: noqa: PTH110, PTH123

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time

# `typing`, `pathlib` and `subprocess` take half as long as a start, and there are thousands
TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

DEVICES = ("e1000", "picky", "broken")
CAPABILITIES = ("events", "multifd", "postcopy-ram")
SLOW = 1 << 20  # bytes per second
PAD = " " * (1 << 17)  # more than a pipe holds: a reader that ends is noticed
MACHINES = ("pc-q35-7.2", "pc-q35-8.0", "pc-i440fx-7.2")


def options(argv: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Command line as (options, fakes); the last of equal options counts."""
    plain: dict[str, str] = {}
    fakes: dict[str, str] = {}
    words = iter(argv)
    for word in words:
        if word in ("-S", "-no-user-config", "-nodefaults", "-version", "--version"):
            plain[word] = ""
        elif word == "-fake":
            key, _, value = next(words).partition("=")
            fakes[key] = value
        else:
            plain[{"-M": "-machine"}.get(word, word)] = next(words, "")
    return plain, fakes


def die(message: str) -> None:
    """End as QEMU does when it refuses something."""
    print(f"qemu-system-x86_64: {message}", file=sys.stderr, flush=True)
    os._exit(1)


def leave() -> None:
    """Go on as another process, in a session of its own, and end this one."""
    if os.fork():
        os._exit(0)
    os.setsid()


def requests(read: Callable[[], bytes]) -> Iterator[Any]:
    """JSON values that come in; nothing has to stand between them."""
    pending = ""
    while data := read():
        pending = (pending + data.decode()).lstrip()
        while pending:
            try:
                request, end = json.JSONDecoder().raw_decode(pending)
            except ValueError:
                break
            pending = pending[end:].lstrip()
            yield request


class Fake:
    """One emulator."""

    def __init__(self, version: str, argv: list[str]) -> None:
        self.version = version
        self.plain, self.fakes = options(argv)
        self.machine = self.plain.get("-machine", "none")
        self.status = "inmigrate" if "-incoming" in self.plain else "prelaunch"
        self.out: Any = None
        self.sending = threading.Lock()
        self.caps: set[str] = set()
        self.negotiated = False
        self.migration = ""
        self.error = ""
        self.bandwidth = 1 << 40
        self.target = ""
        self.incoming = False
        self.sent: list[int] = []  # descriptors that came without a name as yet
        self.fds: dict[str, int] = {}
        self.server = socket.socket(socket.AF_UNIX)  # where a stream comes in, if it comes over a socket

    def misbehave(self, stage: str) -> None:
        """Crash or hang if told so, or end the supervisor: the leader of its group, in whose directory it is."""
        if self.fakes.get("fatal") == stage and os.path.exists("commands"):
            os.kill(os.getpgrp(), signal.SIGKILL)
            threading.Event().wait()
        if stage not in (self.fakes.get("crash"), self.fakes.get("hang")):
            return
        if first := self.fakes.get("first"):
            if os.path.exists(first):
                return
            open(first, "w").close()
        if self.fakes.get("crash") == stage:
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.fakes.get("hang") == stage:
            threading.Event().wait()

    def its_turn(self) -> bool:
        """Whether this load is one of those that are refused."""
        if not (counter := self.fakes.get("turns")):
            return False
        with open(counter, "a") as file:
            file.write("x")
            return file.tell() % 2 == 0

    def check_arguments(self) -> None:
        """End as QEMU does for a machine or device that it does not have."""
        if self.machine not in (*MACHINES, "none"):
            die(f"unsupported machine type: {self.machine!r}")
        device = self.plain.get("-device")
        if device and device.startswith("isa-debugcon,"):  # on which this firmware says nothing
            device = None
        if device and device not in DEVICES:
            die(f"-device {device}: {device!r} is not a valid device model name")
        if device == "broken" or (device == "picky" and self.version != "7.2.0"):
            die(f"-device {device}: device needs what is not here")

    def take_of_host(self) -> None:
        """Have what only one can have, or end as QEMU does; leave the session of who started it."""
        if self.fakes.get("daemon") == "start":
            leave()
        if file := self.fakes.get("lock"):
            try:
                fcntl.flock(os.open(file, os.O_CREAT | os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                die("-netdev user,hostfwd=tcp::22-:22: Could not set up host forwarding rule 'tcp::22-:22'")
        if file := self.fakes.get("once"):
            if os.path.exists(file):
                die("-chardev socket,path=/run/tpm: Failed to connect to '/run/tpm': Connection refused")
            open(file, "w").close()

    def wait(self) -> None:
        """Wait for a file if told so."""
        if file := self.fakes.get("wait"):
            with open(f"{file}.waiting", "w") as waiting:
                waiting.write(str(os.getpid()))
            while not os.path.exists(file):
                time.sleep(0.01)

    def run(self) -> None:
        """Serve QMP until told to quit."""
        if touch := self.fakes.get("touch"):
            with open(touch, "a") as file:
                file.write(f"{self.version} {self.plain.get('-incoming', '')}\n")
        if "-version" in self.plain or "--version" in self.plain:
            print(f"QEMU emulator version {self.version}")
            return
        if self.plain.get("-L") == "help":
            return
        if self.plain.get("-device") == "help":
            print("Network devices:")
            for name in DEVICES:
                print(f'name "{name}", bus PCI, desc "a device"')
            return
        self.check_arguments()
        self.take_of_host()
        self.misbehave("start")
        target = self.plain["-qmp"]
        if target == "stdio":
            self.serve(lambda: os.read(sys.stdin.fileno(), 65536), sys.stdout)
            return
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(target.removeprefix("unix:"))
            self.serve(lambda: self.receive(sock), sock.makefile("w"))

    def receive(self, sock: socket.socket) -> bytes:
        """What comes in, and the descriptors beside it."""
        data, fds, _, _ = socket.recv_fds(sock, 65536, 4)
        self.sent.extend(fds)
        return data

    def serve(self, read: Callable[[], bytes], writer: Any) -> None:
        """Answer commands."""
        self.out = writer
        self.send({"QMP": {"version": {"qemu": self.numbers(), "package": ""}, "capabilities": []}})
        for request in requests(read):
            if not isinstance(request, dict):
                self.send({"error": refusal("QMP input must be a JSON object")})
                continue
            answer = self.answer(request["execute"], request.get("arguments", {}))
            key = "error" if isinstance(answer, dict) and set(answer) == {"class", "desc"} else "return"
            reply = {key: answer}
            if "id" in request:
                reply["id"] = request["id"]
            self.send(reply)
            if key == "error":
                continue
            if request["execute"] == "quit":
                return
            if request["execute"] == "migrate-incoming":
                self.load(request["arguments"]["uri"])
            if request["execute"] == "migrate":
                self.target = request["arguments"]["uri"]
            if request["execute"] in ("migrate", "migrate-start-postcopy"):
                self.save(self.target)

    def answer(self, command: str, arguments: Any) -> Any:
        """What a command returns, or its error."""
        if not self.negotiated and command != "qmp_capabilities":
            return refusal("Expecting capabilities negotiation with 'qmp_capabilities'", "CommandNotFound")
        method = getattr(self, "do_" + command.replace("-", "_"), None)
        if method is None:
            return refusal(f"The command {command} has not been found", "CommandNotFound")
        return method(arguments)

    def send(self, message: dict[str, Any]) -> None:
        """Write one object."""
        with self.sending:
            self.out.write(json.dumps(message) + "\r\n")
            self.out.flush()

    def tell(self, event: str, **data: Any) -> None:
        """Send an event."""
        at = {"seconds": 0, "microseconds": 0}
        self.send({"event": event, **({"data": data} if data else {}), "timestamp": at})

    def event(self, status: str) -> None:
        """Tell a migration status."""
        self.migration = status
        if "events" in self.caps:
            self.tell("MIGRATION", status=status)

    def numbers(self) -> dict[str, int]:
        """The version as QMP has it."""
        major, minor, micro = (int(part) for part in self.version.split("."))
        return {"major": major, "minor": minor, "micro": micro}

    def do_qmp_capabilities(self, _: Any) -> Any:
        self.negotiated = True
        return {}

    def do_quit(self, _: Any) -> Any:
        return {}

    def do_migrate_set_parameters(self, arguments: Any) -> Any:
        self.bandwidth = arguments.get("max-bandwidth", self.bandwidth)
        return {}

    def do_migrate_start_postcopy(self, _: Any) -> Any:
        self.bandwidth = 1 << 40
        return {}

    def do_migrate_incoming(self, arguments: Any) -> Any:
        if "-incoming" not in self.plain:
            return refusal("'-incoming' was not specified on the command line")
        if self.incoming:
            return refusal("The incoming migration has already been started")
        transport, _, target = arguments["uri"].partition(":")
        if transport == "unix":  # who is answered may connect
            self.server.bind(target)
            self.server.listen()
        self.incoming = True
        return {}

    def do_getfd(self, arguments: Any) -> Any:
        if "fdname" not in arguments:
            return refusal("Parameter 'fdname' is missing")
        if not self.sent:
            return refusal("No file descriptor supplied via SCM_RIGHTS")
        self.fds[arguments["fdname"]] = self.sent.pop(0)
        return {}

    def do_cont(self, _: Any) -> Any:
        if self.status == "inmigrate":
            self.plain.pop("-S")
        else:
            self.resume()
        return {}

    def do_stop(self, _: Any) -> Any:
        self.stop("paused")
        return {}

    def resume(self) -> None:
        """Let the guest run."""
        if self.status != "running":
            self.status = "running"
            self.tell("RESUME")

    def stop(self, status: str) -> None:
        """Stop the guest."""
        was, self.status = self.status, status
        if was == "running":
            self.tell("STOP")

    def do_migrate_cancel(self, _: Any) -> Any:
        if self.migration == "active":
            self.event("cancelling")
            self.event("cancelled")
        return {}

    def do_query_version(self, _: Any) -> Any:
        return {"qemu": self.numbers(), "package": ""}

    def do_query_machines(self, _: Any) -> Any:
        return [{"name": name, "cpu-max": 1, "hotpluggable-cpus": False} for name in MACHINES]

    def do_qom_list_types(self, _: Any) -> Any:
        return [{"name": "e1000"}]

    def do_query_migrate_capabilities(self, _: Any) -> Any:
        return [{"capability": name, "state": name in self.caps} for name in CAPABILITIES]

    def do_query_migrate(self, _: Any) -> Any:
        found = {"status": self.migration, "error-desc": self.error}
        return {key: value for key, value in found.items() if value}

    def do_query_status(self, _: Any) -> Any:
        return {"status": self.status, "running": self.status == "running", "singlestep": False}

    def do_migrate_set_capabilities(self, arguments: Any) -> Any:
        for item in arguments["capabilities"]:
            if item["capability"] not in CAPABILITIES:
                return refusal(f"Parameter 'capability' does not accept value '{item['capability']}'")
        for item in arguments["capabilities"]:
            (self.caps.add if item["state"] else self.caps.discard)(item["capability"])
        return {}

    def do_migrate(self, arguments: Any) -> Any:
        if reason := self.fakes.get("block"):
            return refusal(reason)
        if self.migration == "active":
            return refusal("There's a migration process in progress")
        if arguments["uri"].startswith("fd:") and arguments["uri"][3:] not in self.fds:
            return refusal(f"File descriptor named '{arguments['uri'][3:]}' has not been found")
        return {}

    def load(self, uri: str) -> None:
        """Take a stream in, now or when somebody connects."""
        transport, _, target = uri.partition(":")
        if transport == "unix":
            self.migration = "setup"
            threading.Thread(target=lambda: self.take(receive(self.server)), daemon=True).start()
        elif transport == "fd":
            with os.fdopen(self.fds.pop(target), "rb") as file:
                data = file.read()
            self.take(data)
        else:
            import subprocess

            self.take(subprocess.run(["/bin/sh", "-c", target], stdout=subprocess.PIPE, check=True).stdout)

    def take(self, data: bytes) -> None:
        """Load a stream, or refuse it as QEMU 10.0 does."""
        self.event("active")
        self.wait()
        self.misbehave("load")
        if self.fakes.get("daemon") == "load":
            leave()
            return
        if not data.startswith(b"{"):
            die("Not a migration stream\nqemu-system-x86_64: load of migration failed: Invalid argument")
        try:
            stream = json.loads(data)
        except ValueError:
            die("load of migration failed: Input/output error")
        if stream["machine"] != self.machine:
            print(
                f"qemu-system-x86_64: Machine type received is '{stream['machine']}' and local is "
                f"'{self.machine}'\n",
                file=sys.stderr,
            )
            die("load of migration failed: Invalid argument")
        if stream["state"] != self.fakes.get("state", "") or self.its_turn():
            die(
                "get_pci_config_device: Bad config data: i=0x10a read: 40 device: 0 cmask: ff wmask: 0 "
                "w1cmask:0\nqemu-system-x86_64: Failed to load PCIDevice:config\n"
                "qemu-system-x86_64: Failed to load e1000e:parent_obj\n"
                "qemu-system-x86_64: error while loading state for instance 0x0 of device "
                "'0000:00:02.0/e1000e'\nqemu-system-x86_64: load of migration failed: Invalid argument"
            )
        self.status = "paused"
        if stream["running"] and "-S" not in self.plain:
            self.resume()
        self.event("completed")

    def save(self, uri: str) -> None:
        """Write a stream, unless that would take too long."""
        self.error = ""
        self.event("setup")
        self.event("active")
        self.misbehave("save")
        if self.bandwidth < SLOW:
            return
        running = self.status == "running"
        self.stop("postmigrate")
        try:
            self.write(uri, running=running)
        except OSError as err:
            self.error = str(err)
            self.event("failed")
            if running:
                self.resume()
        else:
            self.event("completed")

    def write(self, uri: str, *, running: bool) -> None:
        """Send the stream; OSError when nobody takes it."""
        stream = {
            "pad": PAD,
            "running": running,
            "machine": self.machine,
            "state": self.fakes.get("emit", self.fakes.get("state", "")),
        }
        data = json.dumps(stream).encode()
        if self.fakes.get("full") == "save":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        transport, _, command = uri.partition(":")
        if transport == "unix":
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(command)
                sock.sendall(data)
            return
        if transport == "fd":
            with os.fdopen(self.fds.pop(command), "wb") as file:
                file.write(data)
            return
        import subprocess

        with subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            with process.stdin as pipe:
                pipe.write(data)


def refusal(text: str, kind: str = "GenericError") -> dict[str, str]:
    """An error of QMP."""
    return {"class": kind, "desc": text}


def receive(server: socket.socket) -> bytes:
    """All that the first one to connect sends."""
    connection, _ = server.accept()
    with server, connection, connection.makefile("rb") as file:
        return file.read()


def install(
    directory: Path, version: str, name: str | None = None, program: str | Path | None = __file__
) -> Path:
    """Write an executable that is this emulator, or another `program`, in `version`; its path."""
    from pathlib import Path

    path = directory / (name or f"fake-{version}")
    # not from the PATH: what is found there may be a script that looks for one
    python = Path(sys.executable).resolve()
    here, started = Path(__file__).resolve().parent, str(Path(str(program)).resolve())
    if program == __file__:  # as a module: what a start runs is compiled once
        started = f"-c 'import sys; sys.path.insert(0, \"{here}\"); import fake_qemu; fake_qemu.main()'"
    path.write_text(f'#!/bin/sh\nexec {python} -S -E {started} {version} "$@"\n')
    path.chmod(0o755)
    return path


def main() -> None:
    """Be the emulator of the version that comes first, with the arguments that follow."""
    # as QEMU does: what a shell starts in the background ignores it
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Fake(sys.argv[1], sys.argv[2:]).run()


if __name__ == "__main__":
    main()
