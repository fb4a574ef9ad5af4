# SPDX-License-Identifier: Apache-2.0
"""The legs of a path: their keys, in order, as every plan makes them, of a matrix's cells or of a trial.

1. A snapshot path of n builds has n legs, the first of which loads nothing; a live path has n - 1, one per migration.
2. A leg's key holds the key of the leg before it, so paths share the legs of their common beginning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from migmatrix.harness.plan.keys import GroupKeys
from migmatrix.harness.plan.records import Leg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migmatrix.harness.model import Guest, Mode

__all__ = ["Legs"]


@dataclass
class Legs:
    """The legs of one machine, profile, argument list, mode and guest.

    `digests` are the `build_digest`s of the builds by id; `legs` is where new legs go, by key.
    """

    machine: str
    profile: str
    arguments: tuple[str, ...]
    mode: Mode
    guest: Guest
    digests: Mapping[str, bytes]
    legs: dict[str, Leg]
    _by_prefix: dict[tuple[str, ...], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._keys = GroupKeys(self.machine, self.arguments, self.mode, self.guest)

    def path(self, path: Sequence[str]) -> tuple[str, ...]:
        """The keys of the legs of a path, which are added to `legs` when they are new."""
        keys: list[str] = []
        for index in range(self.mode.live, len(path)):
            incoming = keys[-1] if keys else None
            prefix = tuple(path[: index + 1])
            key = self._by_prefix.get(prefix)
            if key is None:
                key = self._by_prefix[prefix] = self._add(prefix, incoming)
            keys.append(key)
        return tuple(keys)

    def _add(self, prefix: tuple[str, ...], incoming: str | None) -> str:
        build = prefix[-1]
        source = prefix[-2] if self.mode.live else None
        key = self._keys.key(self.digests[build], incoming, self.digests[source] if source else None)
        if key not in self.legs:
            self.legs[key] = Leg(
                key, build, self.machine, self.profile, self.arguments, self.mode, self.guest,
                incoming=incoming, source=source, index=len(prefix) - 1,
            )  # fmt: skip
        return key
