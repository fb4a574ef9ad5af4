# SPDX-License-Identifier: Apache-2.0
"""qcow2 images for tests: an empty one, and a check of one that shares no code with the emulator.

`problems` counts references by the specification and compares: counts that are wrong, clusters that nobody counts,
`COPIED` hints that lie.
"""

from __future__ import annotations

import struct
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CLUSTER = 0x10000
COPIED = 1 << 63


def create(path: Path, size: int = 1 << 20, data: bytes = b"") -> Path:
    """An image of version 3 with clusters of 64 KiB, whose first cluster holds `data`."""
    head = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        b"QFI\xfb",
        3,
        0,
        0,
        16,
        size,
        0,
        1,
        3 * CLUSTER,
        CLUSTER,
        1,
        0,
        0,
        0,
        0,
        0,
        4,
        104,
    )
    used = 6 if data else 4
    l2 = struct.pack(">Q", (5 * CLUSTER) | COPIED)
    parts = [head, struct.pack(">Q", 2 * CLUSTER), struct.pack(f">{used}H", *[1] * used)]
    parts += [struct.pack(">Q", 4 * CLUSTER | COPIED), l2, data] if data else [bytes(8)]
    path.write_bytes(b"".join(part.ljust(CLUSTER, b"\0") for part in parts))
    return path


def problems(path: Path) -> list[str]:
    """What `qemu-img check` would complain of."""
    raw = path.read_bytes()

    def words(at: int, count: int) -> tuple[int, ...]:
        return struct.unpack_from(f">{count}Q", raw.ljust(at + 8 * count, b"\0"), at)

    l1_size, l1_at, table, clusters, number, at = struct.unpack_from(">IQQIIQ", raw, 36)
    seen: Counter[int] = Counter([0])
    seen.update(range(table // CLUSTER, table // CLUSTER + clusters))
    blocks = list(words(table, clusters * CLUSTER // 8))
    seen.update(block // CLUSTER for block in blocks if block)
    lists, start = [(l1_at, l1_size)], at
    for _ in range(number):
        l1, size, ids, names, *_rest, extra = struct.unpack_from(">QIHHIIQII", raw, at)
        lists.append((l1, size))
        at += -(-(40 + extra + ids + names) // 8) * 8
    seen.update(range(start // CLUSTER, -(-at // CLUSTER)) if number else ())
    hints = []
    for which, (offset, size) in enumerate(lists):
        seen.update(range(offset // CLUSTER, -(-(offset + 8 * size) // CLUSTER)))
        for entry in filter(None, words(offset, size)):
            l2 = entry & 0x00FFFFFFFFFFFE00
            seen[l2 // CLUSTER] += 1
            data = [found for found in words(l2, CLUSTER // 8) if found & 0x00FFFFFFFFFFFE00]
            seen.update((found & 0x00FFFFFFFFFFFE00) // CLUSTER for found in data)
            hints += [(entry, l2)] * (not which) + [
                (found, found & 0x00FFFFFFFFFFFE00) for found in data if not which
            ]
    told = {
        n: count
        for k, block in enumerate(blocks)
        if block
        for n, count in enumerate(struct.unpack_from(f">{CLUSTER // 2}H", raw, block), k * CLUSTER // 2)
        if count
    }
    wrong = [
        f"cluster {n}: {told.get(n, 0)} told, {seen[n]} found"
        for n in {*told, *seen}
        if told.get(n, 0) != seen[n]
    ]
    return wrong + [f"hint {e:#x}" for e, at in hints if bool(e & COPIED) != (seen[at // CLUSTER] == 1)]
