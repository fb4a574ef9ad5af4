# SPDX-License-Identifier: Apache-2.0
"""How the human monitor says amounts and switches."""

from __future__ import annotations

import math
from typing import Final

__all__ = ["on_off", "size_words"]

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def on_off(state: object) -> str:
    """``on`` or ``off``."""
    return "on" if state else "off"


def size_words(amount: int) -> str:
    """Bytes as three digits and a unit; 1000 of one unit are shown in the next. Source: QEMU's `size_to_str`."""
    step = max(0, (math.frexp(amount / (1000 / 1024))[1] - 1) // 10)
    return f"{amount / (1 << 10 * step):.3g} {_UNITS[step]}"
