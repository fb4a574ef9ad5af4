# SPDX-License-Identifier: Apache-2.0
"""What the verdict of a cell rests on, as a run directory keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from migmatrix.harness.model import LegEvidence

__all__ = ["Basis"]


@dataclass(frozen=True, slots=True)
class Basis:
    """What a verdict rests on, and what `judge_cell` takes: the legs of the path, the probes by build.

    `key` is that of the path's last leg, run or not: equal keys mean that all legs are equal. `reused` says whether
    every leg was found in the store, done by another run. Runs of before have neither ("" and None).
    """

    legs: tuple[LegEvidence | None, ...]
    probes: Mapping[str, LegEvidence]
    key: str = ""
    reused: bool | None = None

    def keys(self) -> dict[str, Any]:
        """The leg keys, as JSON."""
        return {
            "hops": [None if leg is None else leg.key for leg in self.legs],
            "probes": {build: leg.key for build, leg in self.probes.items()},
            **({"key": self.key} if self.key else {}),
            **({} if self.reused is None else {"reused": self.reused}),
        }

    def evidence(self) -> Iterator[LegEvidence]:
        """All evidence, each once or more."""
        yield from self.probes.values()
        yield from (leg for leg in self.legs if leg is not None)
