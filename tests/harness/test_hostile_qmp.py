# SPDX-License-Identifier: Apache-2.0
"""A hostile emulator's QMP: every message is looked at as it comes in, and one that no emulator sends ends the session."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from qemu.qmp.error import ProtocolError

from migmatrix.harness.hops import qmp
from migmatrix.harness.hops.qmp import Disconnected, Malformed, QmpSession
from migmatrix.harness.hops.shapes import message, misfit

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 120.0  # seconds
GREETING = b'{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}\n'
AGREED = b'{"return": {}}\n'

NO_MESSAGE = {
    "nothing": b"",
    "no JSON": b"{'a': 1}",
    "no UTF-8": b'{"a": "\xff\xfe"}',
    "a list": b"[]",
    "null": b"null",
    "a text": b'"return"',
    "a number": b"1",
    "deep": b'{"return": ' + b"[" * 100 + b"]" * 100 + b"}",
    "deeper than the parser goes": b"[" * 200_000,
    "more digits than Python reads": b'{"return": ' + b"9" * 5000 + b"}",
    "an id that is a number": b'{"return": {}, "id": 1}',
    "an id that is a list": b'{"return": {}, "id": []}',
    "an event that is none": b'{"event": {}}',
    "data that is none": b'{"event": "STOP", "data": 5}',
    "a status that is a list": b'{"event": "MIGRATION", "data": {"status": []}}',
    "a migration without data": b'{"event": "MIGRATION"}',
}


@pytest.mark.parametrize("kind", NO_MESSAGE)
def test_what_is_no_message_is_refused(kind: str) -> None:
    with pytest.raises(ProtocolError):
        message(NO_MESSAGE[kind])


HARMLESS: list[tuple[str, Any]] = [
    (r'"\ud800"', "\ufffd"),
    (r'"\ud83d\ude00"', "\U0001f600"),
    (r'{"\udfff": 1}', {"\ufffd": 1}),
    ("NaN", "nan"),
    ("[1e999]", ["inf"]),
    (f'"a{"x" * 100_000}b"', f"a{'x' * 32767}[... 34466 characters left out ...]{'x' * 32767}b"),
    (str(1 << 64), "a number of 65 bits"),
    (str((1 << 64) - 1), (1 << 64) - 1),
    (str(-(1 << 63)), -(1 << 63)),
]


@pytest.mark.parametrize(("said", "kept"), HARMLESS, ids=lambda value: str(value)[:20])
def test_values_that_no_format_holds_become_harmless(said: str, kept: Any) -> None:
    value = message(f'{{"return": {said}}}'.encode())["return"]

    assert value == kept
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


MISFITS: list[tuple[str, Any, str]] = [
    ("query-status", None, "query-status: null, where an object is due"),
    (
        "query-status",
        {"running": 1, "status": "paused"},
        "query-status.running: a number, where a truth value is due",
    ),
    ("query-status", {"running": True}, "query-status: no 'status'"),
    ("query-migrate", [], "query-migrate: a list, where an object is due"),
    ("query-migrate", {"error-desc": {}}, "query-migrate.error-desc: an object, where a text is due"),
    ("query-migrate", {"socket-address": {}}, "query-migrate.socket-address: an object, where a list is due"),
    ("qom-list", [{"name": "a", "type": "b"}, None], "qom-list[1]: null, where an object is due"),
    ("query-machines", [{}], "query-machines[0]: no 'name'"),
    (
        "query-cpu-model-expansion",
        {"model": {"props": []}},
        "query-cpu-model-expansion.model.props: a list, where",
    ),
]


@pytest.mark.parametrize(("command", "value", "told"), MISFITS)
def test_an_answer_of_another_shape_is_told(command: str, value: Any, told: str) -> None:
    assert misfit(command, value).startswith(told)


def test_answers_that_emulators_give_fit() -> None:
    assert not misfit("query-status", {"running": False, "status": "paused", "singlestep": False})
    assert not misfit("query-migrate", {})
    assert not misfit("query-migrate", {"status": "failed", "error-desc": "no"})
    assert not misfit("a command that nobody reads", None)


async def ask(session: QmpSession) -> None:
    """Begin a session and ask something."""
    async with asyncio.timeout(PATIENCE):
        await session.accept()
        await session.execute("query-status")


@pytest.mark.parametrize("sayings", [(), (b"",), (GREETING,), (GREETING, AGREED)])
def test_who_hangs_up_at_any_moment_is_gone(tmp_path: Path, sayings: tuple[bytes, ...]) -> None:
    async def emulate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, saying in enumerate(sayings):
            if number:
                await reader.read(1 << 16)
            writer.write(saying)
        writer.close()  # with the last saying: who reads that finds the end behind it

    async def talk() -> None:
        session = QmpSession(lambda: 0.0)
        await session.listen(str(tmp_path / "qmp"))
        emulator = asyncio.create_task(emulate(*await asyncio.open_unix_connection(tmp_path / "qmp")))
        with pytest.raises(Disconnected):
            await ask(session)
        await emulator
        await session.close()

    asyncio.run(talk())


def malformed(directory: Path, *sayings: bytes) -> str:
    """What is malformed in a session with an emulator that answers its commands with these lines, the first unasked."""

    async def emulate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = ""
        try:
            for saying in sayings:
                writer.write(saying.replace(b"__ID", number.encode()))
                await writer.drain()
                number = json.loads(await reader.read(1 << 16) or b"{}").get("id", "")
        finally:
            writer.close()

    async def talk() -> str:
        session = QmpSession(lambda: 0.0)
        await session.listen(str(directory / "qmp"))
        emulator = asyncio.create_task(emulate(*await asyncio.open_unix_connection(directory / "qmp")))
        try:
            with pytest.raises(Malformed) as caught:
                await ask(session)
            return str(caught.value)
        finally:
            emulator.cancel()
            await asyncio.gather(emulator, return_exceptions=True)
            await session.close()

    return asyncio.run(talk())


@pytest.mark.parametrize(
    ("sayings", "told"),
    [
        ((b"null\n",), "QMP: null, where an object is due"),
        ((b"SSH-2.0\n",), "QMP: no JSON: JSONDecodeError"),
        ((GREETING, b"[]\n"), "QMP: a list, where an object is due"),
        ((GREETING, AGREED, b'{"return": [], "id": 7}\n'), "QMP: message.id: a number, where a text is due"),
        ((GREETING, AGREED, b'{"return": [], "id": "__ID"}\n'), "QMP: query-status: a list, where"),
        ((GREETING, AGREED, b"x" * (20 << 20) + b"\n"), "QMP: a message is too long"),
    ],
)
def test_a_session_ends_with_what_was_said(tmp_path: Path, sayings: tuple[bytes, ...], told: str) -> None:
    assert malformed(tmp_path, *sayings).startswith(told)


def test_a_flood_of_events_ends_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "_MOST_MESSAGES", 50)
    event = b'{"event": "STOP", "timestamp": {"seconds": 0, "microseconds": 0}}\n'

    assert malformed(tmp_path, GREETING, AGREED, event * 51).startswith("QMP: over 50 messages")


def test_a_flood_of_bytes_ends_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qmp, "_MOST_BYTES", 1000)

    assert "or 1000 bytes" in malformed(tmp_path, GREETING, AGREED, b'{"return": "' + b"x" * 1000 + b'"}\n')
