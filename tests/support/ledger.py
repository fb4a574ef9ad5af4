# SPDX-License-Identifier: Apache-2.0
"""What a long test has done, so that it goes on where it was stopped.

`MIGMATRIX_LEDGER` names a directory; without it nothing is kept. Each finished item is one line, written at once:
a killed run loses the item at hand. An item's name holds the key of its leg, so that a changed build is done again;
after a change of the code under test the directory is to be removed by hand.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["Ledger"]

Record = dict[str, Any]


class Ledger:
    """Finished items by name; `records` are JSON objects. A ledger without a name is not kept."""

    def __init__(self, name: str = "") -> None:
        directory = os.environ.get("MIGMATRIX_LEDGER") if name else None
        self._file = Path(directory) / f"{name}.jsonl" if directory else None
        self.records: dict[str, Record] = dict(self._read())

    def _read(self) -> list[tuple[str, Record]]:
        if self._file is None or not self._file.exists():
            return []
        whole = self._file.read_text().rpartition("\n")[0]  # a last line without its end was cut off
        return [(entry["item"], entry["record"]) for entry in map(json.loads, whole.splitlines())]

    def __contains__(self, item: str) -> bool:
        return item in self.records

    def add(self, item: str, record: Record) -> None:
        """Note a finished item."""
        self.records[item] = record
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a") as out:
            out.write(json.dumps({"item": item, "record": record}) + "\n")
