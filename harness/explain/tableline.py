# SPDX-License-Identifier: Apache-2.0
"""The `hw_compat_X_Y` line that a remedy or a cure amounts to, or why there is none. Pure.

1. A table line belongs into the newer of the two builds, for machine types up to the older one's release. It is named
   only if the remedy is a difference of values, a switch or a table, if it breaks nothing that passed, and if the two
   builds are of different release lines: tables know releases, not point releases.
2. It names the base type that the property comes from, as QEMU's own lines do. That holds for switches: any other
   value (a file's name, a size, a number) belongs to its device type, or to the base type of its variants alone.
3. If a line of ``compat/`` applies to the machine type and sets another value, no line is named: then the other side is
   not as its release is, perhaps because of its own arguments.
4. The table is the one in which ``compat/`` has this line, else that of the older build's release. A vendor's machine
   type has tables of the vendor's, whose names nobody knows here.
5. A property that a build's own arguments set is no default of that build. A line for it is named only if ``compat/``
   has it: then the build stands in for one whose default it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migmatrix.harness.compat.lookup import known_entry, table_entries
from migmatrix.harness.compat.values import normal, same
from migmatrix.harness.releases import NO_TABLES, hw_compat_name, line, table_line, version_key
from migmatrix.harness.trials.records import Side

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.explain.records import Cure, Remedy
    from migmatrix.harness.trials.qom import MachineView
    from migmatrix.harness.trials.records import Setting

__all__ = ["TableLine", "line_type", "of_cure", "of_remedies", "release_of"]


@dataclass(frozen=True, slots=True)
class TableLine:
    """The line, or ``none: `` and the reason, for people; `devices` are the types that the line names."""

    text: str
    devices: frozenset[str] = frozenset()


def line_type(view: MachineView, setting: Setting) -> str:
    """The type that a line for a setting names (rule 2)."""
    owner = view.owner(setting.type, setting.name)
    is_switch = normal(setting.value) in ("on", "off", "auto")
    variants = owner.endswith("-base") and setting.type.startswith(owner.removesuffix("-base"))
    return owner if is_switch or variants else setting.type


def _none(reason: str) -> TableLine:
    return TableLine(f"none: {reason}")


def release_of(builds: Mapping[str, PreparedBuild], build: str) -> tuple[int, ...]:
    """The release line of a build, (10, 0) for 10.0.13."""
    return line(builds[build].facts.version)


def of_remedies(
    builds: Mapping[str, PreparedBuild],
    machine: str,
    route: Sequence[str],
    remedies: Sequence[Remedy],
    base_types: Mapping[str, tuple[str, ...]],
    own: Collection[str] = (),
) -> TableLine:
    """The line for the newer build of `route`, or why there is none (rules 1 and 5); `own` are names of properties."""
    old, new = sorted((route[0], route[-1]), key=lambda b: version_key(builds[b].facts.version))
    mine = (Side.DESTINATION,) if new == route[-1] else (Side.SOURCE, Side.BOTH)
    remedy = next((r for r in remedies if r.side in mine), None)
    older, newer = builds[old].facts.version, builds[new].facts.version
    if why := _no_table(older, newer):
        return _none(why)
    if remedy is None or remedy.side is Side.BOTH:
        return _none(f"no setting on the newer side, {new}, is the remedy")
    if remedy.basis in ("number", "default"):
        return _none(_REASONS[remedy.basis])
    if remedy.breaks:
        return _none("the setting breaks a direction that passes without it")
    if against := next(_against(machine, remedy.settings, base_types), ""):
        return _none(against)
    guess = (
        f"in {hw_compat_name(older)} of {newer} (or the table of the last release that behaved like {old})"
        if table_line(machine)
        else f"in the table that {new} has for {machine}, if it has one: {NO_TABLES}"
    )
    return _lines(remedy, base_types, own, guess)


def _lines(
    remedy: Remedy, base_types: Mapping[str, tuple[str, ...]], own: Collection[str], guess: str
) -> TableLine:
    """The lines of a remedy, each with its table; `guess` is where one belongs that ``compat/`` has not (rules 4, 5)."""
    owners = remedy.owners or tuple(s.type for s in remedy.settings)
    found = []
    for setting, owner in zip(remedy.settings, owners, strict=True):
        made, where = _line(setting, owner, base_types)
        if not where and setting.name in own:
            return _none(_OWN.format(setting.name))
        found.append((made, where or guess))
    return TableLine(
        "; ".join(f"{made.text} {where}" for made, where in found),
        frozenset[str]().union(*(made.devices for made, _ in found)),
    )


def _no_table(older: str, newer: str) -> str:
    """Why no table of the newer version is about the older one; empty when one is."""
    if not line(older):
        return f"{older} is of no release line, so no table is named after it"
    return f"{older} and {newer} have the same machine types and tables" if line(older) == line(newer) else ""


def _against(
    machine: str, settings: Sequence[Setting], base_types: Mapping[str, tuple[str, ...]]
) -> Iterator[str]:
    """Lines for this machine type that set a property otherwise (rule 3)."""
    for setting in settings:
        for version, entry in table_entries(machine, base_types.get(setting.type, (setting.type,))):
            if entry.property == setting.name and not same(entry.value, setting.value):
                text = f'{{ "{entry.device}", "{entry.property}", "{entry.value}" }}'
                yield f"QEMU has {text} in {hw_compat_name(version)}"


_OWN = "{} is an argument of a build of this matrix, not a default of a version"
_REASONS = {
    "number": "the setting makes room for a value that the source should not have sent",
    "default": "the setting takes back a line that the tables have",
}


def of_cure(
    builds: Mapping[str, PreparedBuild],
    cure: Cure,
    base_types: Mapping[str, tuple[str, ...]],
    own: Collection[str] = (),
) -> str:
    """The line that makes the cured build do without, or why there is none (rule 5)."""
    made, where = _line(cure.healthy, cure.owner, base_types)
    if not where and cure.healthy.name in own:
        return _none(_OWN.format(cure.healthy.name)).text
    here = f"{cure.build} ({builds[cure.build].facts.version})"
    return f"{made.text} {where or 'in a table for this machine type'}; {here} has it in effect, {cure.instead_of} has not"


def _line(setting: Setting, owner: str, base_types: Mapping[str, tuple[str, ...]]) -> tuple[TableLine, str]:
    """The line itself, and where QEMU has it if ``compat/`` knows."""
    types = base_types.get(setting.type, (setting.type,))
    known = known_entry(types, setting.name, setting.value)
    device = known[1].device if known else owner
    made = TableLine(f'{{ "{device}", "{setting.name}", "{setting.value}" }}', frozenset({device}))
    if known is None:
        return made, ""
    version, entry = known
    since = f", where QEMU has it since {entry.shipped}" if entry.shipped else ", where QEMU has it"
    return made, f"in {hw_compat_name(version)}{since}"
