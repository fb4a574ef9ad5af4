# SPDX-License-Identifier: Apache-2.0
"""Postcopy with shared memory: another process maps the guest's, and waits for pages that did not come.

The process is a back end of vhost-user (`vhost_user_client`). With real QEMU: `interop/test_shared_memory_qemu.py`.
"""

from __future__ import annotations

import mmap
import os
import socket
from contextlib import ExitStack, suppress
from random import Random
from typing import TYPE_CHECKING

import pytest
from migration_machines import enable, make, memory, status, until
from shared_guests import Client, arguments, needs_userfault
from vhost_user_client import WRITTEN

from migmatrix.emulator.errors import FatalError, QmpError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from migration_machines import Box


MIB = 8
ADDRESS = 6 << 20
PAGES = 16
SLOWLY = 256 << 10  # bytes a second: half a minute until the content comes unless somebody asks for it
HELLO = ["GET_FEATURES", "GET_PROTOCOL_FEATURES", "SET_PROTOCOL_FEATURES", "GET_QUEUE_NUM", "SET_OWNER",
         "GET_FEATURES", "SET_VRING_CALL", "SET_VRING_ERR", "GET_CONFIG"]  # fmt: skip
START = ["SET_FEATURES", "SET_MEM_TABLE", "SET_VRING_NUM", "SET_VRING_BASE", "SET_VRING_ADDR", "SET_VRING_KICK",
         "SET_VRING_CALL", "SET_VRING_ENABLE"]  # fmt: skip
LOG = ["SET_LOG_BASE", "SET_FEATURES", "SET_VRING_ADDR"]
STOP = ["SET_VRING_ENABLE", "GET_VRING_BASE"]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


def backed(release: str, backend: str, *words: str) -> mmap.mmap:
    """The file of a guest's memory, as another process would map it."""
    made = make(
        release, "-M", "none,memory-backend=m", "-m", "8", "-object", f"{backend},id=m,size=8M", *words
    )
    block = made.ram_blocks["m"]
    assert block.shared
    block.write(4096, b"from the guest")
    mapped = mmap.mmap(block.fd, 8 << 20)
    mapped[:4] = b"back"
    assert block.read(0, 4) == b"back"
    return mapped


@pytest.mark.parametrize(
    ("release", "backend"),
    [
        ("7.2", "memory-backend-memfd"),
        ("10.0", "memory-backend-memfd,share=on"),
        ("10.0", "memory-backend-shm"),
        ("11.1", "memory-backend-shm,share=on"),
    ],
)
def test_another_process_sees_the_memory(release: str, backend: str) -> None:
    assert backed(release, backend)[4096 : 4096 + 14] == b"from the guest"


def test_memory_that_is_not_shared_is_private() -> None:
    words = (
        "-M",
        "none,memory-backend=m",
        "-m",
        "8",
        "-object",
        "memory-backend-memfd,id=m,size=8M,share=off",
    )
    block = make("10.0", *words).ram_blocks["m"]
    assert (block.shared, block.fd) == (False, -1)


@pytest.mark.parametrize(
    ("release", "backend", "said"),
    [
        (
            "7.2",
            "memory-backend-shm",
            "-object memory-backend-shm,id=m,size=8M: Parameter 'qom-type' does not accept",
        ),
        ("10.0", "memory-backend-shm,share=off", "can't create shm backend with `share=off`"),
        (
            "10.0",
            "memory-backend-ram,share=on",
            "the emulator shares no memory of memory-backend-ram in usual pages",
        ),
        (
            "10.0",
            "memory-backend-memfd,share=on,hugetlb=on",
            "no memory of memory-backend-memfd in huge pages",
        ),
    ],
)
def test_what_cannot_be_shared_is_refused(release: str, backend: str, said: str) -> None:
    with pytest.raises(FatalError) as refused:
        make(release, "-M", "none,memory-backend=m", "-m", "8", "-object", f"{backend},id=m,size=8M")
    assert said in str(refused.value)


