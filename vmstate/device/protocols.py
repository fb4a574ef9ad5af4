# SPDX-License-Identifier: Apache-2.0
"""The interpreter's sides that an `Info` sees, and the input that the interpreter sees.

A caller brings a `Source` of its own to load from something other than bytes, such as a socket. Nothing here
does any work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from migmatrix.vmstate.device.description import VMState
    from migmatrix.vmstate.device.errors import Kind, VMStateError

__all__ = ["Reading", "Source", "Writing"]


class Source(Protocol):
    """Input of a load. `take` and `peek` fall short only at the end of the input."""

    @property
    def offset(self) -> int:
        """Stream offset of the next byte."""

    @property
    def fell_short(self) -> bool:
        """Whether more was asked for, taken or only looked at, than the whole stream has."""

    def take(self, count: int) -> bytes | memoryview:
        """Consume up to `count` bytes."""

    def peek(self, count: int, skip: int = 0) -> bytes:
        """Up to `count` bytes that begin `skip` bytes from here; consumes nothing."""


class Reading(Protocol):
    """The loading side, for custom `Info`s."""

    @property
    def offset(self) -> int:
        """Stream offset of the next byte."""

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes; VMStateError when the input ends before."""

    def number(self, size: int) -> int:
        """An unsigned big-endian number of `size` bytes."""

    def load(self, vmsd: VMState, state: Any, version: int) -> None:
        """Load a whole description into `state`."""

    def error(self, kind: Kind, expected: str, found: str, **facts: Any) -> VMStateError:
        """An error at this position, to raise."""


class Writing(Protocol):
    """The saving side, for custom `Info`s."""

    def put(self, data: bytes) -> None:
        """Append raw bytes."""

    def number(self, value: int, size: int) -> None:
        """Append an unsigned big-endian number of `size` bytes; VMStateError when it does not fit."""

    def save(self, vmsd: VMState, state: Any, version: int | None = None) -> None:
        """Save a whole description, by default at its own version."""

    def error(self, kind: Kind, expected: str, found: str, **facts: Any) -> VMStateError:
        """An error at this position, to raise."""
