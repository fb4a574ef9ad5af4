# SPDX-License-Identifier: Apache-2.0
"""From what an emulator printed to the text that patterns are matched against.

Every line loses the program's name; two messages glued together by a missing line end are parted; lines that say
nothing about a failure (role `noise` of the table) are dropped. Long lines and long texts are cut: the time that a
pattern takes grows with the square of a line's length.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from migmatrix.harness.judge.table import Role, load_table

if TYPE_CHECKING:
    from migmatrix.harness.judge.table import Table

__all__ = ["clean"]

# "qemu-system-x86_64: ", "qemu: ", "/usr/bin/qemu-system-x86_64: "; with -msg timestamp=on a date comes first.
_PREFIX = re.compile(r"^(?:\d{4}-\d\d-\d\dT[\d:.]+Z )?(?:[\w./+-]*/)?(?:qemu(?:-[\w.]+)*|kvm): ")
# Far longer than any emulator's message, and than all that one prints for a failure.
_LONGEST_LINE = 1000
_LONGEST_TEXT = 64 << 10
_GLUED = re.compile(r"(?<=\S)(?=qemu-system-\w+: )")


def clean(stderr: str, table: Table | None = None) -> str:
    """The messages of `stderr`, one a line, without prefixes and noise."""
    noise = tuple((table or load_table()).role(Role.NOISE))
    lines = (_PREFIX.sub("", line.strip()) for line in _lines(stderr))
    return "\n".join(line for line in lines if line and not any(p.regex.match(line) for p in noise))


def _lines(stderr: str) -> list[str]:
    # `splitlines` would also cut at the control characters that a guest's console may leave.
    whole = _ends(stderr).replace("\0", "").replace("\r", "").split("\n")
    return [part for line in whole for part in _GLUED.split(line[:_LONGEST_LINE])]


def _ends(text: str) -> str:
    """A long text without its middle: what went wrong stands at its beginning or its end."""
    half = _LONGEST_TEXT // 2
    return text if len(text) <= _LONGEST_TEXT else f"{text[:half]}\n{text[-half:]}"
