# SPDX-License-Identifier: Apache-2.0
"""Every transport is cut at every stage: the source says so, runs on unharmed and migrates again; a destination ends.

What cannot be cut is a file, whose disk fills up instead. No wait here is without a deadline.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import struct
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from migration_machines import Box, enable, goes_on, runs, status, statuses, target, until

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("unix", "tcp", "fd", "exec")
STAGES = ("setup", "active", "pre-switchover", "answer")
SLOW = 1 << 16  # bytes per second: nothing ends by itself before it is cut


class Peer:
    """The other end of a migration, which takes all that comes until it is cut; `uri` is for the source."""

    def __init__(self, kind: str, place: Path) -> None:
        self._pid_file = place / "pid"
        self._listener: socket.socket | None = None
        self._end: socket.socket | None = None
        self._reader: threading.Thread | None = None
        self.given = -1
        if kind == "exec":
            self.uri = f"exec:echo $$ > {self._pid_file}; exec cat > /dev/null"
        elif kind == "fd":
            self._end, given = socket.socketpair()
            self.given = given.detach()
            self.uri = "fd:other"
        elif kind == "unix":
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(place / "peer"))
            self.uri = f"unix:{place / 'peer'}"
        else:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.uri = f"tcp:127.0.0.1:{self._listener.getsockname()[1]}"
        if self._listener is not None:
            self._listener.listen(1)

    def begin(self, *, drained: bool = True) -> None:
        """Take the connection; unless it is to be cut at once, read."""
        if self._listener is not None:
            self._listener.settimeout(120)
            self._end, _ = self._listener.accept()
        if drained and self._end is not None:
            self._reader = threading.Thread(target=drain, args=(self._end,), daemon=True)
            self._reader.start()

    def cut(self) -> None:
        """Go away, so that the next write at the other end fails."""
        if self._end is not None:
            self._end.shutdown(socket.SHUT_RD)
            if self._reader is not None:
                self._reader.join(120)
            if self._end.family == socket.AF_INET:  # no farewell, or one more write would seem to succeed
                self._end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._end.close()
        else:
            until(lambda: self._pid_file.exists() and self._pid_file.read_text(), "the command")
            pid = int(self._pid_file.read_text())
            os.kill(pid, signal.SIGKILL)
            until(lambda: gone(pid), "its end")
        if self._listener is not None:
            self._listener.close()


def gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked for its status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def drain(connection: socket.socket) -> None:
    while connection.recv(1 << 16):
        pass


def cut_at(machine: Box, peer: Peer, stage: str) -> None:
    """Migrate to `peer`, which goes away at that stage."""
    if stage in ("setup", "active"):
        machine.migration.set_parameters({"max-bandwidth": SLOW})
    if stage == "pre-switchover":
        enable(machine, stage.replace("pre-", "pause-before-"))
    if stage == "answer":
        enable(machine, "return-path")
    machine.migration.migrate(peer.uri, {"other": peer.given}.get)
    peer.begin(drained=stage != "setup")
    if stage in ("active", "pre-switchover"):
        status(machine, stage)
    if stage == "answer":  # all is sent, and the source waits for the destination's last word
        until(lambda: machine.runstate == "finish-migrate", "the switch")
    peer.cut()
    if stage == "pre-switchover":
        machine.migration.continue_(stage)


@pytest.mark.parametrize("release", ["7.2", "11.1"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_connection_leaves_the_source_unharmed(
    kind: str, stage: str, release: str, tmp_path: Path
) -> None:
    if (kind, stage) == ("exec", "answer"):
        pytest.skip("a command has no way back")
    machine = runs(release)
    cut_at(machine, Peer(kind, tmp_path), stage)
    answer = status(machine)
    assert answer["status"] == "failed"
    if (stage, release) == ("answer", "7.2"):
        # wordless as the real one, unless the last byte had not left yet; then a reset of TCP has its own words
        lost = [f"Unable to write to socket: {why}" for why in ("Broken pipe", "Connection reset by peer")]
        assert answer.get("error-desc", "") in ("", *lost)
    else:
        assert answer["error-desc"]
    assert "failed" in statuses(machine)[-2:]  # old releases resume the guest after it
    assert ("STOP" in statuses(machine)) == (stage in ("pre-switchover", "answer"))
    goes_on(machine, tmp_path)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """For as long as it lasts, no file of this process grows beyond `size`: a disk that fills up on the way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("room", [0, 3, 64, 4096, 100_000, 1 << 20, -100])
def test_a_disk_that_fills_up_on_the_way(room: int, tmp_path: Path) -> None:
    machine = runs("10.0")
    whole = runs("10.0")
    whole.migration.migrate(f"file:{tmp_path / 'whole'}")
    status(whole, "completed")
    size = (tmp_path / "whole").stat().st_size
    with files_of_at_most(room if room >= 0 else size + room):  # in devices or their description
        machine.migration.migrate(f"file:{tmp_path / 'full'}")
        answer = status(machine)
    assert answer["status"] == "failed"
    assert answer["error-desc"] == "Unable to write to file: File too large"
    goes_on(machine, tmp_path)


def arrives(kind: str, there: Box, data: bytes, place: Path) -> None:
    """Have `data`, and then the end, arrive at a destination."""
    (place / "cut").write_bytes(data)
    if kind in ("exec", "file"):
        there.migration.incoming(f"exec:cat {place / 'cut'}" if kind == "exec" else f"file:{place / 'cut'}")
        return
    if kind == "fd":
        ours, theirs = socket.socketpair()
        there.migration.incoming("fd:it", {"it": theirs.detach()}.get)
    elif kind == "unix":
        there.migration.incoming(f"unix:{place / 's'}")
        ours = socket.socket(socket.AF_UNIX)
        ours.connect(str(place / "s"))
    else:
        there.migration.incoming("tcp:127.0.0.1:0")
        (address,) = there.migration.query()["socket-address"]
        ours = socket.create_connection(("127.0.0.1", int(address["port"])))
    with ours:
        ours.sendall(data)


@pytest.mark.parametrize("after", [1, 8, 70, 1500, -1])
@pytest.mark.parametrize("kind", [*KINDS, "file"])
def test_a_stream_that_ends_too_soon_ends_the_destination(
    kind: str, after: int, tmp_path: Path, real_none: dict[str, bytes]
) -> None:
    data = real_none["10.0"]
    there = target("10.0")
    arrives(kind, there, data[: data.index(b"globalstate") + 20 if after < 0 else after], tmp_path)
    until(lambda: there.ended, "the end of the destination")
    assert there.said[-1].startswith("load of migration failed: ")
    assert there.runstate == "inmigrate"
