# SPDX-License-Identifier: Apache-2.0
"""What goes over the channel of postcopy-preempt: bare page records of a block `ram`, made and read."""

from __future__ import annotations

__all__ = ["EOS", "record", "without_names"]

EOS = (0x10).to_bytes(8)
_NAME = b"\x03ram"


def record(memory: bytes, number: int, *, named: bool) -> bytes:
    """A page as the first one of its block on a channel (`named`), or a later one."""
    word = number * 4096 | 0x08 | (0 if named else 0x20)
    return word.to_bytes(8) + (_NAME if named else b"") + memory[number * 4096 : number * 4096 + 4096]


def without_names(data: bytes) -> bytes:
    """The same as if all were later ones: before 8.0 it depends on what the background sends whether they are."""
    made, at = b"", 0
    while at < len(data):
        word = int.from_bytes(data[at : at + 8])
        if word == int.from_bytes(EOS):
            return made + data[at:]
        at += 8 if word & 0x20 else 8 + len(_NAME)
        made += (word | 0x20).to_bytes(8) + data[at : at + 4096]
        at += 4096
    return made
