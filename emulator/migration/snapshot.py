# SPDX-License-Identifier: Apache-2.0
"""savevm and loadvm: the same stream as a migration's, to and from a disk image, with the guest stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.channel import ChannelError
from migmatrix.emulator.migration.faults import LoadError
from migmatrix.emulator.migration.messages import explain
from migmatrix.emulator.migration.returnpath import ReplyPath
from migmatrix.emulator.migration.streams import Input, Output
from migmatrix.vmstate.device.errors import VMStateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.emulator.migration.control import Migration
    from migmatrix.emulator.migration.streams import Readable, Writable

__all__ = ["load", "save"]


def _error(text: str) -> QmpError:
    return QmpError("GenericError", text)


def _check(migration: Migration) -> None:
    if migration.capabilities.get("multifd") and migration.traits.snapshots_without_multifd:
        raise _error("Snapshots are not compatible with multifd")


def save(migration: Migration, sink: Writable, finish: Callable[[], None]) -> None:
    """Save the machine; it goes on as before. QmpError."""
    machine = migration.machine
    with machine.bql:
        _check(migration)
        migration.check_idle()
        before = machine.runstate
        migration.global_state.store(before)
        machine.vm_stop("save-vm")
        try:
            _write(migration, sink)
            finish()
        except (ChannelError, VMStateError, OSError) as error:
            raise _error(f"Error while writing VM state: {error}") from error
        finally:
            _resume(migration, before)


def _write(migration: Migration, sink: Writable) -> None:
    writer = migration.writer(out := Output(sink))
    try:
        writer.begin()
        writer.setup()
        while not writer.iterate():
            pass
        writer.complete_iterative()
        writer.complete()
        out.flush()
    finally:
        writer.cleanup()


def load(migration: Migration, source: Readable) -> None:
    """Load the machine; it runs if it ran. QmpError, after which it stays stopped, as its state is a mixture."""
    machine = migration.machine
    with machine.bql:
        _check(migration)
        migration.check_idle(loading=True)
        before = machine.runstate
        machine.vm_stop("restore-vm")
        machine.reset()
        try:
            migration.reader(Input(source), ReplyPath(None)).load()
        except LoadError as error:
            lines = explain(error, migration.traits)
            for line in lines[:-1]:
                migration.say(line)
            raise _error(f"Error while loading VM state: {lines[-1]}") from error
        _resume(migration, before)


def _resume(migration: Migration, before: str) -> None:
    if before == "running":
        migration.machine.vm_start()
    else:
        migration.machine.vm_stop(before)
