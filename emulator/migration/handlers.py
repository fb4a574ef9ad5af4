# SPDX-License-Identifier: Apache-2.0
"""Iterative devices: the nine handlers of a section that is sent in parts while the guest runs.

Source of names and order: "Iterative device migration" in QEMU's `docs/devel/migration/main.rst`. RAM is one such
device (`ram`); another one derives from `IterativeDevice` and is registered by `register_iterative`.

Order on the source: `save_setup`, then, as long as too much is pending, `state_pending_estimate` (cheap, may be
wrong) and `save_live_iterate`; when the estimate is small, `state_pending_exact` (may be expensive); with the guest
stopped `save_live_complete_precopy`; always `save_cleanup`. On the destination: `load_setup`, `load_state` for each
part, always `load_cleanup`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from migmatrix.vmstate.device.registry import LegacyHandlers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migmatrix.emulator.migration.streams import Input, Output
    from migmatrix.vmstate.device.registry import Entry, Registry

__all__ = ["IterativeDevice", "Pending", "iterative", "register_iterative"]


class Pending(NamedTuple):
    """Bytes still to be sent: those that must go by the switch, and those that may follow after it."""

    must_precopy: int = 0
    can_postcopy: int = 0

    @property
    def total(self) -> int:
        """Both together."""
        return self.must_precopy + self.can_postcopy


class IterativeDevice:
    """A section that is sent in parts. Each handler does nothing unless a device has something to do."""

    name = ""
    version_id = 1

    @property
    def is_active(self) -> bool:
        """Whether the section takes part at all."""
        return True

    def save_setup(self, out: Output) -> None:
        """Begin: write what the destination must know first (payload of the START section)."""

    def load_setup(self) -> None:
        """Begin on the destination, before anything is read."""

    def state_pending_estimate(self) -> Pending:
        """How much is left, cheaply."""
        return Pending()

    def state_pending_exact(self) -> Pending:
        """How much is left, after looking at everything that changed."""
        return self.state_pending_estimate()

    def save_live_iterate(self, out: Output) -> bool:
        """Write some more (payload of a PART section); True when nothing is left to write now."""
        raise NotImplementedError

    def save_live_complete_precopy(self, out: Output) -> None:
        """The guest is stopped: write all that is left (payload of the END section)."""
        raise NotImplementedError

    def save_postcopy_prepare(self, out: Output) -> None:
        """A postcopy is about to begin, the guest still runs (payload of a PART section)."""

    def save_postcopy_begin(self) -> list[tuple[str, list[tuple[int, int]]]]:
        """The guest is stopped and goes on elsewhere: what is to be discarded there, by block, as (start, length)."""
        return []

    def save_postcopy_blocks(self) -> Sequence[str]:
        """The link of a postcopy broke: the blocks of memory about which the destination must be asked."""
        return ()

    def save_postcopy_resume(self) -> None:
        """It was asked: begin again with what did not come."""

    def save_live_complete_postcopy(self, out: Output) -> None:
        """Write all that is left of what could come after the switch (payload of the END section)."""

    @property
    def has_postcopy(self) -> bool:
        """Whether its last part comes after the switch of a postcopy."""
        return False

    def load_state(self, source: Input, version: int) -> None:
        """Read one payload, of any of the three."""
        raise NotImplementedError

    def save_cleanup(self) -> None:
        """The migration is over on the source, one way or the other."""

    def load_cleanup(self) -> None:
        """The migration is over on the destination, one way or the other."""


def register_iterative(registry: Registry, device: IterativeDevice) -> Entry:
    """Give `device` a section of its own."""
    return registry.register(LegacyHandlers(device.name, device.version_id, _refuse, _refuse), device)


def iterative(entry: Entry) -> IterativeDevice | None:
    """The iterative device of a section, or None for one that comes whole."""
    return entry.state if isinstance(entry.state, IterativeDevice) else None


def _refuse(*_: Any) -> NoReturn:
    raise TypeError("an iterative section is not saved or loaded at once")
