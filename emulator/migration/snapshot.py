# SPDX-License-Identifier: Apache-2.0
"""savevm and loadvm: the same stream, to and from a file, with the guest stopped.

QEMU keeps a snapshot inside a disk image under a tag. There are no disk images here, so the tag is the file's name.
A snapshot appears under its name only when it is complete.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.channel import Channel, ChannelError
from migmatrix.emulator.migration.faults import LoadError
from migmatrix.emulator.migration.messages import explain
from migmatrix.emulator.migration.returnpath import ReplyPath
from migmatrix.emulator.migration.streams import Input, Output
from migmatrix.vmstate.device.errors import VMStateError

if TYPE_CHECKING:
    from migmatrix.emulator.migration.control import Migration

__all__ = ["load", "save"]


def _error(text: str) -> QmpError:
    return QmpError("GenericError", text)


def save(migration: Migration, tag: str) -> None:
    """Save the machine; it goes on as before. QmpError."""
    machine = migration.machine
    with machine.bql:
        migration.check_idle()
        before = machine.runstate
        migration.global_state.store(before)
        machine.vm_stop("save-vm")
        partial = f"{tag}.{os.getpid()}"
        try:
            _write(migration, partial)
            os.replace(partial, tag)  # noqa: PTH105 - pathlib is not loaded at start
        except (ChannelError, VMStateError, OSError) as error:
            _remove(partial)
            raise _error(f"Error while writing VM state: {error}") from error
        finally:
            _resume(migration, before)


def _write(migration: Migration, path: str) -> None:
    channel = Channel(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o660), "file")
    writer = migration.writer(out := Output(channel))
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
        channel.close()


def load(migration: Migration, tag: str) -> None:
    """Load the machine; it runs if it ran. QmpError, after which it stays stopped, as its state is a mixture."""
    machine = migration.machine
    with machine.bql:
        migration.check_idle(loading=True)
        try:
            channel = Channel(os.open(tag, os.O_RDONLY | os.O_CLOEXEC), "file")
        except OSError as error:
            raise _error(f"Snapshot '{tag}' does not exist in one or more devices") from error
        before = machine.runstate
        machine.vm_stop("restore-vm")
        machine.reset()
        try:
            migration.reader(Input(channel), ReplyPath(None)).load()
        except LoadError as error:
            lines = explain(error, migration.traits)
            for line in lines[:-1]:
                migration.say(line)
            raise _error(f"Error while loading VM state: {lines[-1]}") from error
        finally:
            channel.close()
        _resume(migration, before)


def _remove(path: str) -> None:
    if os.path.exists(path):  # noqa: PTH110 - pathlib is not loaded at start
        os.unlink(path)  # noqa: PTH108 - as above


def _resume(migration: Migration, before: str) -> None:
    if before == "running":
        migration.machine.vm_start()
    else:
        migration.machine.vm_stop(before)
