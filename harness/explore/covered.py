# SPDX-License-Identifier: Apache-2.0
"""What a shard of a search leaves beside its findings, so that shards can be joined: sets, of which findings.json has counts.

Two shards may have tried the same pair of values or saved the same field; of their counts nobody can tell.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from migmatrix.harness.errors import UserError
from migmatrix.harness.files import plain

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from migmatrix.harness.explore.coverage import Coverage
    from migmatrix.harness.explore.novelty import Seen

__all__ = ["COVERED", "Covered"]

COVERED = "covered.json"

_Value = tuple[str, str, str]  # device, option, value


@dataclass(frozen=True, slots=True)
class Covered:
    """Pairs of values, each with whether a build started it, and the sections and fields that were seen, both sorted."""

    pairs: tuple[tuple[_Value, _Value, bool], ...]
    seen: tuple[str, ...]

    @classmethod
    def of(cls, coverage: Coverage, seen: Seen) -> Covered:
        """Those of a search."""
        pairs = sorted((min(pair), max(pair), started) for pair, started in coverage.pairs.items())
        return cls(tuple(pairs), tuple(sorted(seen.features)))

    @classmethod
    def read(cls, directory: Path) -> Covered:
        """Those that a shard left; UserError when there is no such file, or another's."""
        path = directory / COVERED
        try:
            with plain(path) as file:
                return _COVERED.validate_json(file.read())
        except OSError as err:
            raise UserError(
                f"{str(directory)!r} is no shard of a search: cannot read {COVERED}: {err.strerror}"
            ) from err
        except ValidationError as err:
            raise UserError(f"{str(path)!r} is not what a shard of a search leaves") from err

    @classmethod
    def united(cls, every: Iterable[Covered]) -> Covered:
        """All of several."""
        pairs: dict[tuple[_Value, _Value], bool] = {}
        seen: set[str] = set()
        for one in every:
            for first, second, started in one.pairs:
                pairs[first, second] = pairs.get((first, second), False) or started
            seen.update(one.seen)
        return cls(tuple(sorted((*pair, started) for pair, started in pairs.items())), tuple(sorted(seen)))

    @property
    def counts(self) -> dict[str, int]:
        """Of the pairs, as findings.json has them."""
        return {"tried": len(self.pairs), "started": sum(started for _, _, started in self.pairs)}

    def text(self) -> str:
        """As it is kept."""
        return f"{json.dumps(_COVERED.dump_python(self, mode='json'), separators=(',', ':'))}\n"


_COVERED = TypeAdapter(Covered)