def test_a_page_is_placed_as_one_and_taken_away_again() -> None:
    words = ("-M", "none,memory-backend=m", "-m", "8", "-object", "memory-backend-memfd,id=m,size=8M")
    block = make("10.0", *words).ram_blocks["m"]
    block.received = bytearray(block.pages)
    block.place(4096, b"p" * 4096)
    block.place(8192, bytes(4096))
    assert os.fstat(block.fd).st_blocks == 2 * 8  # a zero page is there, too
    assert (bytes(block.received[:4]), block.data[4096:4100]) == (b"\0\1\1\0", b"pppp")
    block.drop(4096, 4096)
    assert os.fstat(block.fd).st_blocks == 8
    assert (bytes(block.received[:4]), block.data[4096:4100]) == (b"\0\0\1\0", bytes(4))


# -- the file system --------------------------------------------------------------------------------


@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
def test_memory_in_a_file_elsewhere_takes_no_postcopy(
    release: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = f"/dev/x / ext4 rw 0 0\n/dev/y {tmp_path} xfs rw 0 0\n"
    monkeypatch.setattr("migmatrix.emulator.boards.backends._mounts", lambda: table)
    backend = f"memory-backend-file,id=m,size=8M,mem-path={tmp_path / 'm'},share=on"
    words = ("-M", "none,memory-backend=m", "-m", "8", "-object", backend)
    enable(make(release, *words), "postcopy-ram")  # a source takes no faults
    there = make(release, *words, "-incoming", "defer")
    if release == "7.2":  # that one finds out later: `test_shared_memory_qemu.py`
        enable(there, "postcopy-ram")
        return
    with pytest.raises(QmpError, match="Host backend files need to be TMPFS or HUGETLBFS only"):
        enable(there, "postcopy-ram")


def test_memory_in_shm_takes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "migmatrix.emulator.boards.backends._mounts", lambda: f"shm {tmp_path} tmpfs rw 0 0\n"
    )
    backend = f"memory-backend-file,id=m,size=8M,mem-path={tmp_path / 'm'},share=on"
    there = make("10.0", "-M", "none,memory-backend=m", "-m", "8", "-object", backend, "-incoming", "defer")
    enable(there, "postcopy-ram")
    assert there.migration.capabilities["postcopy-ram"]


# -- the other process ------------------------------------------------------------------------------


class Link:
    """A chardev whose peer is the other process."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))

    @property
    def descriptor(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up, whoever has the descriptor, too."""
        with suppress(OSError):  # it has hung up before
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Pair:
    """A guest here that runs, one there that waits for it, and the other process of that."""

    def __init__(
        self,
        release: str,
        place: Path,
        stack: ExitStack,
        *options: str,
        backend: str = "memory-backend-memfd",
    ) -> None:
        pages = [Random(n).randbytes(4096) if n % 4 else bytes(4096) for n in range(PAGES)]
        (place / "content").write_bytes(b"".join(pages))
        self.place = place
        self.here = make(release, *arguments("memory-backend-ram", None, "-S", mib=MIB))
        block = self.here.ram_blocks["mem"]
        block.write(2 << 20, Random(0).randbytes(4096) * 1024)
        block.write(ADDRESS, b"".join(pages))
        self.here.vm_start()
        self.client = Client(place, "b", *options, address=ADDRESS)
        stack.callback(self.client.close)
        self.link = Link(self.client.socket)
        stack.callback(self.link.close)
        words = arguments(backend, self.client.socket, "-incoming", "defer", mib=MIB)
        self.there = make(release, *words, chardevs={"c": self.link})

    def begin(self) -> None:
        """A postcopy that takes long."""
        for machine in (self.there, self.here):
            enable(machine, "postcopy-ram")
        self.there.migration.incoming(f"unix:{self.place / 'm'}")
        self.here.migration.set_parameters({"max-bandwidth": SLOWLY, "max-postcopy-bandwidth": SLOWLY})
        self.here.migration.migrate(f"unix:{self.place / 'm'}")
        self.here.migration.start_postcopy()

    def go_on(self) -> None:
        """As fast as it goes."""
        self.here.migration.set_parameters({"max-postcopy-bandwidth": 0})

    def messages(self) -> list[str]:
        """What the other process was told."""
        self.link.close()
        found: list[str] = self.client.found()["messages"]
        return found


