# SPDX-License-Identifier: Apache-2.0
"""The states of a QMP session, and what leads from one to another.

1. `TABLE` holds all that may happen: (state, cause) -> (effect, next state). `Dialogue.fire` alone changes the state.
2. An absent pair is a mistake of the client; `REFUSALS` has QEMU's answer to each cause that can be absent.
3. A command that fails changes no state: `check` comes before its arguments are looked at, `fire` after it succeeded.
4. When a client disconnects, the session goes back to negotiation, so no event is sent or kept for it.

Texts: QEMU's dispatcher, 5.2 to 11.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from migmatrix.emulator.errors import QmpError

if TYPE_CHECKING:
    from typing import Literal

    StateName = Literal["negotiation", "commands", "urgent"]
    CauseName = Literal["connect", "disconnect", "negotiate", "negotiate-oob", "command", "exec-oob", "event"]
    EffectName = Literal["greet", "forget", "execute", "send", "drop"]

__all__ = ["CAUSES", "REFUSALS", "STATES", "TABLE", "Cause", "Dialogue", "Effect", "State"]


# Words in classes, no enumerations: making three of those would cost every start 0.2 ms.
class State:
    """What the client may send."""

    NEGOTIATION: Final = "negotiation"  # only `qmp_capabilities`
    COMMANDS: Final = "commands"
    URGENT: Final = "urgent"  # commands, with `exec-oob` too


class Cause:
    """What happens to a session."""

    CONNECT: Final = "connect"
    DISCONNECT: Final = "disconnect"
    NEGOTIATE: Final = "negotiate"  # `qmp_capabilities`
    NEGOTIATE_OOB: Final = "negotiate-oob"  # the same with capability `oob`
    COMMAND: Final = "command"  # any other command
    EXEC_OOB: Final = "exec-oob"  # the member of a request that asks for a command out of band
    EVENT: Final = "event"  # the machine emitted one


class Effect:
    """What the session does then."""

    GREET: Final = "greet"
    FORGET: Final = "forget"  # descriptors of the client
    EXECUTE: Final = "execute"
    SEND: Final = "send"
    DROP: Final = "drop"


STATES: Final[tuple[StateName, ...]] = (State.NEGOTIATION, State.COMMANDS, State.URGENT)
CAUSES: Final[tuple[CauseName, ...]] = (
    Cause.CONNECT, Cause.DISCONNECT, Cause.NEGOTIATE, Cause.NEGOTIATE_OOB, Cause.COMMAND, Cause.EXEC_OOB, Cause.EVENT,
)  # fmt: skip
_READY: Final[tuple[StateName, ...]] = (State.COMMANDS, State.URGENT)
TABLE: Final[dict[tuple[StateName, CauseName], tuple[EffectName, StateName]]] = {
    **{(state, Cause.CONNECT): (Effect.GREET, State.NEGOTIATION) for state in STATES},
    **{(state, Cause.DISCONNECT): (Effect.FORGET, State.NEGOTIATION) for state in STATES},
    (State.NEGOTIATION, Cause.NEGOTIATE): (Effect.EXECUTE, State.COMMANDS),
    (State.NEGOTIATION, Cause.NEGOTIATE_OOB): (Effect.EXECUTE, State.URGENT),
    (State.NEGOTIATION, Cause.EVENT): (Effect.DROP, State.NEGOTIATION),
    (State.URGENT, Cause.EXEC_OOB): (Effect.EXECUTE, State.URGENT),
    **{(state, Cause.COMMAND): (Effect.EXECUTE, state) for state in _READY},
    **{(state, Cause.EVENT): (Effect.SEND, state) for state in _READY},
}

_AGAIN: Final = ("CommandNotFound", "Capabilities negotiation is already complete, command ignored")
REFUSALS: Final[dict[CauseName, tuple[str, str]]] = {  # cause -> (error class, text)
    Cause.COMMAND: ("CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'"),
    Cause.NEGOTIATE: _AGAIN,
    Cause.NEGOTIATE_OOB: _AGAIN,
    Cause.EXEC_OOB: ("GenericError", "QMP input member 'exec-oob' is unexpected"),
}


class Dialogue:
    """The state of one session, at first `state`."""

    def __init__(self, state: StateName = State.NEGOTIATION) -> None:
        self._state: StateName = state

    @property
    def state(self) -> StateName:
        """The state; it has no setter, see rule 1."""
        return self._state

    def check(self, cause: CauseName) -> EffectName:
        """What `cause` would do now, which changes nothing; QmpError when the client may not cause it."""
        return self._row(cause)[0]

    def fire(self, cause: CauseName) -> EffectName:
        """Go on to the next state and say what to do; QmpError when the client may not cause it."""
        effect, self._state = self._row(cause)
        return effect

    def _row(self, cause: CauseName) -> tuple[EffectName, StateName]:
        row = TABLE.get((self._state, cause))
        if row is None:
            raise QmpError(*REFUSALS[cause])
        return row
