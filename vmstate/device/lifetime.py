# SPDX-License-Identifier: Apache-2.0
"""Life-times: the form of a description in one release.

`since` is the first release that has an element, `until` the first without it; both may name point releases
(``8.0.1``), which come after their ``8.0``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.record import replace

if TYPE_CHECKING:
    from migmatrix.vmstate.device.description import Field, VMState

__all__ = ["lives", "release_key", "resolve"]


@lru_cache(maxsize=1024)
def release_key(release: str) -> tuple[int, ...]:
    """``"8.0.1"`` to ``(8, 0, 1)``; ValueError when it is not numbers and dots."""
    parts = release.split(".")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"release {release!r} is not numbers and dots")
    return tuple(map(int, parts))


def lives(since: str, until: str, release: str) -> bool:
    """Whether `release` has something with this life-time."""
    if not since and not until:
        return True
    now = release_key(release)
    return not (since and now < release_key(since)) and not (until and now >= release_key(until))


_MOST: Final = 4096
_resolved: dict[
    tuple[int, str], tuple[VMState, VMState]
] = {}  # with the description, so that its id stays its own


def resolve(description: VMState, release: str) -> VMState:
    """`description` in `release`: without elements of other releases, with its versions, without life-times.

    One without life-times comes back itself. The cache goes by identity, as comparing a large description
    costs more.
    """
    key = id(description), release
    known = _resolved.get(key)
    if known is None:
        if len(_resolved) >= _MOST:
            _resolved.clear()
        known = _resolved[key] = description, _resolve(description, release)
    return known[1]


def _resolve(description: VMState, release: str) -> VMState:
    version, minimum = _versions(description, release)
    fields = tuple(_field(f, release) for f in description.fields if lives(f.since, f.until, release))
    subs = tuple(resolve(s, release) for s in description.subsections if lives(s.since, s.until, release))
    changed = not _same(fields, description.fields) or not _same(subs, description.subsections)
    if not changed and not (description.since or description.until or description.bumps):
        return description
    return replace(
        description,
        fields=fields, subsections=subs, version_id=version, minimum_version_id=minimum,
        since="", until="", bumps=(),
    )  # fmt: skip


def _same(made: tuple[object, ...], given: tuple[object, ...]) -> bool:
    """Whether all are the very same objects."""
    return [*map(id, made)] == [*map(id, given)]


def _versions(description: VMState, release: str) -> tuple[int, int]:
    passed = [bump for bump in description.bumps if lives(bump.since, "", release)]
    if not passed:
        return description.version_id, description.minimum_version_id
    last = max(passed, key=lambda bump: release_key(bump.since))
    return last.version_id, last.minimum_version_id


def _field(field: Field, release: str) -> Field:
    vmsd = None if field.vmsd is None else resolve(field.vmsd, release)
    key = None if field.key is None else resolve(field.key, release)
    if vmsd is field.vmsd and key is field.key and not (field.since or field.until):
        return field
    return replace(field, vmsd=vmsd, key=key, since="", until="")
