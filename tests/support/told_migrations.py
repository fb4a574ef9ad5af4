# SPDX-License-Identifier: Apache-2.0
"""Migrations that tests tell step by step: a destination that listens, and a source that stays in a status."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

from migration_machines import Box, enable, status, statuses, target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["send", "stay", "told", "waiting"]


def told(machine: Box) -> list[str]:
    """Statuses, STOP and RESUME since the guest first ran."""
    words = [word for word in statuses(machine) if not word.startswith("pass")]
    return words[1:] if words[:1] == ["RESUME"] else words


def waiting(release: str, place: Path, *capabilities: str, words: tuple[str, ...] = ()) -> Box:
    """A destination that listens at ``s`` and tells of its events."""
    there = target(release, *words)
    enable(there, "events", *capabilities)
    there.migration.incoming(f"unix:{place / 's'}")
    return there


def send(source: Box, place: Path) -> None:
    source.migration.migrate(f"unix:{place / 's'}")


def full(place: Path) -> tuple[Callable[[str], int | None], list[socket.socket]]:
    """A socket that takes not a byte more: a migration to it stays in `setup`."""
    del place
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    try:
        while True:
            ours.send(bytes(1 << 16))
    except BlockingIOError:
        ours.setblocking(True)
    return {"it": ours.detach()}.get, [theirs]


def drain(connection: socket.socket) -> None:
    """Read all that comes, answer nothing, and hang up after the other side has."""
    with connection:
        while connection.recv(1 << 16):
            pass


def stay(source: Box, at: str, place: Path) -> list[socket.socket]:
    """Begin a migration that does not leave that status; what must be closed after it."""
    if at == "setup":
        fds, kept = full(place)
        source.migration.migrate("fd:it", fds)
        return kept
    if at == "active":
        source.migration.set_parameters({"max-bandwidth": 4096})
    else:
        enable(source, "pause-before-switchover", *(["return-path"] if at == "device" else []))
    ours, theirs = socket.socketpair()
    threading.Thread(target=drain, args=(theirs,), daemon=True).start()
    source.migration.migrate("fd:it", {"it": ours.detach()}.get)
    if at == "device":  # everything is sent, and no word comes back
        status(source, "pre-switchover")
        source.migration.continue_("pre-switchover")
    return []
