# SPDX-License-Identifier: Apache-2.0
"""The answer of a reader's `next_event` when there is no event."""

from __future__ import annotations

from enum import Enum

__all__ = ["Signal"]


class Signal(Enum):
    """NEED_DATA: feed more or close. END: the input is closed, and the reader has returned everything in it."""

    NEED_DATA = "need data"
    END = "end"
