"""Both supervisors keep one protocol: the harness's shell script, and the reference emulator's fork server."""

from __future__ import annotations

import os
import select
import shlex
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

SECONDS = 30.0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The emulator as the harness packs it."""
    return Bundles(tmp_path_factory.mktemp("cache"), Sources.installed()).get()


class Place:
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
def opened(supervisor: list[str]) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="mm-", dir="/tmp") as name:
        place = Place(Path(name), supervisor)
        try:
            yield place
        finally:
            os.close(place.commands)
            os.close(place.events)
            place.process.wait(SECONDS)


@pytest.fixture(params=["script", "forkserver"])
def place(request: pytest.FixtureRequest, bundle: Bundle) -> Iterator[Place]:
    command = ["/bin/sh", str(SUPERVISOR)] if request.param == "script" else [str(bundle.forkserver)]
    with opened(command) as made:
        yield made


def gone(pid: int) -> bool:
    """Whether a process is no more, or waits only to be buried by whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_an_emulator_says_and_does_what_it_does_alone(place: Place, bundle: Bundle) -> None:
    words = ["-M", "none", "-nodefaults", "-display", "none"]
    told = ["-no-such-option"]
    alone = subprocess.run([bundle.binary("7.2"), *words, *told], capture_output=True, text=True, check=False)

    place.start("1", bundle.binary("7.2"), *words, *told)

    assert place.event() == ["exit", "1", str(alone.returncode)]
    assert alone.returncode != 0
    assert (place.output("1"), place.output("1", "stderr")) == (alone.stdout, alone.stderr)


def test_each_is_of_its_own_release(place: Place, bundle: Bundle) -> None:
    for release in ("5.1", "8.0.1", "11.1"):
        place.start(release, bundle.binary(release), "-version")
        assert place.event() == ["exit", release, "0"]
        assert f"version {release}" in place.output(release)


def test_signals_reach_the_one_they_are_for(place: Place, bundle: Bundle) -> None:
    binary = bundle.binary("10.0")
    words = ("-M", "none", "-nodefaults", "-display", "none", "-S")
    first = place.start("1", binary, *words, "-pidfile", place.root / "1" / "pid")
    second = place.start("2", binary, *words)

    place.command(f"signal {second} KILL")
    assert place.event() == ["exit", "2", "137"]
    place.command(f"signal {second} KILL")  # it is no more: nobody's
    assert place.pid_file("1") == f"{first}\n"
    place.command(f"signal {first} TERM")
    assert place.event() == ["exit", "1", "0"]
    assert "terminating on signal 15" in place.output("1", "stderr")


def test_other_commands_and_mistakes_have_their_status(place: Place, bundle: Bundle) -> None:
    place.start("1", "/bin/sh", "-c", "echo out; echo err >&2; exit 7")
    assert place.event() == ["exit", "1", "7"]
    assert (place.output("1"), place.output("1", "stderr")) == ("out\n", "err\n")
    place.start("2", bundle.root / "bin" / "qemu-0.1")
    assert place.event()[:2] == ["exit", "2"]
    assert place.output("2", "stderr") != ""


def test_all_end_with_the_end_of_commands(place: Place, bundle: Bundle) -> None:
    words = ("-M", "none", "-nodefaults", "-display", "none", "-S")
    pids = [place.start(name, bundle.binary("10.0"), *words) for name in ("1", "2")]
    pids.append(place.start("3", "/bin/sleep", "1000"))

    os.close(place.commands)

    while place.event():
        pass  # nobody holds the other end any more
    place.process.wait(SECONDS)
    wait_until(lambda: all(map(gone, pids)))
    place.commands = os.open(os.devnull, os.O_RDONLY)


def test_an_emulator_has_no_descriptor_of_its_fork_server(bundle: Bundle) -> None:
    words = ("-M", "none", "-nodefaults", "-display", "none", "-S")
    with opened([str(bundle.forkserver)]) as place:
        for name in ("1", "2"):
            pid = place.start(name, bundle.binary("10.0"), *words, "-pidfile", place.root / name / "pid")
            assert place.pid_file(name) == f"{pid}\n"
            links = {link.name: str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
            own = f"{place.root}/{name}/"
            assert [links[n] for n in "012"] == ["/dev/null", f"{own}stdout", f"{own}stderr"]
            shared = [link for link in links.values() if link.startswith(str(place.root))]
            assert not [link for link in shared if not link.startswith(own)]
            assert not [link for link in links.values() if "pidfd" in link]
