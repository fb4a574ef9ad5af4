# SPDX-License-Identifier: Apache-2.0
"""The cells of a night as two texts of a line, and back: `axis` (which cells there are) and `cells` (what became of them).

1. Both are JSON, compressed (zlib) and in base64. Nights with the same cells have the same `axis`, which is then
   decoded once; a reader keeps `Axes` for that.
2. A key is cut to `KEY` hex digits: it is compared with that of the same cell on another night only.
3. Whatever is wrong with a text is a ValueError.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.history.records import KEY, NightCell, NightCells
from migmatrix.harness.model import Cell, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Axes", "cells_of", "columns", "pack", "unpack"]

_VERDICTS: Final = {
    "p": Verdict.PASS, "f": Verdict.FAIL, "u": Verdict.UNSUPPORTED, "b": Verdict.BLOCKED, "e": Verdict.ERROR,
}  # fmt: skip
_OUTCOMES: Final = {
    "o": Outcome.OK, "r": Outcome.REGRESSION, "k": Outcome.KNOWN, "w": Outcome.WRONG_FAILURE, "x": Outcome.FIXED,
    "s": Outcome.SKIPPED, "i": Outcome.INCOMPLETE, "y": Outcome.FLAKY,
}  # fmt: skip
_REUSE: Final = {"r": True, "n": False, "-": None}
_PARTS: Final = ("machines", "profiles", "paths", "modes", "guests")


@dataclass(frozen=True)
class _Axis:
    cells: tuple[Cell, ...]
    ids: tuple[str, ...]
    places: dict[str, int]


class Axes:
    """Decoded axes, so that equal ones are one."""

    def __init__(self) -> None:
        self._known: dict[str, _Axis] = {}

    def of(self, text: str) -> _Axis:
        """The axis of a text; ValueError when it is none."""
        if text not in self._known:
            self._known[text] = _read_axis(unpack(text))
        return self._known[text]

    def unpack(self, axis: str, text: str) -> NightCells:
        """The cells of a night; ValueError when the texts do not go together."""
        one, data = self.of(axis), unpack(text)
        try:
            found = NightCells(
                one.cells, one.ids, one.places,
                [_VERDICTS[letter] for letter in data["verdict"]],
                [_OUTCOMES[letter] for letter in data["outcome"]],
                data["signatures"], data["signature"], data["hop"], data["key"],
                [_REUSE[letter] for letter in data["reuse"]],
                {int(index): issue for index, issue in data["issues"].items()},
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError) as err:
            raise ValueError(f"its cells lack {err}") from err
        _check(found)
        return found


def _check(cells: NightCells) -> None:
    each = (cells.verdicts, cells.outcomes, cells.signature, cells.hop, cells.reuse)
    fits = {*map(len, each)} == {len(cells)} and len(cells.keys) == KEY * len(cells)
    if not fits or not all(0 <= number <= len(cells.signatures) for number in cells.signature):
        raise ValueError(f"its columns do not have {len(cells)} cells each")


def _read_axis(data: Any) -> _Axis:
    try:
        machines, profiles, paths, modes, guests = (data[part] for part in _PARTS)
        routes = [tuple(path) for path in paths]
        cells = tuple(
            Cell(machines[m], profiles[p], routes[r], modes[o], guests[g]) for m, p, r, o, g in data["rows"]
        )
    except (KeyError, TypeError, IndexError, ValueError) as err:
        raise ValueError(f"its axis lacks {err}") from err
    ids = tuple(cell.id for cell in cells)
    return _Axis(cells, ids, {id_: index for index, id_ in enumerate(ids)})


def columns(cells: Iterable[NightCell]) -> tuple[str, str]:
    """The texts `axis` and `cells`, of cells in the order of their ids."""
    ordered = sorted(cells, key=lambda cell: cell.id)
    return pack(_axis([cell.cell for cell in ordered])), pack(_columns(ordered))


def cells_of(cells: Iterable[NightCell]) -> NightCells:
    """Some cells as the columns that a line will give back."""
    return Axes().unpack(*columns(cells))


def _axis(cells: Sequence[Cell]) -> dict[str, Any]:
    tables: list[dict[Any, int]] = [{} for _ in _PARTS]
    rows = []
    for cell in cells:
        parts = (cell.machine, cell.profile, cell.path, cell.mode, cell.guest)
        rows.append([table.setdefault(part, len(table)) for table, part in zip(tables, parts, strict=True)])
    return {**{name: list(table) for name, table in zip(_PARTS, tables, strict=True)}, "rows": rows}


def _columns(cells: Sequence[NightCell]) -> dict[str, Any]:
    verdicts, outcomes, reuse = ({v: k for k, v in t.items()} for t in (_VERDICTS, _OUTCOMES, _REUSE))
    signatures = {s: n for n, s in enumerate(sorted({c.signature for c in cells if c.signature}), 1)}
    return {
        "verdict": "".join(verdicts[cell.verdict] for cell in cells),
        "outcome": "".join(outcomes[cell.outcome] for cell in cells),
        "signatures": list(signatures),
        "signature": [signatures[cell.signature] if cell.signature else 0 for cell in cells],
        "hop": [cell.hop or 0 for cell in cells],
        "key": "".join(cell.key[:KEY].ljust(KEY, "-") for cell in cells),
        "reuse": "".join(reuse[cell.reused] for cell in cells),
        "issues": {str(n): cell.known_issue for n, cell in enumerate(cells) if cell.known_issue},
    }


def pack(data: Any) -> str:
    """JSON data as a short text."""
    text = json.dumps(data, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def unpack(text: str) -> Any:
    """Inverse of `pack`; ValueError when `text` is none of its texts."""
    try:
        return json.loads(zlib.decompress(base64.b64decode(text, validate=True)))
    except (binascii.Error, zlib.error, RecursionError) as err:
        raise ValueError(str(err)) from err
