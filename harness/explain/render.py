# SPDX-License-Identifier: Apache-2.0
"""An explanation for a terminal: short, plain, the answer first."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migmatrix.harness.explain.records import Difference, Explanation, Neighbour, Remedy, Told

__all__ = ["render"]

_DIFFERENCES = 6


def render(found: Explanation) -> Iterator[str]:
    """Lines without line ends."""
    yield found.signature
    yield _row("cell", found.cell)
    yield _row("stands for", f"{_cells(found)}; {found.kind}")
    yield _row("message", found.message)
    if not found.reproduced:
        yield _row("not reproduced", found.reproducer.note)
        return
    yield _row("answer", found.fix.summary)
    yield from _fix(found)
    yield from _reproducer(found)
    if found.machines:
        yield _row("machine", found.machines)
    yield from _where(found.where)
    if found.static:
        yield _row("static", found.static)
    yield from (_row("near", _near(n)) for n in found.neighbours)
    yield from _remedies(found)
    yield _row("cost", f"{found.hops} legs, {found.emulators} machines looked at")


def _cells(found: Explanation) -> str:
    """``8 cells``, or as the report counts: ``10 cells: 8 pairs' and 2 that repeat them``."""
    if not found.repeats:
        return f"{found.cells} cell{'s' * (found.cells != 1)}"
    pairs = "1 pair's" if found.cells == 1 else f"{found.cells} pairs'"
    again = "1 that repeats" if found.repeats == 1 else f"{found.repeats} that repeat"
    return f"{found.cells + found.repeats} cells: {pairs} and {again} {'it' if found.cells == 1 else 'them'}"


def _row(name: str, text: str) -> str:
    return f"  {name:12} {text}"


def _fix(found: Explanation) -> Iterator[str]:
    fix = found.fix
    if fix.stuck_guest:
        yield _row("stuck guest", fix.stuck_guest)
    if fix.new_guests:
        yield _row("new guests", fix.new_guests)
    if fix.compat:
        yield _row("table line", fix.compat)
    if not fix.repairable:
        yield _row("reason", fix.reason)
    yield from (_row("note", caveat) for caveat in fix.caveats)


def _reproducer(found: Explanation) -> Iterator[str]:
    smallest = found.reproducer
    yield _row("reproducer", f"{smallest.machine} {'>'.join(smallest.path)} {smallest.mode} {smallest.guest}")
    yield _row("", shlex.join(smallest.arguments) or "no arguments")
    for build, words in zip(smallest.path, smallest.build_arguments, strict=False):
        yield _row("", f"{build}: {shlex.join(words) or 'no arguments of its own'}")
    yield from (_row("", line) for line in _sides(found.told))
    if smallest.note:
        yield _row("path", smallest.note)
    if smallest.removed:
        yield _row("not needed", "; ".join(smallest.removed))


def _sides(told: Sequence[Told]) -> Iterator[str]:
    """What the mode sets otherwise on each side: ``source: capability xbzrle on``."""
    settings = [one for one in told if one.what != "arguments"]
    for side in ("source", "destination") if settings else ():
        values = ((one, getattr(one, side)) for one in settings)
        texts = [
            f"{one.what} {one.name} {value}" if value else f"no {one.what} {one.name}"
            for one, value in values
        ]
        yield f"{side}: {', '.join(texts)}"


def _where(where: tuple[Difference, ...]) -> Iterator[str]:
    shown = [d for d in where if d.blamed] or list(where)
    for difference in shown[:_DIFFERENCES]:
        values = f"source {difference.source}, destination {difference.destination}"
        yield _row("where", f"{difference.section} {difference.name}: {values}")
    if len(shown) > _DIFFERENCES:
        yield _row("", f"and {len(shown) - _DIFFERENCES} more")


def _near(neighbour: Neighbour) -> str:
    other = f" ({neighbour.signature})" if neighbour.signature and neighbour.verdict != "pass" else ""
    return f"{neighbour.verdict:11} {neighbour.how}: {neighbour.cell}{other}"


def _remedies(found: Explanation) -> Iterator[str]:
    for remedy in found.remedies:
        settings = " ".join(s.text for s in remedy.settings)
        yield _row("property", f"{settings} on the {remedy.side}: {remedy.why}")
        yield _row("verified", _counts(remedy))


def _counts(remedy: Remedy) -> str:
    """``6 healed, 6 passed and still do; 6 of the 6 machines of the run that all builds know``."""
    words = {
        (False, True): "healed",
        (True, True): "passed and still do",
        (True, False): "broken by it",
        (False, False): "do not pass either way",
    }
    counts = Counter(words[row.before == "pass", row.after == "pass"] for row in remedy.rows)
    return f"{', '.join(f'{n} {what}' for what, n in counts.items())}; {remedy.scope}"
