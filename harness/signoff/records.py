# SPDX-License-Identifier: Apache-2.0
"""The decision of a sign-off as plain records, and its published form, `decision.json`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import datetime as dt

__all__ = ["Broken", "Decision", "Fate", "Kept", "WaiverNote", "to_json"]

_SOON: Final = 14  # days before its end that a waiver is told


class Fate(StrEnum):
    """What became of a planned cell."""

    PASSED = "passed"
    WAIVED = "waived"
    BROKEN = "broken"
    BLOCKED = "blocked"
    UNSUPPORTED = "unsupported"
    FLAKY = "flaky"
    ERROR = "error"
    NOT_RUN = "not-run"


@dataclass(frozen=True, slots=True)
class Kept:
    """How a requirement fared: cells that it selects, by fate."""

    text: str
    percent: int
    cells: int
    fates: tuple[tuple[str, int], ...]
    kept: bool


@dataclass(frozen=True, slots=True)
class WaiverNote:
    """How a waiver fared. `state` is ``applied``, ``unused`` or ``expired``; `expires` an ISO date, `left` days from then.

    `cells` are those that it takes. `refused` are cells of its selection that it cannot take, as they did not run;
    `others` are cells that fail with another signature.
    """

    id: str
    state: str
    signature: str
    owner: str
    reason: str
    link: str
    expires: str
    left: int
    cells: tuple[str, ...]
    refused: int
    others: int

    @property
    def soon(self) -> bool:
        """Whether it counts, and not for long any more."""
        return 0 <= self.left <= _SOON


@dataclass(frozen=True, slots=True)
class Broken:
    """What does not pass, by signature: how many cells, one of them, and who carries it (waivers' ids, owners)."""

    signature: str
    message: str
    cells: int
    example: str
    carried: int
    carriers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer; `reasons` is empty when the run may be signed. `at` is the moment that it holds for (UTC)."""

    at: dt.datetime
    reasons: tuple[str, ...]
    fates: tuple[tuple[str, str], ...]  # cell id and fate, in the order of the plan
    elsewhere: int
    requirements: tuple[Kept, ...]
    waivers: tuple[WaiverNote, ...]
    broken: tuple[Broken, ...]
    oldest: str  # when the oldest evidence was made, ISO; empty when that is not known

    @property
    def signed(self) -> bool:
        """Whether the policy is met."""
        return not self.reasons

    def count(self, fate: Fate) -> int:
        """Cells of one fate; those of other shards did not run."""
        found = sum(one == fate for _, one in self.fates)
        return found + self.elsewhere * (fate is Fate.NOT_RUN)

    def cells(self, *fates: Fate) -> list[str]:
        """The ids of the cells of some fates."""
        return [cell for cell, fate in self.fates if fate in fates]


def to_json(decision: Decision) -> dict[str, Any]:
    """The published form, `decision.json`."""
    return {
        "at": decision.at.isoformat(),
        "signed": decision.signed,
        "reasons": list(decision.reasons),
        "accounting": {fate.value: decision.count(fate) for fate in Fate},
        "elsewhere": decision.elsewhere,
        "oldest_evidence": decision.oldest,
        "requirements": [
            {"select": k.text, "percent": k.percent, "cells": k.cells, "fates": dict(k.fates), "kept": k.kept}
            for k in decision.requirements
        ],
        "waivers": [
            {
                "id": w.id,
                "state": w.state,
                "signature": w.signature,
                "owner": w.owner,
                "reason": w.reason,
                "link": w.link,
                "expires": w.expires,
                "days_left": w.left,
                "cells": list(w.cells),
                "not_run": w.refused,
                "other_signature": w.others,
            }
            for w in decision.waivers
        ],
        "broken": [
            {
                "signature": b.signature,
                "message": b.message,
                "cells": b.cells,
                "example": b.example,
                "carried": b.carried,
                "carriers": list(b.carriers),
            }
            for b in decision.broken
        ],
        "cells": dict(decision.fates),
    }
