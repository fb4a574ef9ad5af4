# SPDX-License-Identifier: Apache-2.0
"""What findings are rooted in: the devices and options that a smallest command line is left with. Pure.

1. A root names each device with the options that are set on it, properties of built-in devices, and other options; not their
   values, for one option breaks with many.
2. What every command line of a search has is no root, nor are names, what refers to them, and back ends: what is there only
   for something else to refer to.
3. Findings of one root stand together: one change of an emulator often fails in several ways.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from migmatrix.harness.explain.options import device_type, global_property, groups, mentioned, parts
from migmatrix.harness.explore.migratable import OPTION
from migmatrix.harness.releases import machine_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from migmatrix.harness.explain.options import Group
    from migmatrix.harness.explore.findings import Finding

__all__ = ["by_root", "holds", "root_of", "without"]

_AND = " + "
_NAMES = ("id", "node-name", "driver")


def root_of(arguments: Sequence[str], common: Sequence[str], machine: str) -> str:
    """``isa-vga``, ``virtio-gpu-pci,max_outputs``, ``-smp + virtio-blk-pci``; `common` is what every command line has."""
    left = [group for group in groups([*without(arguments, common)]) if group.option != OPTION]
    names = frozenset(name for group in left for name in group.defines)
    used = names & frozenset(word for group in left for word in group.mentions)
    things = Counter(_text(group, names) for group in left if device_type(group) or not group.defines & used)
    words = (f"{text} x {count}" if count > 1 else text for text, count in things.items())
    return _AND.join(words) or f"{machine_parts(machine)[0]} alone"


def holds(root: str, other: str) -> bool:
    """Whether a command line of root `other` has all that `root` names: its devices, each with at least its options."""
    there = [_words(thing) for thing in other.split(_AND)]
    return all(
        any(name == its and options <= more for its, more in there)
        for name, options in map(_words, root.split(_AND))
    )


def without(arguments: Sequence[str], common: Sequence[str]) -> Iterator[str]:
    """The arguments without those that every command line has."""
    given = {group.words for group in groups(common)}
    for group in groups(arguments):
        if group.words not in given:
            yield from group.words


def by_root(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Findings of one root together, in the order of the first of each; one without a root stands alone."""
    found: dict[str, list[Finding]] = {}
    for number, finding in enumerate(findings):
        found.setdefault(finding.root or str(number), []).append(finding)
    return list(found.values())


def _words(thing: str) -> tuple[str, frozenset[str]]:
    """Of ``virtio-gpu-pci,max_outputs x 2`` the device and its options."""
    name, *options = thing.partition(" x ")[0].split(",")
    return name, frozenset(options)


def _text(group: Group, names: frozenset[str]) -> str:
    """Rule 1 of one group."""
    if group.option == "-global":
        return ".".join(global_property(group.value)) or group.text
    options = (
        key for key, value in parts(group.value) if key and key not in _NAMES and not mentioned(value) & names
    )
    type_ = device_type(group)
    if type_:
        return ",".join((type_, *options))
    return " ".join((group.option, ",".join(options))).strip()