@pytest.mark.parametrize("release", ["7.2", "11.1"])
def test_it_waits_for_pages(release: str, tmp_path: Path, stack: ExitStack) -> None:
    needs_userfault()
    pair = Pair(release, tmp_path, stack)
    pair.begin()
    assert pair.client.line() == "read"
    pair.go_on()
    assert status(pair.here)["status"] == "completed", pair.here.said
    assert status(pair.there)["status"] == "completed", pair.there.said
    pair.there.vm_stop()
    pair.link.close()
    found = pair.client.found()
    assert (found["read"], found["wrong"]) == (PAGES, [])
    assert found["waited"] > 0
    assert pair.here.migration.query()["ram"]["postcopy-requests"] > 0
    advised = ["POSTCOPY_ADVISE", "POSTCOPY_LISTEN"]
    assert found["messages"] == [*HELLO, *advised, *START, "POSTCOPY_END", *STOP]


def test_it_waits_through_a_recovery(tmp_path: Path, stack: ExitStack) -> None:
    needs_userfault()
    pair = Pair("10.0", tmp_path, stack)
    pair.begin()
    until(lambda: pair.there.migration.query().get("status") == "postcopy-active", "the guest there")
    pair.here.migration.pause()
    for machine in (pair.here, pair.there):
        status(machine, "postcopy-paused")
    pair.there.migration.recover(f"unix:{pair.place / 'again'}")
    pair.here.migration.migrate(f"unix:{pair.place / 'again'}", resume=True)
    assert pair.client.line() == "read"
    pair.go_on()
    assert status(pair.there)["status"] == "completed", pair.there.said
    pair.link.close()
    found = pair.client.found()
    assert (found["read"], found["wrong"]) == (PAGES, [])


def test_it_is_told_nothing_of_another_migration(tmp_path: Path, stack: ExitStack) -> None:
    pair = Pair("10.0", tmp_path, stack)
    pair.there.migration.incoming(f"unix:{pair.place / 'm'}")
    pair.here.migration.migrate(f"unix:{pair.place / 'm'}")
    assert status(pair.there)["status"] == "completed", pair.there.said
    assert pair.messages() == [*HELLO, *START]


def test_it_stops_and_goes_on_with_the_guest(tmp_path: Path, stack: ExitStack) -> None:
    pair = Pair("10.0", tmp_path, stack)
    pair.there.migration.incoming(f"unix:{pair.place / 'm'}")
    pair.here.migration.migrate(f"unix:{pair.place / 'm'}")
    status(pair.there)
    pair.there.vm_stop()
    pair.there.vm_start()
    disk = next(device for device in pair.there.walk() if device.type_name == "vhost-user-blk-pci")
    with pair.there.bql:
        disk.unrealize()
    assert pair.client.found()["messages"] == [*HELLO, *START, *STOP, *START, *STOP]
    assert pair.there.sharers == []


def moved(pair: Pair, place: Path) -> Box:
    """Send the guest there on to a third machine, without postcopy."""
    pair.there.migration.incoming(f"unix:{place / 'm'}")
    pair.here.migration.migrate(f"unix:{place / 'm'}")
    assert status(pair.there)["status"] == "completed", pair.there.said
    third = make(
        "10.0", *arguments("memory-backend-ram", None, "-incoming", f"exec:cat {place / 's'}", mib=MIB)
    )
    pair.there.migration.migrate(f"exec:cat > {place / 's'}")
    assert status(pair.there)["status"] == "completed", pair.there.said
    third.migration.incoming(f"exec:cat {place / 's'}")
    assert status(third)["status"] == "completed", third.said
    return third


def test_what_it_writes_while_the_guest_is_sent_is_sent(tmp_path: Path, stack: ExitStack) -> None:
    pair = Pair("11.1", tmp_path, stack, "--write", "2")  # when all was sent once
    third = moved(pair, tmp_path)
    assert third.ram_blocks["mem"].data[ADDRESS : ADDRESS + len(WRITTEN)] == WRITTEN
    assert memory(third)["mem"] == memory(pair.there)["mem"]
    told = pair.messages()[len(HELLO + START) :]
    assert told[:6] == [*LOG, *LOG]
    assert [word for word in told if word not in LOG] == STOP


