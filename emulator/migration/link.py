# SPDX-License-Identifier: Apache-2.0
"""A source's connection: the channel, the stream that is written to it, and what comes back."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from migmatrix.emulator.migration.streams import Output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.emulator.migration.channel import Channel
    from migmatrix.emulator.migration.preempt import Urgent
    from migmatrix.emulator.migration.returnpath import ReturnPath

__all__ = ["Link"]


class Link:
    """One connection; `returns` is None until its return path is open, `urgent` until that channel is beside it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.out = Output(channel)
        self.returns: ReturnPath | None = None
        self.urgent: Urgent | None = None

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Nothing that is written meanwhile leaves."""
        self.out.holding = True
        yield
        self.out.holding = False

    def interrupt(self) -> None:
        """Let nobody wait for it any more."""
        self.channel.interrupt()
        if self.urgent is not None:
            self.urgent.interrupt()

    def close(self, *, done: bool) -> None:
        """Close it; unless all is `done`, without waiting for what the destination might say."""
        if not done and self.returns is not None:
            self.interrupt()
            self.returns.finish()
        if self.urgent is not None:
            self.urgent.close()
        self.channel.close()
