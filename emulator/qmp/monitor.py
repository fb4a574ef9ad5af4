# SPDX-License-Identifier: Apache-2.0
"""The base of both monitors, QMP and human: named descriptors, and methods that only QMP overrides."""

from __future__ import annotations

from typing import Any

from migmatrix.emulator.errors import QmpError

__all__ = ["Monitor"]


class Monitor:
    """Base of `Session` (QMP) and `HumanSession`."""

    def __init__(self) -> None:
        self.named_fds: dict[str, int] = {}

    def take_fd(self) -> int:
        """The next descriptor that came with the input; QmpError when none did."""
        raise QmpError("GenericError", "No file descriptor supplied via SCM_RIGHTS")

    def negotiate(self, *, oob: bool) -> None:
        """Leave negotiation, with or without commands out of band, if this kind of monitor negotiates."""

    def event(self, message: dict[str, Any]) -> None:
        """Send an event on, if this kind of monitor does."""
