# SPDX-License-Identifier: Apache-2.0
"""What a hostile emulator says over QMP; `deed` puts it on the list of `misdeeds.py`."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from misdeeds import HOSTILE_TEXTS, HOSTILE_VALUES, deed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hostile_qemu import Hostile

__all__ = ["places"]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a message, as (container, key)."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in items:
        yield value, key
        yield from places(below)


@deed
def wrong_value(it: Hostile) -> None:
    def twist(message: dict[str, Any]) -> dict[str, Any]:
        container, key = it.rng.choice(
            [p for p in places(message) if p[1] not in ("id", "QMP")] or [(message, "x")]
        )
        container[key] = it.rng.choice(HOSTILE_VALUES)
        return message

    it.twist = twist


def says(data: Callable[[Hostile], bytes]) -> Callable[[Hostile], object]:
    """A deed that says something unasked."""

    def does(it: Hostile) -> None:
        it.say(data(it))

    does.__name__ = data.__name__
    return deed(does)


@says
def no_object(it: Hostile) -> bytes:
    return json.dumps(it.rng.choice(HOSTILE_VALUES)).encode() + b"\n"


@says
def nested(it: Hostile) -> bytes:
    opening, closing = it.rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return b'{"return": ' + opening * 100_000 + b"1" + closing * it.rng.choice((0, 100_000)) + b"}\n"


@says
def no_utf8(_: Hostile) -> bytes:
    return bytes(range(1, 256)) * 10 + b"\n"


@says
def zeros(_: Hostile) -> bytes:
    return bytes(10 << 20)


@says
def long_line(_: Hostile) -> bytes:
    return b'{"return": "' + b"x" * (20 << 20) + b'"}\n'


@says
def half_a_line(_: Hostile) -> bytes:
    return b'{"return": {"running": '


@says
def events(it: Hostile) -> bytes:
    event: dict[str, Any] = {
        "event": it.rng.choice(("STOP", "MIGRATION", "X" * 1000)),
        "data": {"status": "active"},
    }
    event["timestamp"] = {"seconds": 0, "microseconds": 0}
    return (json.dumps(event).encode() + b"\n") * it.rng.choice((3, 150_000))


@says
def lies(it: Hostile) -> bytes:
    status = it.rng.choice(("completed", "failed", "cancelled", "none", *HOSTILE_TEXTS))
    event = {
        "event": "MIGRATION",
        "data": {"status": status},
        "timestamp": {"seconds": -1, "microseconds": 1 << 80},
    }
    return json.dumps(event).encode() + b"\n"


@says
def odd_event(it: Hostile) -> bytes:
    event, data, timestamp = it.rng.choices(HOSTILE_VALUES, k=3)
    return json.dumps({"event": event, "data": data, "timestamp": timestamp}).encode() + b"\n"


@says
def a_greeting(it: Hostile) -> bytes:
    greeting = {
        "QMP": {
            "version": {"qemu": it.numbers(), "package": ""},
            "capabilities": it.rng.choice(([], ["oob"])),
        }
    }
    return json.dumps(greeting).encode() + b"\n"


@says
def wrong_greeting(it: Hostile) -> bytes:
    return json.dumps({"QMP": it.rng.choice(HOSTILE_VALUES)}).encode() + b"\n"


@says
def answers_unasked(it: Hostile) -> bytes:
    answer: dict[str, Any] = {
        "return": {},
        "id": it.rng.choice(("__qmp#00001", "__qmp#00005", 7, None, [], {}, "\ud800")),
    }
    return (json.dumps(answer).encode() + b"\n") * it.rng.choice((1, 50))


@deed
def wrong_id(it: Hostile) -> None:
    it.twist = lambda message: {**message, "id": it.rng.choice(("other", 1, None, [], {}, "\x1b[2J"))}


@deed
def no_id(it: Hostile) -> None:
    it.twist = lambda message: {key: value for key, value in message.items() if key != "id"}


@deed
def error_answer(it: Hostile) -> None:
    def twist(message: dict[str, Any]) -> dict[str, Any]:
        said = it.rng.choice(HOSTILE_TEXTS)
        error = it.rng.choice(
            ({"class": "GenericError", "desc": said}, {"class": said, "desc": 5}, said, None, {})
        )
        return {"error": error, **({"id": message["id"]} if "id" in message else {})}

    it.twist = twist


@deed
def error_and_answer(it: Hostile) -> None:
    it.twist = lambda message: {**message, "error": {"class": "GenericError", "desc": "both"}}


@deed
def no_answer(_: Hostile) -> None:
    threading.Event().wait()


@deed
def slow_answer(it: Hostile) -> None:
    time.sleep(it.rng.choice((0.5, 2.5)))


@deed
def closes_qmp(it: Hostile) -> None:
    if it.out is not None:
        it.out.buffer.raw._sock.shutdown(it.rng.choice((socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR)))  # noqa: SLF001


@deed
def connects_again(it: Hostile) -> None:
    for _ in range(20):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(it.box / "qmp"))
        sock.send(b"{")
        it.__dict__.setdefault("kept", []).append(sock)
