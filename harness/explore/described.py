# SPDX-License-Identifier: Apache-2.0
"""Which devices have another state in one build than in the next: there the breaks are, so a search begins there.

Builds tell it by ``-dump-vmstate``, which runs no machine. A field of a struct is compared by what is in it, not by its
size: that is the size of a C object, which changes with every release and is not sent.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from migmatrix.harness.compat.static import dumped
from migmatrix.harness.errors import UnusableBuild

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.vmstate.check.schema import Schema, SchemaDescription

__all__ = ["differing", "is_of"]


def differing(
    ages: Sequence[PreparedBuild], machines: Iterable[str], log: Callable[[str], None]
) -> frozenset[str]:
    """Types, of the builds of `ages`, whose description differs from that of the build before.

    The log is told of a build that does not print its descriptions; it differs from none.
    """
    newest = list(machines)[::-1]
    schemas = []
    for build in ages:
        machine = next((m for m in newest if build.facts.knows_machine(m)), None)
        try:
            schemas += [dumped(build, machine)] if machine else []
        except UnusableBuild as err:
            log(f"descriptions are not compared: {err}")
    return frozenset(name for one, two in pairwise(schemas) for name in _unlike(one, two))


def is_of(device: str, described: Iterable[str]) -> bool:
    """Whether a type is one of `described`, or the transport of one: ``virtio-net-pci`` of ``virtio-net-device``."""
    return any(
        device == name or device.startswith(f"{name.removesuffix('-device')}-pci") for name in described
    )


def _unlike(one: Schema, two: Schema) -> Iterable[str]:
    for name, device in two.devices.items():
        before = one.devices.get(name)
        if before is not None and _said(before.description) != _said(device.description):
            yield name


def _said(of: SchemaDescription) -> tuple[object, ...]:
    fields = tuple(
        (
            f.name,
            f.version_id,
            f.conditional,
            f.count,
            f.size if f.description is None else _said(f.description),
        )
        for f in of.fields
    )
    return of.name, of.version_id, of.minimum_version_id, fields, tuple(map(_said, of.subsections))
