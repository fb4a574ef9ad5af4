# SPDX-License-Identifier: Apache-2.0
"""Character devices through their public face: what is written arrives whole and in order, whoever is slow or gone."""

from __future__ import annotations

import os
import socket
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migmatrix.emulator.chardev import Backend, open_chardev
from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.loop import Loop
from migmatrix.emulator.options.records import Chardev

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Front:
    """A frontend that writes down what happens."""

    def __init__(self, backend: Backend) -> None:
        self.seen: list[str] = []
        self.data = b""
        self.fds: list[int] = []
        backend.on_open = lambda: self.seen.append("open")
        backend.on_close = lambda: self.seen.append("close")
        backend.on_data = self._take

    def _take(self, data: bytes, fds: list[int]) -> None:
        self.data += data
        self.fds += fds


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


def rounds(loop: Loop, until: Callable[[], object]) -> None:
    """Serve until something is so; the test fails when it does not become so."""
    for _ in range(400):
        if until():
            return
        loop.once(0.05)
    raise AssertionError("it does not happen")


def counted(front: Front, what: str, times: int) -> bool:
    return front.seen.count(what) == times


def spec(kind: str, **props: str) -> Chardev:
    named = {name.replace("_", "-"): value for name, value in props.items()}
    return Chardev("c", kind, tuple(named.items()), f"-chardev {kind},id=c")


# -- sockets -------------------------------------------------------------------------------------


def test_a_server_takes_one_client_after_another(loop: Loop, tmp_path: Path) -> None:
    made = open_chardev(spec("socket", path=str(tmp_path / "s"), server="on", wait="off"), loop)
    front = Front(made)
    made.start()
    for turn in (1, 2, 3):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(tmp_path / "s"))
        rounds(loop, partial(counted, front, "open", turn))
        made.write(f"hello {turn}".encode())
        assert client.recv(100) == f"hello {turn}".encode()
        client.sendall(b"bye")
        client.close()
        rounds(loop, partial(counted, front, "close", turn))
    assert front.seen == ["open", "close"] * 3
    assert front.data == b"bye" * 3
    made.close()
    assert not (tmp_path / "s").exists(), "what was made is removed"


def test_what_is_written_to_nobody_is_lost_and_no_error(loop: Loop, tmp_path: Path) -> None:
    made = open_chardev(spec("socket", path=str(tmp_path / "s"), server="on", wait="off"), loop)
    made.start()
    assert not made.connected
    made.write(b"nobody hears this")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
        rounds(loop, lambda: made.connected)
        made.write(b"but this")
        assert client.recv(100) == b"but this"
    made.close()


@settings(max_examples=15)
@given(st.lists(st.binary(min_size=1, max_size=200_000), min_size=1, max_size=6))
def test_a_slow_reader_gets_everything_in_order(parts: list[bytes]) -> None:
    loop = Loop()
    listener = socket.create_server(("127.0.0.1", 0))
    made = open_chardev(spec("socket", host="127.0.0.1", port=str(listener.getsockname()[1])), loop)
    front = Front(made)
    made.start()
    peer, _ = listener.accept()
    rounds(loop, lambda: front.seen == ["open"])
    for part in parts:
        made.write(part)
    whole, got = b"".join(parts), b""
    peer.setblocking(False)
    while len(got) < len(whole):
        loop.once(0)
        try:
            got += peer.recv(30_000)
        except BlockingIOError:
            loop.once(0.01)
    assert got == whole
    made.close()
    peer.close()
    listener.close()
    loop.close()


