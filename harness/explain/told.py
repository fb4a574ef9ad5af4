# SPDX-License-Identifier: Apache-2.0
"""What the two sides of a migration are told otherwise: arguments of their builds, and what the mode sets on each.

1. Arguments are compared by unit: options of one kind and, of devices, type; of objects and backends, their id. A unit
   differs where its words do. What both builds are told is none of this module's business.
2. A unit that the failure does not need is left out on all builds (`without`), so that what is left was seen to matter.
3. `alike` gives all builds, and both sides of the mode, what one side is told. If that passes, the difference is the
   answer, and no version is to blame.
4. A `-global` of a property that tables set, or of one that is for tables and tests alone (``x-``), is no difference: it
   gives a build the defaults of one that nobody packages (`matrices/aer.yaml`). The search for properties answers for
   those. Any other is an argument: it says what the user wants of a device (`romfile`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from migmatrix.harness.compat.lookup import sets_property
from migmatrix.harness.explain.options import device_type, global_property, groups, parts
from migmatrix.harness.explain.records import Told
from migmatrix.harness.trials.records import Side

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.explain.options import Group
    from migmatrix.harness.model import Mode
    from migmatrix.harness.trials.records import Trial

__all__ = ["Unit", "alike", "differing_units", "own_properties", "spelt_out", "told", "without"]

Unit = tuple[str, str, int]  # what it is, its name, and which of several
_CAPABILITY, _PARAMETER = "capability", "parameter"
_DEFAULT = "-global"


def spelt_out(trial: Trial, builds: Mapping[str, PreparedBuild]) -> Trial:
    """The trial whose steps say their builds' arguments themselves, so that they can be changed."""
    steps = (replace(s, args=builds[s.build].args if s.args is None else s.args) for s in trial.path)
    return replace(trial, path=tuple(steps))


def _units(args: Sequence[str]) -> dict[Unit, tuple[Group, ...]]:
    found: dict[Unit, tuple[Group, ...]] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for group in groups(args):
        key = group.option.replace("--", "-", 1), _name(group)
        found[(*key, seen[key])] = (group,)
        seen[key] += 1
    return found


def _name(group: Group) -> str:
    """What tells two groups of one option apart: a device's type, a property's name, else an id."""
    if group.option.lstrip("-") == "global":
        return ".".join(global_property(group.value))
    return device_type(group) or next(iter(sorted(group.defines)), "")


def _text(args: Sequence[str], unit: Unit) -> str:
    text = " ".join(group.text for group in _units(args).get(unit, ()))
    return text[1:] if text.startswith("--") else text  # QEMU takes both for one


def _sides(mode: Mode) -> dict[Unit, tuple[str, str]]:
    """What the mode sets on one side only, or otherwise on the other: source, destination; empty is not set."""
    found: dict[Unit, tuple[str, str]] = {}
    only = set(mode.source_capabilities) ^ set(mode.destination_capabilities)
    for name in sorted(only - set(mode.capabilities)):
        at_source = name in mode.source_capabilities
        found[_CAPABILITY, name, 0] = ("on", "") if at_source else ("", "on")
    source, destination = (
        dict((*mode.parameters, *own)) for own in (mode.source_parameters, mode.destination_parameters)
    )
    for name in sorted({**source, **destination}):
        if source.get(name) != destination.get(name):
            texts = ["" if side.get(name) is None else str(side[name]) for side in (source, destination)]
            found[_PARAMETER, name, 0] = texts[0], texts[1]
    return found


def differing_units(trial: Trial) -> tuple[Unit, ...]:
    """What differs between the last build of a path and any before it, and between the sides of the mode (rule 4)."""
    last = trial.path[-1].args or ()
    every = dict.fromkeys(
        unit for step in trial.path for unit in _units(step.args or ()) if not _is_default(unit)
    )
    own = [u for u in every if any(_text(step.args or (), u) != _text(last, u) for step in trial.path[:-1])]
    return (*own, *_sides(trial.mode))


def _is_default(unit: Unit) -> bool:
    """Whether it gives a build another default (rule 4)."""
    driver, _, name = unit[1].rpartition(".")
    return unit[0] == _DEFAULT and (name.startswith("x-") or sets_property(driver, name))


