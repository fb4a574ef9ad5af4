"""The commands, by topic; importing a module puts its commands into `emulator.qmp.table.COMMANDS`."""

from __future__ import annotations

__all__ = ["load"]


def load() -> None:
    """Have all commands in the table."""
    from emulator.qmp.commands import (  # noqa: F401, PLC0415 - imported for what that does
        descriptors,
        general,
        human,
        introspection,
        machines,
        migration,
        objects,
        running,
        snapshots,
    )
