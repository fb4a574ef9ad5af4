# SPDX-License-Identifier: Apache-2.0
"""What monitors do with a postcopy: start it, break its link, name another one on each side.

Each runs under the machine's lock; a refusal is a `QmpError` in the words of the release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.states import POSTCOPY, Event, Status
from migmatrix.emulator.migration.transports import listen, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migmatrix.emulator.migration.control import Migration

__all__ = ["check_cancel", "pause", "recover", "resume", "start"]

_PAUSABLE: Final = (Status.POSTCOPY_ACTIVE, Status.POSTCOPY_RECOVER)


def _error(text: str) -> QmpError:
    return QmpError("GenericError", text)


def start(migration: Migration) -> None:
    """`migrate-start-postcopy`; harmless after the end."""
    if not migration.settings.capabilities["postcopy-ram"]:
        raise _error("Enable postcopy with migrate_set_capability before the start of migration")
    if migration.progress.status is Status.NONE:
        raise _error("Postcopy must be started after migration has been started")
    if migration.outgoing is not None:
        migration.outgoing.wants_postcopy = True


def pause(migration: Migration) -> None:
    """`migrate-pause`: break the link, on either side."""
    also = migration.traits.recover_can_pause
    if migration.progress.status not in (_PAUSABLE if also else _PAUSABLE[:1]):
        words = " or postcopy-recover" if also else ""
        raise _error(f"migrate-pause is currently only supported during postcopy-active{words} state")
    side = migration.outgoing
    if side is not None:
        side.pause()
    elif migration.incoming_side is not None and migration.incoming_side.listening is not None:
        migration.incoming_side.listening.pause()


def check_cancel(migration: Migration) -> None:
    """Refuse `migrate_cancel` where a release knows that it would cost the guest."""
    if migration.traits.no_late_cancel and migration.progress.status in POSTCOPY:
        raise _error("Postcopy migration in progress, cannot cancel.")


# -- source ----------------------------------------------------------------------------------------


def resume(migration: Migration, target: str | Sequence[Any], fds: Callable[[str], int | None]) -> None:
    """`migrate` with ``resume: true``: go on over another link; what is wrong with it leaves the migration paused."""
    if migration.outgoing is None or migration.progress.status is not Status.POSTCOPY_PAUSED:
        raise _error("Cannot resume if there is no paused migration")
    address = migration.address(target, incoming=False)
    if migration.traits.recover_setup:
        migration.progress.fire(Event.RESUME)
    try:
        channel = opened(address, fds, migration.machine.fdsets)
    except QmpError as error:
        migration.lose_target(error.desc, quiet=True)
        raise
    migration.outgoing.resume(address, channel)


# -- destination -----------------------------------------------------------------------------------


def recover(migration: Migration, uri: str, fds: Callable[[str], int | None] | None) -> None:
    """`migrate-recover`: wait for another link there."""
    side = migration.incoming_side
    if side is None or side.listening is None or migration.progress.status is not Status.POSTCOPY_PAUSED:
        raise _error("Migrate recover can only be run when postcopy is paused.")
    if migration.traits.recover_once and side.listening.waits:
        raise _error("Migrate recovery is triggered already")
    side.forget()
    if migration.traits.tells_recovering:
        migration.tell(Status.SETUP)
    side.recover(listen(migration.address(uri, incoming=True), fds, migration.machine.fdsets))
