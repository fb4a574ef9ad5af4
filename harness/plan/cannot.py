# SPDX-License-Identifier: Apache-2.0
"""What a mode cannot do with a guest, a build or a pair of builds, known before anything runs.

1. A cell of it would fail or hang for a reason that is long known and in no later build's power to mend: it is left out
   of the plan, with the reason.
2. What a build refuses in so many words when it is told the mode is no business of this table: that is a result.

Facts: QEMU's changes b405dfff1e, e274188612, b93d897ea2, 5655aab079 and 294e5a4034; what 7.2.22, 10.0.13 and 11.1.3 do is measured.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from migmatrix.harness.model import Role
from migmatrix.harness.pulse.program import cannot_run
from migmatrix.harness.releases import table_line, version_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migmatrix.harness.builds.facts import PreparedBuild
    from migmatrix.harness.model import Guest, Mode

__all__ = ["cannot_guest", "cannot_path", "cannot_start"]

_REFUSES_BOTH: Final = (8, 1)  # the first that refuses multifd together with postcopy
_EVER: Final = (1 << 30,)  # after every version


class _Rule(NamedTuple):
    """Why a capability cannot be used from sources to destinations: each from a version on, to before another.

    `unversioned`: only of machines without versions, for which no compat table sets what the versioned have.
    """

    capability: str
    sources: tuple[tuple[int, ...], tuple[int, ...]]
    destinations: tuple[tuple[int, ...], tuple[int, ...]]
    reason: str
    unversioned: bool = False

    def forbids(self, source: tuple[int, ...], destination: tuple[int, ...]) -> bool:
        """Whether it is about these versions."""
        return (
            self.sources[0] <= source < self.sources[1]
            and self.destinations[0] <= destination < self.destinations[1]
        )


_RULES: Final = (
    _Rule(
        "multifd", ((), (9, 0)), ((9, 2, 0), (9, 2, 0, 0)),
        "{destination} (9.2.0) loses count of the multifd packets that {source} sends",
    ),
    _Rule(  # multifd-flush-after-each-section
        "multifd", ((), (8, 1)), ((8, 1), _EVER),
        "{source} has its channels wait after each section, {destination} only for versioned machines: both wait for ever",
        unversioned=True,
    ),
    _Rule(  # x-preempt-pre-7-2
        "postcopy-preempt", ((8, 0), _EVER), ((), (8, 0)),
        "{source} opens the second channel when the postcopy begins, {destination} waits for it before: both wait for ever",
        unversioned=True,
    ),
)  # fmt: skip


def cannot_guest(mode: Mode, guest: Guest) -> str:
    """Why a mode says nothing with this guest, or empty."""
    if guest.kind != "paused":
        return "a guest that runs changes its memory meanwhile" if mode.memory == "compared" else ""
    if mode.passes:
        return "a paused guest writes nothing: precopy ends with its first pass, and nothing is left for postcopy"
    if "background-snapshot" in mode.side(Role.SOURCE).capabilities:
        return "every version aborts where the guest never ran (invalid runstate transition: 'prelaunch' -> 'paused')"
    return ""


def cannot_start(guest: Guest, machine: str, arguments: Sequence[str], build: PreparedBuild) -> str:
    """Why a guest cannot be on a build, or empty."""
    if guest.kind != "pulse":
        return ""
    if build.provider == "emulator":
        return f"{build.id} is the reference emulator, which runs no code"
    return cannot_run(guest, machine, (*build.args, *arguments))


def cannot_path(mode: Mode, path: Sequence[str], builds: Mapping[str, PreparedBuild], machine: str) -> str:
    """Why no guest of this machine can go this way in this mode, or empty."""
    used = {name for role in Role for name in mode.side(role).capabilities}
    versions = {id_: version_key(builds[id_].facts.version) for id_ in path}
    if used >= {"multifd", "postcopy-ram"} and (old := _takes_both(versions)):
        return f"{old} takes multifd together with postcopy, and crashes or hangs: it is refused from 8.1 on"
    unversioned = not table_line(machine)
    for source, destination in pairwise(path):
        for rule in _RULES:
            told = rule.capability in used and (unversioned or not rule.unversioned)
            if told and rule.forbids(versions[source], versions[destination]):
                return rule.reason.format(source=source, destination=destination)
    return ""


def _takes_both(versions: Mapping[str, tuple[int, ...]]) -> str:
    """The first build that is older than the refusal, or empty."""
    return next((id_ for id_, version in versions.items() if version < _REFUSES_BOTH), "")
