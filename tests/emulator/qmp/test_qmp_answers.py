# SPDX-License-Identifier: Apache-2.0
"""What four releases of real QEMU answered to 110 requests, and what the emulator answers to the same.

`data/qmp-answers.json` holds the exchange, by release; an answer holds until a later release has another. Requests
without an answer are sent, since they change the state, but not compared: what they show is the emulator's own (its
object tree, its package, its build options). So are numbers of threads and of unnamed objects.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from migration_machines import none

from migmatrix.emulator.chardev import Backend
from migmatrix.emulator.loop import Loop
from migmatrix.emulator.options.records import Chardev
from migmatrix.emulator.qmp.server import Server
from migmatrix.emulator.qmp.states import CAUSES, REFUSALS, STATES, TABLE, Cause, Effect, State
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.emulator.qmp.states import CauseName, StateName

DATA = json.loads((Path(__file__).parents[2] / "data" / "qmp-answers.json").read_text())
ARGUMENTS = [
    "-M",
    "isapc",
    "-m",
    "16",
    "-S",
    "-nodefaults",
    "-display",
    "none",
    "-name",
    "guest=foo",
    "-qmp",
    "stdio",
]


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in ("thread-id", "qom-path")}
    return [plain(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("release", ["5.2", "7.2", "10.0", "11.1"])
def test_the_emulator_answers_as_real_qemu_did(release: str) -> None:
    requests = [exchange["request"] for exchange in DATA["exchanges"]]
    ended = subprocess.run(
        [sys.executable, "-m", "migmatrix.emulator", "--release", release, *ARGUMENTS],
        input="\n".join([*requests, '{"execute": "quit"}\n']), capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip
    messages = [json.loads(line) for line in ended.stdout.splitlines()]
    answers = [m for m in messages if not {"event", "QMP"} & m.keys()]
    assert len(answers) == len(requests) + 1
    for exchange, answer in zip(DATA["exchanges"], answers, strict=False):
        if exchange["answers"] is not None:
            real = [said for since, said in exchange["answers"].items() if lives(since, "", release)][-1]
            assert (exchange["request"], plain(answer)) == (exchange["request"], real)


class Wire(Backend):
    """A client in this process: `take` gives what it was sent since it last asked."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(Chardev("wire", "null"), loop)
        self._sent = b""

    def write(self, data: bytes) -> None:
        self._sent += data

    def take(self) -> list[Any]:
        lines, self._sent = self._sent.splitlines(), b""
        return [json.loads(line) for line in lines]

    def ask(self, request: str) -> None:
        self.on_data(request.encode(), [])


@pytest.fixture
def wire() -> Iterator[Wire]:
    loop = Loop()
    server = Server(loop, "10.0", {})
    server.machine = none("10.0")
    wire = Wire(loop)
    server.add(wire)
    wire.on_open()
    wire.take()
    yield wire
    loop.close()


NEGOTIATE = '{"execute": "qmp_capabilities"}'
NEGOTIATE_OOB = '{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}}'
TO_STATE: dict[StateName, str] = {
    State.NEGOTIATION: "",
    State.COMMANDS: NEGOTIATE,
    State.URGENT: NEGOTIATE_OOB,
}
REQUESTS: dict[CauseName, str] = {
    Cause.NEGOTIATE: NEGOTIATE,
    Cause.NEGOTIATE_OOB: NEGOTIATE_OOB,
    Cause.COMMAND: '{"execute": "query-status"}',
    Cause.EXEC_OOB: '{"exec-oob": "migrate-pause"}',
}


def cause_it(wire: Wire, cause: CauseName) -> list[Any]:
    """What the client is sent."""
    if cause in REQUESTS:
        wire.ask(REQUESTS[cause])
    elif cause == Cause.CONNECT:
        wire.on_open()
    elif cause == Cause.DISCONNECT:
        wire.on_close()
    else:
        session = wire.on_data.__self__  # type: ignore[attr-defined]  # a bound method: the session's
        session.server.emit("WAKEUP")
        session.server.deliver()
    return wire.take()


def state_of(wire: Wire) -> StateName:
    """The state, as a client can find it out."""
    wire.ask('{"exec-oob": 1}')
    wire.ask('{"execute": "query-name"}')
    urgent, plain = (answer.get("error", {}).get("desc", "") for answer in wire.take())
    if plain == REFUSALS[Cause.COMMAND][1]:
        return State.NEGOTIATION
    return State.COMMANDS if urgent == REFUSALS[Cause.EXEC_OOB][1] else State.URGENT


@pytest.mark.parametrize(("state", "cause"), list(itertools.product(STATES, CAUSES)))
def test_a_session_does_what_the_table_says_in_every_state(
    wire: Wire, state: StateName, cause: CauseName
) -> None:
    if TO_STATE[state]:
        wire.ask(TO_STATE[state])
        wire.take()
    assert state_of(wire) == state
    sent = cause_it(wire, cause)
    if (state, cause) not in TABLE:
        class_, desc = REFUSALS[cause]
        assert sent == [{"error": {"class": class_, "desc": desc}}]
        assert state_of(wire) == state
        return
    effect, after = TABLE[state, cause]
    words = [next(iter(message)) for message in sent]
    assert words == {
        Effect.GREET: ["QMP"], Effect.SEND: ["timestamp"], Effect.EXECUTE: ["return"]
    }.get(effect, []) or (cause == Cause.EXEC_OOB and "migrate-pause" in sent[0]["error"]["desc"])  # fmt: skip
    assert state_of(wire) == after


def test_only_what_a_client_sends_can_be_refused() -> None:
    absent = {cause for state, cause in itertools.product(STATES, CAUSES) if (state, cause) not in TABLE}
    assert absent == set(REFUSALS) == set(REQUESTS)


def test_a_negotiation_that_fails_can_be_tried_again(wire: Wire) -> None:
    wire.ask('{"execute": "qmp_capabilities", "arguments": {"enable": ["nonsense"]}}')
    assert "error" in wire.take()[0]
    assert state_of(wire) == State.NEGOTIATION
    wire.ask(NEGOTIATE)
    assert wire.take() == [{"return": {}}]
