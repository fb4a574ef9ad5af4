# SPDX-License-Identifier: Apache-2.0
"""Which of the builds at hand is the first bad one, on each side of the failing pair. Pure; by version, not by date.

It is the oldest of those that fail without one that passes between them and the build of the failing pair.
"""

from __future__ import annotations

from itertools import groupby, takewhile
from typing import TYPE_CHECKING

from migmatrix.harness.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migmatrix.harness.model import CellResult
    from migmatrix.harness.upstream.facts import Facts

__all__ = ["first_bad"]


def first_bad(facts: Facts) -> tuple[str, ...]:
    """One line for each side; of a build with itself one line in all."""
    assert facts.attempt is not None  # noqa: S101 - of a failure that came again
    steps = facts.attempt.trial.path
    source, destination = steps[0].build, steps[-1].build
    pairs = facts.pairs or {}
    if source == destination:
        own = [(id_, pairs.get((id_, id_))) for id_ in facts.by_age]
        return tuple(_line("a build with itself", own, source, facts))
    into = [(id_, pairs.get((source, id_))) for id_ in facts.by_age]
    out_of = [(id_, pairs.get((id_, destination))) for id_ in facts.by_age]
    name = {id_: facts.builds[id_].facts.version for id_ in (source, destination)}
    return (
        *_line(f"destination of {name[source]}", into, destination, facts),
        *_line(f"source into {name[destination]}", out_of, source, facts),
    )


def _line(role: str, row: Sequence[tuple[str, CellResult | None]], build: str, facts: Facts) -> Iterator[str]:
    """``destination of 7.2.22: 10.0.2 (7.2.22 passes); by age: pass 5.2.0, 7.2.22; fail 10.0.2, 10.0.13``."""
    known = [(id_, result.verdict) for id_, result in row if result is not None]
    version = {id_: facts.builds[id_].facts.version for id_, _ in known}
    ids = [id_ for id_, _ in known]
    older = known[: ids.index(build) + 1][::-1]
    alike = list(takewhile(lambda pair: pair[1] is not Verdict.PASS, older))
    if not alike:
        return
    bad = alike[-1][0]
    good = (
        f"{version[older[len(alike)][0]]} passes"
        if len(alike) < len(older)
        else "no older one at hand passes"
    )
    runs = (
        f"{verdict.value} {', '.join(version[id_] for id_, _ in some)}"
        for verdict, some in groupby(known, key=lambda pair: pair[1])
    )
    yield f"{role}: {version[bad]} ({good}); by age: {'; '.join(runs)}"
