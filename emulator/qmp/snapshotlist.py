# SPDX-License-Identifier: Apache-2.0
"""`info snapshots` of the human monitor: those that all drives have, then those of one drive only."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from migmatrix.emulator.qmp.words import size_words
from migmatrix.emulator.texts import text

if TYPE_CHECKING:
    from migmatrix.emulator.qcow2 import Snapshot
    from migmatrix.emulator.qmp.table import Call

__all__ = ["snapshot_list"]


def snapshot_list(call: Call) -> list[str]:
    """The lines."""
    found = call.server.snapshots.listed()
    if found is None:
        return [text(call.release, "hmp-info-snapshots")]
    names = [{taken.name for taken in each} for each in found.values()]
    common = set.intersection(*names)
    first = next(iter(found.values()))
    partial = {drive: [s for s in each if s.name not in common] for drive, each in found.items()}
    if not common and not any(partial.values()):
        return ["There is no snapshot available."]
    lines = ["List of snapshots present on all disks:"]
    lines += _table(call.release, [taken._replace(id="--") for taken in first if taken.name in common]) or [
        "None"
    ]
    for drive, each in partial.items():
        if each:
            lines += [
                "",
                f"List of partial (non-loadable) snapshots on '{drive.name}':",
                *_table(call.release, each),
            ]
    return lines


def _table(release: str, rows: list[Snapshot]) -> list[str]:
    line = text(release, "hmp-snapshot-line")
    head = text(release, "hmp-snapshot-head").split("|")
    wide = text(release, "hmp-snapshot-clock")
    empty = text(release, "hmp-snapshot-icount")
    return [line % tuple(head)] * bool(rows) + [
        line % (taken.id, taken.name, size_words(taken.state), _date(taken.date), _clock(taken.clock, wide),
                empty if taken.icount + 1 >> 64 else taken.icount)
        for taken in rows
    ]  # fmt: skip


def _date(ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ns // 10**9))


def _clock(ns: int, wide: str) -> str:
    seconds, left = divmod(ns, 10**9)
    return wide % (seconds // 3600, seconds // 60 % 60, seconds % 60, left // 10**6)
