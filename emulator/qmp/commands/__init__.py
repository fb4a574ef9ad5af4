# SPDX-License-Identifier: Apache-2.0
"""The commands, by topic; importing a module puts its commands into `emulator.qmp.table.COMMANDS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TOPICS", "load"]

# Those first that every hop needs: a command is looked for in this order, and what comes after it is not loaded.
TOPICS: Final = (
    "general", "migration", "running", "descriptors", "objects", "human", "introspection", "machines", "snapshots",
    "dirtylimit", "memory",
)  # fmt: skip


def load() -> Iterator[str]:
    """Have topic after topic in the table; gives the name of each when it is."""
    for topic in TOPICS:
        __import__(f"migmatrix.emulator.qmp.commands.{topic}")  # importlib takes as long to load as a topic
        yield topic
