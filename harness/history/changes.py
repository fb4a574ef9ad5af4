# SPDX-License-Identifier: Apache-2.0
"""What is another thing on one night than on an earlier one, of all that may change a verdict.

Builds (content and version), the arguments of profiles, the harness, the judge's patterns, the host's kernel and engine.
What else a leg's key covers (modes, guests, files that arguments name) shows in the key alone: `rest` names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from migmatrix.harness.history.records import BuildRow, Night, NightCell
    from migmatrix.harness.model import Cell

__all__ = ["INSIDE", "Change", "changes_between", "shared_changes"]

INSIDE = ("build", "arguments of build", "profile", "rest")  # what is in a leg's key
_ENVIRONMENT = {"harness": "harness", "patterns": "patterns", "kernel": "host kernel", "engine": "engine"}
_DIGITS = 12


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """`what` (build, arguments of build, profile, harness, patterns, host kernel, engine, rest), which one of them, and both values.

    An empty `before` or `after` means that it was not there.
    """

    what: str
    name: str
    before: str
    after: str

    @property
    def text(self) -> str:
        """``build qemu-next: 9.1.0 (0a1b2c3d4e5f) -> 9.2.0 (...)``, with the package behind the version."""
        named = f"{self.what} {self.name}".rstrip()
        return f"{named}: {self.before or 'not there'} -> {self.after or 'not there'}"


def changes_between(
    before: Night, after: Night, cell: Cell | None = None, *, ends: tuple[NightCell, NightCell] | None = None
) -> list[Change]:
    """What changed from a night to a later one, of what `cell` rests on, by default of all.

    `ends` are the cell on both nights: where its key changed and nothing else is known to have, that is told.
    """
    found = [*_builds(before, after, cell), *_profiles(before, after, cell), *_environment(before, after)]
    inside = any(change.what in INSIDE for change in found)
    if ends is not None and not inside and all(end.key for end in ends) and ends[0].key != ends[1].key:
        found.append(Change("rest", "mode, guest, or a file that arguments name", ends[0].key, ends[1].key))
    return found


def _builds(before: Night, after: Night, cell: Cell | None) -> Iterator[Change]:
    names = dict.fromkeys(cell.path) if cell else {**before.built, **after.built}
    for name in names:
        old, new = before.built.get(name), after.built.get(name)
        if _content(old) != _content(new):
            yield Change("build", name, _told(old), _told(new))
        told, tells = before.arguments.get(name, ""), after.arguments.get(name, "")
        if old and new and told != tells:
            yield Change("arguments of build", name, told[:_DIGITS], tells[:_DIGITS])


def _content(build: BuildRow | None) -> tuple[str, str] | None:
    return (build.version, build.digest) if build else None


def _told(build: BuildRow | None) -> str:
    if build is None:
        return ""
    return f"{build.version} {build.package}".rstrip() + f" ({build.digest[:_DIGITS]})"


def _profiles(before: Night, after: Night, cell: Cell | None) -> Iterator[Change]:
    names = [cell.profile] if cell else {**before.profiles, **after.profiles}
    for name in names:
        old, new = before.profiles.get(name, ""), after.profiles.get(name, "")
        if old != new:
            yield Change("profile", name, old[:_DIGITS], new[:_DIGITS])


def _environment(before: Night, after: Night) -> Iterator[Change]:
    for field, what in _ENVIRONMENT.items():
        old, new = getattr(before.environment, field), getattr(after.environment, field)
        if old != new:
            digits = _DIGITS if field == "patterns" else None
            yield Change(what, "", old[:digits], new[:digits])


def shared_changes(each: Iterable[Iterable[Change]]) -> list[Change]:
    """The changes that all of these have, in the order of the first."""
    first, *others = [list(changes) for changes in each] or [[]]
    return [change for change in first if all(change in other for other in others)]
