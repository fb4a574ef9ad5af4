"""Life-times: what a description is in one release.

`since` is the first release that has an element, `until` the first that has it no more; both may name point
releases (``8.0.1``), which come after their ``8.0``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmstate.description import Field, VMState

__all__ = ["lives", "release_key", "resolve"]


def release_key(release: str) -> tuple[int, ...]:
    """``"8.0.1"`` to ``(8, 0, 1)``; ValueError when it is not numbers and dots."""
    parts = release.split(".")
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"release {release!r} is not numbers and dots")
    return tuple(map(int, parts))


def lives(since: str, until: str, release: str) -> bool:
    """Whether something with this life-time is there in `release`."""
    now = release_key(release)
    return not (since and now < release_key(since)) and not (until and now >= release_key(until))


@lru_cache(maxsize=4096)
def resolve(description: VMState, release: str) -> VMState:
    """`description` as `release` has it: dead elements gone, versions of the time, no life-times left."""
    version, minimum = _versions(description, release)
    fields = tuple(_field(f, release) for f in description.fields if lives(f.since, f.until, release))
    subs = tuple(resolve(s, release) for s in description.subsections if lives(s.since, s.until, release))
    return replace(
        description,
        fields=fields, subsections=subs, version_id=version, minimum_version_id=minimum,
        since="", until="", bumps=(),
    )  # fmt: skip


def _versions(description: VMState, release: str) -> tuple[int, int]:
    passed = [bump for bump in description.bumps if lives(bump.since, "", release)]
    if not passed:
        return description.version_id, description.minimum_version_id
    last = max(passed, key=lambda bump: release_key(bump.since))
    return last.version_id, last.minimum_version_id


def _field(field: Field, release: str) -> Field:
    vmsd = None if field.vmsd is None else resolve(field.vmsd, release)
    key = None if field.key is None else resolve(field.key, release)
    return replace(field, vmsd=vmsd, key=key, since="", until="")