def own_properties(trial: Trial) -> frozenset[str]:
    """Names of the properties that the builds' own arguments set by `-global`."""
    every = (unit for step in trial.path for unit in _units(step.args or ()) if unit[0] == _DEFAULT)
    return frozenset(unit[1].rpartition(".")[2] for unit in every)


def droppable(trial: Trial) -> tuple[Unit, ...]:
    """All units of the builds' arguments that may be left out, and those of the mode that differ."""
    every = dict.fromkeys(unit for step in trial.path for unit in _units(step.args or ()))
    differing = differing_units(trial)
    kept = [u for u in every if u in differing or u[0] not in ("-m", "-nodefaults")]
    return (*kept, *_sides(trial.mode))


def without(trial: Trial, gone: Collection[Unit]) -> Trial:
    """The trial without some units, on all its builds and both sides."""
    steps = tuple(
        replace(
            step,
            args=tuple(
                word
                for unit, some in _units(step.args or ()).items()
                if unit not in gone
                for group in some
                for word in group.words
            ),
        )
        for step in trial.path
    )
    names = {unit[1] for unit in gone if unit[0] == _CAPABILITY}
    parameters = {unit[1] for unit in gone if unit[0] == _PARAMETER}
    mode = trial.mode
    if names or parameters:
        mode = replace(
            mode,
            source_capabilities=tuple(n for n in mode.source_capabilities if n not in names),
            destination_capabilities=tuple(n for n in mode.destination_capabilities if n not in names),
            parameters=tuple(p for p in mode.parameters if p[0] not in parameters),
            source_parameters=tuple(p for p in mode.source_parameters if p[0] not in parameters),
            destination_parameters=tuple(p for p in mode.destination_parameters if p[0] not in parameters),
        )
    return replace(trial, path=steps, mode=mode)


def alike(trial: Trial, side: Side) -> Trial:
    """The trial whose builds and sides are all told what one side is (rule 3)."""
    at_source = side is Side.SOURCE
    args = trial.path[0 if at_source else -1].args
    mode = trial.mode
    names = mode.source_capabilities if at_source else mode.destination_capabilities
    parameters = mode.source_parameters if at_source else mode.destination_parameters
    return replace(
        trial,
        path=tuple(replace(step, args=args) for step in trial.path),
        mode=replace(
            mode,
            source_capabilities=names,
            destination_capabilities=names,
            source_parameters=parameters,
            destination_parameters=parameters,
        ),
    )


def told(trial: Trial) -> tuple[Told, ...]:
    """The differences for people, in the order in which they were given."""
    last = trial.path[-1].args or ()
    sides = _sides(trial.mode)
    found = []
    for unit in differing_units(trial):
        if unit in sides:
            found.append(Told(unit[0], unit[1], *sides[unit]))
            continue
        here = _text(last, unit)
        there = next(t for step in trial.path[:-1] if (t := _text(step.args or (), unit)) != here)
        found.append(Told("arguments", unit[0], there, here))
    return tuple(found)


def shorter_pairs(trial: Trial) -> list[Trial]:
    """The trial with one option of a device less, on each build that gives it for the same unit."""
    names = dict.fromkeys(
        (unit, key)
        for step in trial.path
        for unit, some in _units(step.args or ()).items()
        if unit[0] == "-device" and not some[0].value.startswith("{")
        for key, _ in parts(some[0].value)
        if key and key not in ("id", "driver")
    )
    return [_without_option(trial, unit, key) for unit, key in names]


def _without_option(trial: Trial, unit: Unit, name: str) -> Trial:
    def words(args: Sequence[str]) -> tuple[str, ...]:
        found: list[str] = []
        for mine, some in _units(args).items():
            for group in some:
                value = group.value
                if mine == unit:
                    left = [(k, v) for k, v in parts(value) if k != name]
                    value = ",".join(f"{k}={v}" if k else v for k, v in left)
                found += [group.option, value] if value else [group.option]
        return tuple(found)

    return replace(trial, path=tuple(replace(s, args=words(s.args or ())) for s in trial.path))
