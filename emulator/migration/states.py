# SPDX-License-Identifier: Apache-2.0
"""Migration statuses, and what leads from one to another.

1. `TABLE` holds every change that there is: (status, event) -> next. An absent pair is an error of ours.
2. Only `Progress.fire` changes a status, and it tells a listener of every change (the MIGRATION event).
3. A release that has `failing` fires BREAK before FAIL; the others fire only FAIL.
4. COLO has a name here (QMP's `MigrationStatus`) but no rows. A status belongs to the migration, never to one of its channels.
5. A postcopy whose link breaks is paused, not failed: what is not here is there, and only both together are the guest.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["POSTCOPY", "RUNNING", "TABLE", "Event", "Progress", "Status", "WrongEventError"]


class Status(StrEnum):
    """`MigrationStatus` of QMP."""

    NONE = "none"
    SETUP = "setup"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    ACTIVE = "active"
    POSTCOPY_DEVICE = "postcopy-device"
    POSTCOPY_ACTIVE = "postcopy-active"
    POSTCOPY_PAUSED = "postcopy-paused"
    POSTCOPY_RECOVER_SETUP = "postcopy-recover-setup"
    POSTCOPY_RECOVER = "postcopy-recover"
    COMPLETED = "completed"
    FAILING = "failing"
    FAILED = "failed"
    COLO = "colo"
    PRE_SWITCHOVER = "pre-switchover"
    DEVICE = "device"
    WAIT_UNPLUG = "wait-unplug"


class Event(StrEnum):
    """What happens to a migration, on either side."""

    START = "start"  # a command began it
    RETRY = "retry"  # a command began an incoming one again that could not listen
    ACTIVATE = "activate"  # the other side is there
    PAUSE = "pause"  # the guest is stopped, and a command must say that it goes on
    SWITCH = "switch"  # the last part begins
    POSTCOPY_LOAD = "postcopy-load"  # the package is on its way, and its end will be told
    POSTCOPY = "postcopy"  # the guest is, or may be, the destination's, and memory still comes
    LOSE = "lose"  # the link of a postcopy broke
    RESUME = "resume"  # a command gives it another link, which is yet to be made
    LINK = "link"  # the other link is there
    RECOVER = "recover"  # both sides know again what is where
    COMPLETE = "complete"
    CANCEL = "cancel"  # a command wants it to end
    CANCELLED = "cancelled"  # it has ended
    BREAK = "break"  # it cannot go on, and is being cleaned up
    FAIL = "fail"


_IDLE = (Status.NONE, Status.COMPLETED, Status.FAILED, Status.CANCELLED)
_UNDER_WAY = (Status.SETUP, Status.ACTIVE, Status.PRE_SWITCHOVER, Status.DEVICE)
_RECOVERY: Final = (Status.POSTCOPY_PAUSED, Status.POSTCOPY_RECOVER_SETUP, Status.POSTCOPY_RECOVER)
_POSTCOPY: Final = (Status.POSTCOPY_DEVICE, Status.POSTCOPY_ACTIVE, *_RECOVERY)
POSTCOPY: Final = frozenset(_POSTCOPY)
RUNNING: Final = frozenset((*_UNDER_WAY, *_POSTCOPY, Status.CANCELLING, Status.FAILING))

TABLE: Final[dict[tuple[Status, Event], Status]] = {
    **{(idle, Event.START): Status.SETUP for idle in _IDLE},
    (Status.SETUP, Event.RETRY): Status.SETUP,
    (Status.SETUP, Event.ACTIVATE): Status.ACTIVE,
    (Status.ACTIVE, Event.PAUSE): Status.PRE_SWITCHOVER,
    (Status.ACTIVE, Event.SWITCH): Status.DEVICE,
    (Status.PRE_SWITCHOVER, Event.SWITCH): Status.DEVICE,
    (Status.ACTIVE, Event.COMPLETE): Status.COMPLETED,
    (Status.DEVICE, Event.COMPLETE): Status.COMPLETED,
    **{(status, Event.POSTCOPY_LOAD): Status.POSTCOPY_DEVICE for status in (Status.ACTIVE, Status.DEVICE)},
    **{
        (status, Event.POSTCOPY): Status.POSTCOPY_ACTIVE
        for status in (Status.ACTIVE, Status.DEVICE, Status.POSTCOPY_DEVICE)
    },
    **{
        (status, Event.LOSE): Status.POSTCOPY_PAUSED
        for status in (Status.POSTCOPY_ACTIVE, Status.POSTCOPY_RECOVER_SETUP, Status.POSTCOPY_RECOVER)
    },
    (Status.POSTCOPY_PAUSED, Event.RESUME): Status.POSTCOPY_RECOVER_SETUP,
    **{
        (status, Event.LINK): Status.POSTCOPY_RECOVER
        for status in (Status.POSTCOPY_PAUSED, Status.POSTCOPY_RECOVER_SETUP)
    },
    (Status.POSTCOPY_RECOVER, Event.RECOVER): Status.POSTCOPY_ACTIVE,
    (Status.POSTCOPY_ACTIVE, Event.COMPLETE): Status.COMPLETED,
    **{(status, Event.CANCEL): Status.CANCELLING for status in (*_UNDER_WAY, *_POSTCOPY)},
    (Status.CANCELLING, Event.CANCELLED): Status.CANCELLED,
    **{(status, Event.BREAK): Status.FAILING for status in (*_UNDER_WAY, *_POSTCOPY)},
    (Status.FAILING, Event.FAIL): Status.FAILED,
    **{(status, Event.FAIL): Status.FAILED for status in (*_UNDER_WAY, *_POSTCOPY)},
}


class WrongEventError(Exception):
    """An event that cannot happen in this status: a bug of the caller."""


class Progress:
    """The status of one side, at first `status`. The thread that fires calls `changed` with each new status."""

    def __init__(self, changed: Callable[[Status], object], status: Status = Status.NONE) -> None:
        self._status = status
        self._changed = changed

    @property
    def status(self) -> Status:
        """The status; it has no setter, see rule 2."""
        return self._status

    @property
    def running(self) -> bool:
        """Whether a migration is on its way."""
        return self.status in RUNNING

    def can(self, event: Event) -> bool:
        """Whether `event` may happen now."""
        return (self.status, event) in TABLE

    def fire(self, event: Event) -> Status:
        """Go on to the next status; WrongEventError when there is none."""
        try:
            self._status = TABLE[self._status, event]
        except KeyError:
            raise WrongEventError(f"{event.value!r} in status {self._status.value!r}") from None
        self._changed(self._status)
        return self._status
