# SPDX-License-Identifier: Apache-2.0
"""Postcopies between real QEMU and the emulator: guests of machine `none`, their memory before and after.

All files are in one directory, `place`, which containers can write to: `before` and `after` are streams of a guest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import needs
from guests import contained, emulated
from migration_machines import fill, memory, none, status, target

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from guests import Guest

__all__ = ["MACHINE", "MIB", "RELEASES", "loaded", "recover", "saved", "side_of", "started"]

MIB = 8
MACHINE = ("-M", "none", "-m", str(MIB))
RELEASES = ("7.2", "10.0", "11.1")


def started(stack: ExitStack, kind: str, release: str, place: Path, *more: str) -> Guest:
    """A guest of machine `none` that waits for a stream, with all that a postcopy needs."""
    return side_of(stack, kind, release, place, *MACHINE, "-incoming", "defer", *more)


def side_of(stack: ExitStack, kind: str, release: str, place: Path, *arguments: str) -> Guest:
    """The emulator or, where `kind` is another word, real QEMU with all that a postcopy needs; skips without its image."""
    if kind == "emulator":
        side = stack.enter_context(emulated(release, *arguments))
    else:
        needs.image(release)
        side = stack.enter_context(contained(release, place, *arguments, userfault=True))
    side.enable("events")
    return side


def saved(release: str, place: Path) -> dict[str, bytes]:
    """Save a guest into `before`; its memory."""
    machine = none(release, mib=MIB)
    fill(machine)
    machine.migration.migrate(f"exec:cat > {place / 'before'}")
    status(machine, "completed")
    return memory(machine)


def loaded(release: str, path: Path) -> dict[str, bytes]:
    """The memory of a guest that was saved."""
    machine = target(release, "-S", mib=MIB)
    machine.migration.incoming(f"exec:cat {path}")
    assert status(machine)["status"] == "completed", machine.said
    return memory(machine)


def recover(source: Guest, destination: Guest, place: Path) -> None:
    """Go on over another link, from `front` to `back`."""
    destination.command("migrate-recover", uri=f"unix:{place / 'back'}")
    source.command("migrate", uri=f"unix:{place / 'front'}", resume=True)
