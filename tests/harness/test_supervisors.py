# SPDX-License-Identifier: Apache-2.0
"""Both supervisors keep one protocol: the harness's shell script, and the reference emulator's fork server."""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import wait_until

from migmatrix.harness.builds.bundle import Bundle, Bundles, Sources
from migmatrix.harness.engines.supervised import SUPERVISOR

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 120.0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The emulator as the harness packs it."""
    return Bundles(tmp_path_factory.mktemp("cache"), Sources.installed()).get()


class Sandbox:
    """A supervisor and the two FIFOs; all of it is gone at the end of the context `opened`."""

    def __init__(self, root: Path, supervisor: list[str]) -> None:
        self.root = root
        for name in ("commands", "events"):
            os.mkfifo(root / name)
        self.commands = os.open(root / "commands", os.O_RDWR)
        self.events = os.open(root / "events", os.O_RDONLY | os.O_NONBLOCK)
        self.process = subprocess.Popen([*supervisor, str(root)], start_new_session=True)
        self._rest = b""
        assert self.event() == ["ready"]

    def event(self) -> list[str]:
        """The next line, in words; none at the end."""
        while b"\n" not in self._rest:
            assert select.select([self.events], [], [], SECONDS)[0], "nothing is told"
            if not (data := os.read(self.events, 4096)):
                return []
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode().split()

    def command(self, line: str) -> None:
        os.write(self.commands, f"{line}\n".encode())

    def start(self, name: str, *argv: str | Path) -> int:
        """Start a command; its process id."""
        (self.root / name).mkdir()
        (self.root / name / "run").write_text(f"exec {shlex.join(map(str, argv))}\n")
        self.command(f"start {name}")
        what, who, pid = self.event()
        assert (what, who) == ("pid", name)
        return int(pid)

    def output(self, name: str, of: str = "stdout") -> str:
        return (self.root / name / of).read_text()

    def pid_file(self, name: str) -> str:
        """What an emulator with `-pidfile` has written; then it is ready for signals."""
        path = self.root / name / "pid"
        wait_until(lambda: path.exists() and path.read_text().endswith("\n"))
        return path.read_text()


@contextmanager
def opened(supervisor: list[str]) -> Iterator[Sandbox]:
    with tempfile.TemporaryDirectory(prefix="mm-", dir="/tmp") as name:
        sandbox = Sandbox(Path(name), supervisor)
        try:
            yield sandbox
        finally:
            os.close(sandbox.commands)
            os.close(sandbox.events)
            sandbox.process.wait(SECONDS)


@pytest.fixture(params=["script", "forkserver"])
def sandbox(request: pytest.FixtureRequest, bundle: Bundle) -> Iterator[Sandbox]:
    command = ["/bin/sh", str(SUPERVISOR)] if request.param == "script" else [str(bundle.forkserver)]
    with opened(command) as made:
        yield made


def gone(pid: int) -> bool:
    """Whether a process is no more, or waits only to be buried by whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_an_emulator_says_and_does_what_it_does_alone(sandbox: Sandbox, bundle: Bundle) -> None:
    words = ["-M", "none", "-nodefaults", "-display", "none"]
    told = ["-no-such-option"]
    alone = subprocess.run([bundle.binary("7.2"), *words, *told], capture_output=True, text=True, check=False)

    sandbox.start("1", bundle.binary("7.2"), *words, *told)

    assert sandbox.event() == ["exit", "1", str(alone.returncode)]
    assert alone.returncode != 0
    assert (sandbox.output("1"), sandbox.output("1", "stderr")) == (alone.stdout, alone.stderr)


def test_each_is_of_its_own_release(sandbox: Sandbox, bundle: Bundle) -> None:
    for release in ("5.1", "8.0.1", "11.1"):
        sandbox.start(release, bundle.binary(release), "-version")
        assert sandbox.event() == ["exit", release, "0"]
        assert f"version {release}" in sandbox.output(release)


def test_signals_reach_the_one_they_are_for(sandbox: Sandbox, bundle: Bundle) -> None:
    binary = bundle.binary("10.0")
    words = ("-M", "none", "-nodefaults", "-display", "none", "-S")
    first = sandbox.start("1", binary, *words, "-pidfile", sandbox.root / "1" / "pid")
    second = sandbox.start("2", binary, *words)

    sandbox.command(f"signal {second} KILL")
    assert sandbox.event() == ["exit", "2", "137"]
    sandbox.command(f"signal {second} KILL")  # it is no more: nobody's
    assert sandbox.pid_file("1") == f"{first}\n"
    sandbox.command(f"signal {first} TERM")
    assert sandbox.event() == ["exit", "1", "0"]
    assert "terminating on signal 15" in sandbox.output("1", "stderr")


def test_a_stopped_emulator_is_told_from_one_that_waits(sandbox: Sandbox) -> None:
    pid = sandbox.start("1", "/bin/sleep", "1000")

    def state() -> str:
        sandbox.command(f"state 1 {pid}")
        what, who, letter = sandbox.event()
        assert (what, who) == ("state", "1")
        return letter

    wait_until(lambda: state() == "S")
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state() == "T")
    sandbox.command(f"signal {pid} KILL")
    assert sandbox.event() == ["exit", "1", "137"]
    assert state() == "-"


def test_other_commands_and_mistakes_have_their_status(sandbox: Sandbox, bundle: Bundle) -> None:
    sandbox.start("1", "/bin/sh", "-c", "echo out; echo err >&2; exit 7")
    assert sandbox.event() == ["exit", "1", "7"]
    assert (sandbox.output("1"), sandbox.output("1", "stderr")) == ("out\n", "err\n")
    sandbox.start("2", bundle.root / "bin" / "qemu-0.1")
    assert sandbox.event()[:2] == ["exit", "2"]
    assert sandbox.output("2", "stderr") != ""


def test_all_end_with_the_end_of_commands(sandbox: Sandbox, bundle: Bundle) -> None:
    words = ("-M", "none", "-nodefaults", "-display", "none", "-S")
    pids = [sandbox.start(name, bundle.binary("10.0"), *words) for name in ("1", "2")]
    pids.append(sandbox.start("3", "/bin/sleep", "1000"))

    os.close(sandbox.commands)

    while sandbox.event():
        pass  # nobody holds the other end any more
    sandbox.process.wait(SECONDS)
    wait_until(lambda: all(map(gone, pids)))
    sandbox.commands = os.open(os.devnull, os.O_RDONLY)


def test_an_emulator_has_no_descriptor_of_its_fork_server(bundle: Bundle) -> None:
    words = ("-M", "none", "-nodefaults", "-display", "none", "-S")
    with opened([str(bundle.forkserver)]) as sandbox:
        for name in ("1", "2"):
            pid = sandbox.start(name, bundle.binary("10.0"), *words, "-pidfile", sandbox.root / name / "pid")
            assert sandbox.pid_file(name) == f"{pid}\n"
            links = {link.name: str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
            own = f"{sandbox.root}/{name}/"
            assert [links[n] for n in "012"] == ["/dev/null", f"{own}stdout", f"{own}stderr"]
            shared = [link for link in links.values() if link.startswith(str(sandbox.root))]
            assert not [link for link in shared if not link.startswith(own)]
            assert not [link for link in links.values() if "pidfd" in link]
