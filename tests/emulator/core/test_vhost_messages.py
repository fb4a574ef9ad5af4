# SPDX-License-Identifier: Apache-2.0
"""The front end of vhost-user and what a back end may answer: any bytes give an answer or `BackEndError`, nothing else."""

from __future__ import annotations

import os
import socket
import struct
import threading
from contextlib import contextmanager, suppress
from random import Random
from typing import TYPE_CHECKING

import pytest

from migmatrix.emulator.errors import BackEndError
from migmatrix.emulator.sockets import Socket
from migmatrix.emulator.vhostuser import FrontEnd

if TYPE_CHECKING:
    from collections.abc import Iterator

INPUTS = int(os.environ.get("VHOST_INPUTS", "200"))


@contextmanager
def told(answers: bytes) -> Iterator[FrontEnd]:
    """A front end whose back end answers so, whatever it is asked, and hangs up."""
    here, there = socket.socketpair()
    lock = threading.RLock()
    there.sendall(answers)
    there.shutdown(socket.SHUT_WR)
    with lock:
        front = FrontEnd(Socket(fileno=here.detach()), lock)
        try:
            yield front
        finally:
            front.close()
            there.close()
    front.thread.join()


def answer(request: int, body: bytes = b"", *, flags: int = 5, size: int | None = None) -> bytes:
    return struct.pack("=III", request, flags, len(body) if size is None else size) + body


FEATURES = answer(1, struct.pack("=Q", 1 << 30 | 1 << 32))
PROTOCOL = answer(15, struct.pack("=Q", 1 << 9))
CONFIG = answer(24, struct.pack("=III", 0, 4, 0) + b"disk")


def test_a_device_is_got_to_know() -> None:
    with told(FEATURES + PROTOCOL + FEATURES + CONFIG) as front:
        assert front.begin(1, 4) == b"disk"
        assert (front.queues, front.can_wait, front.can_log) == (1, False, False)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (b"", "Failed to read msg header. Read 0 instead of 12. Original request 1."),
        (FEATURES[:8], "Failed to read msg header. Read 0 instead of 12. Original request 1."),
        (FEATURES[:-1], "Failed to read msg header. Read 0 instead of 12. Original request 1."),
        (answer(1, flags=1), "Failed to read msg header. Flags 0x1 instead of 0x5."),
        (
            answer(1, size=5000),
            "Failed to read msg header. Size 5000 exceeds the maximum 4096. Original request 1.",
        ),
        (answer(2), "Received unexpected msg type. Expected 1 received 2"),
        (answer(1, b"1234"), "Received bad msg size."),
        (FEATURES + PROTOCOL + FEATURES + answer(24, b"short"), "Received bad msg size."),
        (
            FEATURES + answer(15, struct.pack("=Q", 1 << 9 | 1)) + answer(17, struct.pack("=Q", 0)),
            "The maximum number of queues supported by the backend is 0",
        ),
    ],
)
def test_another_answer_is_an_error(answers: bytes, words: str) -> None:
    with told(answers) as front, pytest.raises(BackEndError) as refused:
        front.begin(1, 4)
    assert refused.value.lines == (words,)


def test_any_bytes_give_an_answer_or_an_error() -> None:
    random = Random(1)
    whole = FEATURES + PROTOCOL + FEATURES + CONFIG
    for _ in range(INPUTS):
        changed = bytearray(whole)
        for _ in range(random.randint(1, 4)):
            changed[random.randrange(len(changed))] = random.randrange(256)
        with told(bytes(changed[: random.randint(0, len(changed))])) as front, suppress(BackEndError):
            assert len(front.begin(1, 4)) == 4
