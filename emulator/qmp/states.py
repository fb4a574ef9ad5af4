"""The states of a QMP session, and what leads from one to another.

1. `TABLE` holds all that may happen: (state, cause) -> (effect, next state). `Dialogue.fire` alone changes the state.
2. An absent pair is a mistake of the client; `REFUSALS` has QEMU's answer to each cause that can be absent.
3. A command that fails changes no state: `check` comes before its arguments are looked at, `fire` after it succeeded.
4. When a client disconnects, the session goes back to negotiation, so no event is sent or kept for it.

Texts: QEMU's dispatcher, 5.2 to 11.1.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from migmatrix.emulator.errors import QmpError

__all__ = ["REFUSALS", "TABLE", "Cause", "Dialogue", "Effect", "State"]


class State(StrEnum):
    """What the client may send."""

    NEGOTIATION = "negotiation"  # only `qmp_capabilities`
    COMMANDS = "commands"
    URGENT = "urgent"  # commands, with `exec-oob` too


class Cause(StrEnum):
    """What happens to a session."""

    CONNECT = "connect"
    DISCONNECT = "disconnect"
    NEGOTIATE = "negotiate"  # `qmp_capabilities`
    NEGOTIATE_OOB = "negotiate-oob"  # the same with capability `oob`
    COMMAND = "command"  # any other command
    EXEC_OOB = "exec-oob"  # the member of a request that asks for a command out of band
    EVENT = "event"  # the machine emitted one


class Effect(StrEnum):
    """What the session does then."""

    GREET = "greet"
    FORGET = "forget"  # descriptors and input of the client
    EXECUTE = "execute"
    SEND = "send"
    DROP = "drop"


_READY: Final = (State.COMMANDS, State.URGENT)
TABLE: Final[dict[tuple[State, Cause], tuple[Effect, State]]] = {
    **{(state, Cause.CONNECT): (Effect.GREET, State.NEGOTIATION) for state in State},
    **{(state, Cause.DISCONNECT): (Effect.FORGET, State.NEGOTIATION) for state in State},
    (State.NEGOTIATION, Cause.NEGOTIATE): (Effect.EXECUTE, State.COMMANDS),
    (State.NEGOTIATION, Cause.NEGOTIATE_OOB): (Effect.EXECUTE, State.URGENT),
    (State.NEGOTIATION, Cause.EVENT): (Effect.DROP, State.NEGOTIATION),
    (State.URGENT, Cause.EXEC_OOB): (Effect.EXECUTE, State.URGENT),
    **{(state, Cause.COMMAND): (Effect.EXECUTE, state) for state in _READY},
    **{(state, Cause.EVENT): (Effect.SEND, state) for state in _READY},
}

_AGAIN: Final = ("CommandNotFound", "Capabilities negotiation is already complete, command ignored")
REFUSALS: Final = {  # cause -> (error class, text)
    Cause.COMMAND: ("CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'"),
    Cause.NEGOTIATE: _AGAIN,
    Cause.NEGOTIATE_OOB: _AGAIN,
    Cause.EXEC_OOB: ("GenericError", "QMP input member 'exec-oob' is unexpected"),
}


class Dialogue:
    """The state of one session, at first `state`."""

    def __init__(self, state: State = State.NEGOTIATION) -> None:
        self._state = state

    @property
    def state(self) -> State:
        """The state; it has no setter, see rule 1."""
        return self._state

    def check(self, cause: Cause) -> Effect:
        """What `cause` would do now, which changes nothing; QmpError when the client may not cause it."""
        return self._row(cause)[0]

    def fire(self, cause: Cause) -> Effect:
        """Go on to the next state and say what to do; QmpError when the client may not cause it."""
        effect, self._state = self._row(cause)
        return effect

    def _row(self, cause: Cause) -> tuple[Effect, State]:
        row = TABLE.get((self._state, cause))
        if row is None:
            raise QmpError(*REFUSALS[cause])
        return row
