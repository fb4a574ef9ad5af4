"""What a reader's `next_event` returns when there is no event."""

from __future__ import annotations

from enum import Enum

__all__ = ["Signal"]


class Signal(Enum):
    """NEED_DATA: feed more or close. END: the input was closed and everything in it was returned."""

    NEED_DATA = "need data"
    END = "end"
