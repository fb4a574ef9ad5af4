# SPDX-License-Identifier: Apache-2.0
"""Mistakes of a destination on the return path: what real QEMU 7.2.22, 10.0.13 and 11.1.3 made of the same messages as sources."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pytest
from migration_machines import enable, none, status

if TYPE_CHECKING:
    from collections.abc import Iterator

NEW: Final = ("10.0", "11.1")
U32: Final = struct.Struct(">I").pack
WRONG: Final = {
    "Sibling indicated error 1": (1, U32(1)),
    "Received invalid message 0x0000 length 0x0000": (0, b""),
    "Received invalid message 0x0063 length 0x0000": (99, b""),
    "Received 'PONG' message (0x0002) withincorrect length 3 expecting 4": (2, b"123"),
    "Received 'REQ_PAGES' message (0x0004) withincorrect length 13 expecting 12": (4, bytes(13)),
    "Req_Page_id with length 12 expecting 13": (3, b"x" * 12),
    "Req_Page_id with length 14 expecting 16": (3, bytes(12) + b"\3ab"[:2]),
    "MIG_RP_MSG_REQ_PAGES: Misaligned page request, start:7878787878787878 len: 2021161080": (4, b"x" * 12),
    "MIG_RP_MSG_RECV_BITMAP has invalid block name 'abc'": (5, b"\3abc"),
    "MIG_RP_MSG_RECV_BITMAP missing block name": (5, b""),
    "Received 'SWITCHOVER_ACK' message (0x0007) withincorrect length 1 expecting 0": (7, b"1"),
}
OLD: Final = {
    "RP: Sibling indicated error 1": (1, U32(1)),
    "RP: Received invalid message 0x0000 length 0x0000": (0, b""),
    "RP: Received invalid message 0x0007 length 0x0000": (7, b""),
    "RP: Received invalid message 0x0007 length 0x0001": (7, b"1"),
    "RP: Received 'PONG' message (0x0002) withincorrect length 8 expecting 4": (2, b"12345678"),
    "RP: Req_Page_id with length 12 expecting 13": (3, b"x" * 12),
    "migrate_handle_rp_req_pages: Misaligned page request, start: 7878787878787878 len: 2021161080": (
        4,
        b"x" * 12,
    ),
    "migrate_handle_rp_recv_bitmap: invalid block name 'abc'": (5, b"\3abc"),
}


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def answered(
    release: str, ends: tuple[socket.socket, socket.socket], *messages: bytes
) -> tuple[str | None, list[str]]:
    """Why a migration failed whose destination reads all and answers `messages`, and the lines of its source."""
    here, there = ends
    source = none(release, "-S", mib=1)
    enable(source, "return-path")
    threading.Thread(target=_drain, args=(there,), daemon=True).start()
    source.migration.migrate("fd:it", {"it": here.detach()}.get)
    there.sendall(b"".join(messages))
    return status(source, "failed").get("error-desc"), source.said


def _drain(end: socket.socket) -> None:
    with suppress(OSError):  # reset by a source that fails, or closed at the end of the test
        while end.recv(1 << 16):
            pass


def message(code: int, data: bytes) -> bytes:
    return struct.pack(">HH", code, len(data)) + data


@pytest.mark.parametrize("words", WRONG)
@pytest.mark.parametrize("release", NEW)
def test_a_wrong_message_is_the_error(
    release: str, words: str, ends: tuple[socket.socket, socket.socket]
) -> None:
    assert answered(release, ends, message(*WRONG[words])) == (words, [words])


@pytest.mark.parametrize("words", OLD)
def test_up_to_8_1_the_thread_prints_it(words: str, ends: tuple[socket.socket, socket.socket]) -> None:
    why, said = answered("7.2", ends, message(*OLD[words]))
    assert said[0] == words
    assert why in (None, "Unable to write to socket: Bad file descriptor")  # None: all had been sent


def test_the_end_of_a_load_that_comes_too_early_fails_up_to_8_1(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    here, there = ends
    source = none("7.2", "-S", mib=64)
    enable(source, "return-path")
    source.migration.set_parameters({"max-bandwidth": 100_000})
    threading.Thread(target=_drain, args=(there,), daemon=True).start()
    there.sendall(message(1, U32(0)))
    source.migration.migrate("fd:it", {"it": here.detach()}.get)
    why = "Unable to write to socket: Bad file descriptor"
    assert (status(source, "failed")["error-desc"], source.said) == (why, [why])


def test_an_acknowledgement_that_nobody_asked_for(ends: tuple[socket.socket, socket.socket]) -> None:
    words = "Switchover ack pending num underflowed"
    assert answered("11.1", ends, message(7, b"")) == (words, [words])


@pytest.mark.parametrize(
    ("release", "words"),
    [
        ("7.2", None),
        ("10.0", "Channel error: Input/output error"),
        ("11.1", "Channel error: Input/output error"),
    ],
)
def test_a_destination_that_goes_without_a_word(
    release: str, words: str | None, ends: tuple[socket.socket, socket.socket]
) -> None:
    here, there = ends
    source = none(release, "-S", mib=1)
    enable(source, "return-path")
    source.migration.migrate("fd:it", {"it": here.detach()}.get)
    while b'"devices"' not in (there.recv(1 << 16)):
        pass
    there.shutdown(socket.SHUT_RDWR)
    assert status(source, "failed").get("error-desc") == words
    assert source.said == ([words] if words else [])


@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
def test_a_failed_connection_is_printed_but_by_11_1(
    release: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    nobody = tmp_path_factory.mktemp("x") / "s"
    source = none(release, "-S", mib=1)
    source.migration.migrate(f"unix:{nobody}")
    why = f"Failed to connect to '{nobody}': No such file or directory"
    assert status(source, "failed")["error-desc"] == why
    assert source.said == ([] if release == "11.1" else [why])