def test_one_that_cannot_note_what_it_writes_is_not_sent(tmp_path: Path, stack: ExitStack) -> None:
    pair = Pair("10.0", tmp_path, stack, "--without", "log")
    with pytest.raises(QmpError) as refused:
        moved(pair, tmp_path)
    words = "Migration disabled: vhost-user backend lacks VHOST_USER_PROTOCOL_F_LOG_SHMFD feature."
    assert refused.value.desc == words


@pytest.mark.parametrize(
    ("release", "said", "printed"),
    [
        ("7.2", "Postcopy is not supported", ["vhost-user backend not capable of postcopy"]),
        ("10.0", "Postcopy is not supported: vhost-user backend not capable of postcopy", []),
    ],
)
def test_one_that_cannot_wait_takes_no_postcopy(
    release: str, said: str, printed: list[str], tmp_path: Path, stack: ExitStack
) -> None:
    pair = Pair(release, tmp_path, stack, "--without", "pagefault")
    with pytest.raises(QmpError) as refused:
        enable(pair.there, "postcopy-ram")
    assert (refused.value.desc, pair.there.said) == (said, printed)


HEADER = "Failed to read msg header. Read 0 instead of 12. Original request"
NO_DESCRIPTOR = "vhost_user_postcopy_advise: Failed to get ufd"
NO_ADVICE = "Failed to get postcopy_advise reply from vhost"
NO_REPLY = "Failed to receive reply to postcopy_listen"
LAST = "load of migration failed: Operation not permitted"


@pytest.mark.parametrize(
    ("release", "options", "lines"),
    [
        ("7.2", ("--without", "descriptor"), [NO_DESCRIPTOR, LAST]),
        ("11.1", ("--without", "descriptor"), [f"{LAST}: {NO_DESCRIPTOR}"]),
        ("10.0", ("--hang-up", "POSTCOPY_ADVISE"), [f"{HEADER} 28.", NO_ADVICE, LAST]),
        ("11.1", ("--hang-up", "POSTCOPY_ADVISE"), [f"{HEADER} 28.", f"{LAST}: {NO_ADVICE}"]),
        ("7.2", ("--hang-up", "POSTCOPY_LISTEN"), [f"{HEADER} 0.", NO_REPLY, LAST]),
    ],
)
def test_what_it_does_not_do_refuses_the_stream(
    release: str, options: tuple[str, ...], lines: list[str], tmp_path: Path, stack: ExitStack
) -> None:
    needs_userfault()
    pair = Pair(release, tmp_path, stack, *options)
    pair.begin()
    until(lambda: pair.there.ended, "the end")
    assert pair.there.said == lines


def test_one_that_ends_while_it_begins_is_told_and_the_guest_goes_on(
    tmp_path: Path, stack: ExitStack
) -> None:
    needs_userfault()
    pair = Pair("10.0", tmp_path, stack, "--hang-up", "SET_MEM_TABLE")
    pair.begin()
    pair.go_on()
    assert status(pair.there)["status"] == "completed"
    assert pair.there.running
    told = [f"{HEADER} 5.", "vhost-user-blk: vhost start failed: Error starting vhost: Input/output error"]
    assert pair.there.said[:2] == told
    assert pair.there.said[-1] == "Failed to send postcopy_end to vhost"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--hang-up", "GET_FEATURES"), f"{HEADER} 1."),
        (("--hang-up", "GET_CONFIG"), f"{HEADER} 24."),
        (
            ("--without", "config"),
            "vhost-user device expecting VHOST_USER_PROTOCOL_F_CONFIG but the vhost-user backend does not support it.",
        ),
    ],
)
def test_one_that_is_of_no_use_is_refused(
    options: tuple[str, ...], said: str, tmp_path: Path, stack: ExitStack
) -> None:
    with pytest.raises(FatalError) as refused:
        Pair("10.0", tmp_path, stack, *options)
    assert str(refused.value).endswith(said)


def test_memory_of_its_own_does_not_begin_it(tmp_path: Path, stack: ExitStack) -> None:
    pair = Pair("10.0", tmp_path, stack, backend="memory-backend-ram")
    pair.there.migration.incoming(f"unix:{pair.place / 'm'}")
    pair.here.migration.migrate(f"unix:{pair.place / 'm'}")
    assert status(pair.there)["status"] == "completed"
    assert "consider using -object memory-backend-file share=on" in pair.there.said[0]
    assert pair.messages() == HELLO