def test_a_lossy_device_drops_what_comes_while_it_waits(loop: Loop, tmp_path: Path) -> None:
    """The debug console of a guest: it never waits, and never keeps more than it began to send."""
    made = open_chardev(spec("socket", path=str(tmp_path / "s"), server="on", wait="off"), loop)
    made.lossy = True
    made.start()
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(tmp_path / "s"))
    rounds(loop, lambda: made.connected)
    sent = 0
    for _ in range(400):
        made.write(b"0123456789" * 1000)
        sent += 10_000
    client.setblocking(False)
    got = b""
    while True:
        loop.once(0)
        try:
            got += client.recv(1 << 20)
        except BlockingIOError:
            break
    assert 0 < len(got) < sent
    assert got == (b"0123456789" * (len(got) // 10 + 1))[: len(got)], "what arrives has no hole in a line"
    client.close()
    made.close()


def test_descriptors_come_with_their_message(loop: Loop, tmp_path: Path) -> None:
    made = open_chardev(spec("socket", path=str(tmp_path / "s"), server="on", wait="off"), loop)
    front = Front(made)
    made.start()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
        reader, writer = os.pipe()
        socket.send_fds(client, [b"take it"], [writer])
        os.close(writer)
        rounds(loop, lambda: front.data)
        assert front.data == b"take it"
        (fd,) = front.fds
        os.write(fd, b"through the other's pipe")
        assert os.read(reader, 100) == b"through the other's pipe"
        assert not os.get_inheritable(fd)
        os.close(fd)
        os.close(reader)
    made.close()


def test_a_flush_gives_what_is_kept_a_last_chance(loop: Loop) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    made = open_chardev(spec("socket", host="127.0.0.1", port=str(listener.getsockname()[1])), loop)
    made.start()
    peer, _ = listener.accept()
    rounds(loop, lambda: made.connected)
    made.write(bytes(20_000_000))  # more than a socket holds
    made.flush(0.05)
    made.close()
    got = 0
    while data := peer.recv(1 << 20):
        got += len(data)
    assert 0 < got < 20_000_000
    peer.close()
    listener.close()


# -- what cannot be opened -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (spec("socket", path="/nodir/x"), "Failed to connect to '/nodir/x': No such file or directory"),
        (spec("socket", path="/nodir/x", server="on", wait="off"),
         "Failed to bind socket to /nodir/x: No such file or directory"),
        (spec("file", path="/nodir/x"), "Could not open '/nodir/x': No such file or directory"),
        (spec("file", path="/"), "Could not open '/': Is a directory"),
        (spec("pipe", path="/nodir/x"), "Could not open '/nodir/x': No such file or directory"),
    ],
)  # fmt: skip
def test_what_cannot_be_opened_says_why(loop: Loop, made: Chardev, said: str) -> None:
    with pytest.raises(FatalError) as caught:
        open_chardev(made, loop)
    assert str(caught.value) == f"{made.where}: {said}"


def test_a_server_takes_over_what_an_earlier_run_left(loop: Loop, tmp_path: Path) -> None:
    """QEMU removes what is in the way too, so that one that was killed can be started again."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s"))
    made = open_chardev(spec("socket", path=str(tmp_path / "s"), server="on", wait="off"), loop)
    made.start()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
        rounds(loop, lambda: made.connected)
    made.close()


# -- the others ----------------------------------------------------------------------------------


@given(st.integers(0, 8).map(lambda power: 1 << power), st.lists(st.binary(max_size=40), max_size=8))
def test_a_ring_keeps_the_last_bytes(size: int, parts: list[bytes]) -> None:
    loop = Loop()
    ring = open_chardev(spec("ringbuf", size=str(size)), loop)
    for part in parts:
        ring.write(part)
    assert getattr(ring, "kept") == b"".join(parts)[-size:]  # noqa: B009 - of this kind only
    loop.close()


def test_a_file_holds_what_was_written_and_nothing_of_before(loop: Loop, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("of another run, and longer")
    made = open_chardev(spec("file", path=str(tmp_path / "log")), loop)
    front = Front(made)
    made.start()
    for number in range(100):
        made.write(b"%d\n" % number)
    made.close()
    made.close()
    assert (tmp_path / "log").read_text() == "".join(f"{number}\n" for number in range(100))
    assert front.seen == ["open"]


def test_null_takes_everything_and_is_never_connected(loop: Loop) -> None:
    made = open_chardev(spec("null"), loop)
    front = Front(made)
    made.start()
    made.write(bytes(1000))
    made.flush(10)
    made.close()
    assert (made.connected, made.filename, front.seen) == (False, "null", [])
