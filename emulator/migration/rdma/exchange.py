# SPDX-License-Identifier: Apache-2.0
"""The flow of messages on a control channel: who may send what when, as a table.

1. The side that receives says READY before each message that it wants; the other one sends one message for each READY.
2. A request has an answer, which needs no READY.
3. `FLOW` is all there is: (state, class of message) -> state, the same on both ends. What is not there is refused.
4. A message that is refused ends the exchange: nothing is sent or received after it.

The stream of the return path has a connection of its own, on which the two sides have changed places.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.migration.rdma.messages import Kind, Message, MessageError, pack, read

if TYPE_CHECKING:
    from migmatrix.emulator.migration.rdma.verbs import Verbs

__all__ = ["ANSWERS", "FLOW", "Receiver", "Sender", "State", "Step", "next_state", "step_of"]

ANSWERS: Final = {
    Kind.RAM_BLOCKS_REQUEST: Kind.RAM_BLOCKS_RESULT,
    Kind.REGISTER_REQUEST: Kind.REGISTER_RESULT,
    Kind.UNREGISTER_REQUEST: Kind.UNREGISTER_FINISHED,
}


class State(Enum):
    """Where a channel is, as one end sees it."""

    WAITS = "the other side has not said that it is ready"
    READY = "the next message may go"
    ASKED = "an answer is owed"


class Step(Enum):
    """Classes of messages."""

    READY = "ready"
    PLAIN = "plain"  # has no answer
    REQUEST = "request"
    ANSWER = "answer"


FLOW: Final[dict[tuple[State, Step], State]] = {
    (State.WAITS, Step.READY): State.READY,
    (State.READY, Step.PLAIN): State.WAITS,
    (State.READY, Step.REQUEST): State.ASKED,
    (State.ASKED, Step.ANSWER): State.WAITS,
}
_PLAIN: Final = (Kind.QEMU_FILE, Kind.COMPRESS, Kind.REGISTER_FINISHED)


def step_of(kind: int) -> Step | None:
    """The class of a type; None for one that is in no flow."""
    if kind == Kind.READY:
        return Step.READY
    if kind in ANSWERS:
        return Step.REQUEST
    if kind in ANSWERS.values():
        return Step.ANSWER
    return Step.PLAIN if kind in _PLAIN else None


def next_state(state: State, kind: int) -> State:
    """Where a channel is after a message of this type; MessageError if it must not come or go now."""
    step = step_of(kind)
    if step is None or (state, step) not in FLOW:
        raise MessageError(f"Unknown control message {Message(kind).word}")
    return FLOW[state, step]


class _End:
    """One end of a channel."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs
        self.state = State.WAITS

    def _send(self, message: Message) -> None:
        self.state = next_state(self.state, message.kind)
        self._verbs.send(pack(message))

    def _receive(self, *wanted: Kind) -> Message:
        """The next message; it must be of a wanted type, if any is named."""
        message = read(self._verbs.receive())
        if message.kind == Kind.ERROR or (wanted and message.kind not in wanted):
            expected = wanted[0] if wanted else Kind.NONE
            raise MessageError(
                f"Was expecting a {expected.word} ({expected}) control message, "
                f"but got: {message.word} ({message.kind}), length: {len(message.data)}"
            )
        self.state = next_state(self.state, message.kind)
        return message


class Sender(_End):
    """The end that sends; MessageError from `receive` and `send` alike."""

    def send(self, message: Message) -> Message | None:
        """Send when the other side is ready; the answer, if it is a request."""
        if self.state is State.WAITS:
            self._receive(Kind.READY)
        self._send(message)
        return self._receive(ANSWERS[Kind(message.kind)]) if message.kind in ANSWERS else None


class Receiver(_End):
    """The end that is sent to."""

    def receive(self, *wanted: Kind) -> Message:
        """Say READY and take a message, of a wanted type if any is named; MessageError."""
        self._send(Message(Kind.READY))
        return self._receive(*wanted)

    def answer(self, message: Message) -> None:
        """Answer the request that was received last."""
        self._send(message)
