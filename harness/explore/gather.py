# SPDX-License-Identifier: Apache-2.0
"""Many devices in one guest, each with a change of its own: what passes together need not be tried apart. Pure.

Group testing (R. Dorfman, 1943): most changes break nothing, so a guest with eight of them takes the legs of one.

1. A group has one machine type and one set of builds, and no device twice: neither as a part nor as the place of another.
2. A group that does not pass is tried in parts until each part passes or is one candidate, which is then tried alone: what
   fails among others is never more than a reason to look. A device that a refusal names goes first.
"""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from migmatrix.harness.explore.records import Case

__all__ = ["AGAIN", "SIZE", "gather", "parted"]

SIZE = 8  # cases of a group
AGAIN = 24  # of one of options that another device or family of machine types has taken; a root bus has some thirty slots
_NAMED = ("-device", "-global")


def gather(cases: Iterable[Case], size: int) -> list[list[Case]]:
    """Rule 1: each case in one group of up to `size`, in the order of the first of each; a group may have one only."""
    groups: list[list[Case]] = []
    open_: dict[tuple[str, tuple[str, ...]], list[list[Case]]] = defaultdict(list)
    for case in cases:
        alike = open_[case.machine, case.builds]
        group = next((group for group in alike if not any(_meet(case, other) for other in group)), None)
        if group is None:
            group = []
            groups.append(group)
            alike.append(group)
        group.append(case)
        if len(group) == size:
            alike[:] = [one for one in alike if one is not group]
    return groups


def parted(group: Sequence[Case], said: str) -> list[list[Case]]:
    """Rule 2; `said` is what the emulators printed."""
    named = [case for case in group if any(_names(said, name) for name in _own(case))]
    if len(named) == 1:
        return [named, [case for case in group if case is not named[0]]]
    middle = len(group) // 2
    return [list(group[:middle]), list(group[middle:])]


def _meet(one: Case, other: Case) -> bool:
    return bool(_own(one) & _all(other) or _own(other) & _all(one))


def _own(case: Case) -> set[str]:
    return {part.name for part in case.candidate.parts}


def _all(case: Case) -> set[str]:
    """The names of a case's parts and of the devices that its command line has besides; of machine options the machine."""
    words = case.arguments
    added = {re.split("[,.=]", value)[0] for word, value in pairwise(words) if word in _NAMED}
    return _own(case) | added


def _names(said: str, name: str) -> bool:
    """Whether a message is about an argument with this device, as QEMU quotes it: ``-device NAME,...:``."""
    return re.search(rf"(?:{'|'.join(_NAMED)}) {re.escape(name)}[,:.]", said) is not None
