# SPDX-License-Identifier: Apache-2.0
"""Which of the builds at hand is the first that fails, on each side of the failing pair. Pure; by version, not by date."""

from __future__ import annotations

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
        return tuple(_line("a build with itself", own, facts))
    into = [(id_, pairs.get((source, id_))) for id_ in facts.by_age]
    out_of = [(id_, pairs.get((id_, destination))) for id_ in facts.by_age]
    name = {id_: facts.builds[id_].facts.version for id_ in (source, destination)}
    return (
        *_line(f"destination of {name[source]}", into, facts),
        *_line(f"source into {name[destination]}", out_of, facts),
    )


def _line(role: str, row: Sequence[tuple[str, CellResult | None]], facts: Facts) -> Iterator[str]:
    """``destination of 7.2.22: first bad 10.0.2; the newest before it that passes is 7.2.22``."""
    failing = [id_ for id_, result in row if result is not None and result.verdict is Verdict.FAIL]
    passing = [id_ for id_, result in row if result is not None and result.verdict is Verdict.PASS]
    if not failing:
        return
    order = facts.by_age
    bad = failing[0]
    before = [id_ for id_ in passing if order.index(id_) < order.index(bad)]
    after = [id_ for id_ in passing if order.index(id_) > order.index(bad)]
    version = {id_: facts.builds[id_].facts.version for id_ in order}
    good = f"the newest before it that passes is {version[before[-1]]}" if before else "none before it passes"
    later = f"; passes again with {', '.join(version[id_] for id_ in after)}" if after else ""
    yield f"{role}: first bad of the builds at hand is {version[bad]}; {good}{later}"
