# SPDX-License-Identifier: Apache-2.0
"""What a mode cannot do with a guest, a build or a pair of builds, known before anything runs.

1. A cell of it would fail or hang for a reason that is long known and in no later build's power to mend: it is left out
   of the plan, with the reason.
2. What a build refuses in so many words when it is told the mode is no business of this table: that is a result.

Facts: QEMU's changes b405dfff1e, e274188612 and b93d897ea2; what 7.2.22, 10.0.13 and 11.1.3 do is measured.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from migmatrix.harness.model import Role
from migmatrix.harness.releases import version_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migmatrix.harness.builds.facts import PreparedBuild
    from migmatrix.harness.model import Guest, Mode

__all__ = ["cannot_guest", "cannot_path"]

_REFUSES_BOTH: Final = (8, 1)  # the first that refuses multifd together with postcopy
_OWN_SYNC: Final = (9, 0)  # the first that sends what multifd channels wait for in packets of its own
_SKIPS_SYNC: Final = (9, 2, 0)  # the only one that does not read the pages in such a packet


def cannot_guest(mode: Mode, guest: Guest) -> str:
    """Why a mode says nothing with this guest, or empty."""
    if guest.kind != "paused":
        return ""
    if mode.passes:
        return "a paused guest writes nothing: precopy ends with its first pass, and nothing is left for postcopy"
    if "background-snapshot" in mode.side(Role.SOURCE).capabilities:
        return "every version aborts where the guest never ran (invalid runstate transition: 'prelaunch' -> 'paused')"
    return ""


def cannot_path(mode: Mode, path: Sequence[str], builds: Mapping[str, PreparedBuild]) -> str:
    """Why no guest can go this way in this mode, or empty."""
    used = {name for role in Role for name in mode.side(role).capabilities}
    if "multifd" not in used:
        return ""
    versions = {id_: version_key(builds[id_].facts.version) for id_ in path}
    if "postcopy-ram" in used and (old := next((i for i in path if versions[i] < _REFUSES_BOTH), "")):
        return f"{old} takes multifd together with postcopy, and crashes or hangs: it is refused from 8.1 on"
    for source, destination in pairwise(path):
        if versions[source] < _OWN_SYNC and versions[destination] == _SKIPS_SYNC:
            return f"{destination} (9.2.0) loses count of the multifd packets that {source} sends"
    return ""
