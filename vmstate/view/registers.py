# SPDX-License-Identifier: Apache-2.0
"""Names of what an x86 CPU's section has in arrays: general registers and segments. Source: QEMU `target/i386/cpu.h`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Container

__all__ = ["general_registers", "segment"]

_GENERAL: Final = ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")
_WIDE: Final = 16  # registers of a 64-bit CPU
_SEGMENTS: Final = ("es", "cs", "ss", "ds", "fs", "gs")
_SEGMENT: Final = re.compile(r"env\.segs\[([0-5])\](?:\.|$)")


def _is_x86(section: str, paths: Container[str]) -> bool:
    return section == "cpu" and "env.eip" in paths


def general_registers(section: str, path: str, count: int, paths: Container[str]) -> tuple[str, ...]:
    """Names of the elements of `path` in a section with these `paths`; empty when they have none."""
    if path != "env.regs" or not _is_x86(section, paths) or count not in {len(_GENERAL), _WIDE}:
        return ()
    letter = "r" if count == _WIDE else "e"
    return (*(letter + name for name in _GENERAL), *(f"r{number}" for number in range(8, count)))


def segment(section: str, path: str, paths: Container[str]) -> str:
    """The segment register that a path is in; empty for any other path."""
    found = _SEGMENT.match(path)
    return _SEGMENTS[int(found[1])] if found and _is_x86(section, paths) else ""
