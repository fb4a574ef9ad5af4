# SPDX-License-Identifier: Apache-2.0
"""Whole streams of emulated machines without a transport: what a machine saves, and what it says of one that it is given.

Both are what the threads of a migration do, one step after another, so that a test can change bytes in between.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from migmatrix.emulator.migration import ram_save
from migmatrix.emulator.migration.faults import LoadError
from migmatrix.emulator.migration.messages import explain
from migmatrix.emulator.migration.returnpath import ReplyPath
from migmatrix.emulator.migration.streams import BytesChannel, Input, Output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migration_machines import Box

__all__ = ["Sink", "loaded", "saved"]


class Sink:
    """A channel that keeps what is written."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        """Append a copy."""
        self.data += data


@contextmanager
def _without_haste() -> Iterator[None]:
    """One part takes as long as it takes: on a busy host it would be split."""
    before, ram_save._SLICE = ram_save._SLICE, float("inf")  # type: ignore[misc]  # noqa: SLF001 - no caller sets it
    try:
        yield
    finally:
        ram_save._SLICE = before  # type: ignore[misc]  # noqa: SLF001 - as above


def saved(machine: Box) -> bytes:
    """The machine's stream; the machine is stopped afterwards, as by a migration."""
    sink = Sink()
    writer = machine.migration.writer(Output(sink))
    machine.migration.prepare_save()
    writer.begin()
    writer.setup()
    with _without_haste():
        writer.iterate()
    machine.migration.global_state.store(machine.runstate)
    machine.vm_stop("finish-migrate")
    writer.complete_iterative()
    writer.complete()
    writer.cleanup()
    return bytes(sink.data)


def loaded(machine: Box, data: bytes) -> tuple[int, list[str]]:
    """Exit status and lines of standard error of a destination that is given `data`."""
    try:
        machine.migration.reader(Input(BytesChannel(data)), ReplyPath(None)).load()
    except LoadError as error:
        return 1, machine.said + explain(error, machine.migration.traits)
    return 0, machine.said
