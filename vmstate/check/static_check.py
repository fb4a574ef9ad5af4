# SPDX-License-Identifier: Apache-2.0
"""Would one build read what another sends? Two schemas answer, and nothing runs.

QEMU's `vmstate-static-checker.py` asks the same, with more false alarms: this compares the layout on the
wire, so renamed fields, fields moved into structs and version numbers of fields that every save has are no
errors. The VM description of a stream of the same machine and profile tells what a schema does not
(conditional fields, `needed`).

Findings come in the order of the source's schema, then of the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import SequenceMatcher
from enum import StrEnum
from typing import TYPE_CHECKING

from migmatrix.vmstate.check.layout import Leaf, leaves, subsections

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from migmatrix.vmstate.check.schema import Schema, SchemaDescription, SchemaDevice
    from migmatrix.vmstate.view.vmdesc import FieldDesc, VmDesc, VmsdDesc

__all__ = ["Certainty", "Finding", "FindingKind", "Sent", "static_check"]


class FindingKind(StrEnum):
    """What differs."""

    MACHINE = "machine"  # the two schemas are of different machine types
    DEVICE = "device"  # the destination has no such device class
    DESCRIPTION = "description"  # sections are named after another description
    VERSION = "version"
    SUBSECTION = "subsection"
    FIELD = "field"  # other fields at this offset
    SIZE = "size"
    CONDITION = "condition"  # a conditional field that one side has
    NAME = "name"  # other names, same bytes


class Certainty(StrEnum):
    """What follows from a finding.

    `BREAKS`: every save with this section fails to load; `MAY`: it depends on what the schema does not tell;
    `NOTE`: no byte changes.
    """

    BREAKS = "breaks"
    MAY = "may"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. `device` is the class name, `description` the innermost one, `field` may be empty."""

    kind: FindingKind
    certainty: Certainty
    device: str
    description: str
    field: str
    message: str


@dataclass(frozen=True)
class Sent:
    """What a build sent for a machine and profile: the names in its stream's VM description."""

    sections: frozenset[str]  # names of the descriptions of whole sections
    fields: dict[str, frozenset[str]] = field(default_factory=dict)  # by description
    subsections: frozenset[str] = frozenset()

    @classmethod
    def of(cls, desc: VmDesc) -> Sent:
        """From a VM description."""
        fields: dict[str, set[str]] = {}
        subs: set[str] = set()
        for device in desc.devices:
            _collect(device.vmsd, fields, subs)
        frozen = {name: frozenset(names) for name, names in fields.items()}
        return cls(frozenset(device.vmsd.name for device in desc.devices), frozen, frozenset(subs))

    def has_field(self, description: str, name: str) -> bool | None:
        """Whether the stream has the field; None when it never has its description."""
        names = self.fields.get(description)
        return None if names is None else name in names


def _collect(vmsd: VmsdDesc, fields: dict[str, set[str]], subs: set[str]) -> None:
    fields.setdefault(vmsd.name, set()).update(entry.name for entry in vmsd.fields)
    for inner in _structs(vmsd.fields):
        _collect(inner, fields, subs)
    for sub in vmsd.subsections:
        subs.add(sub.name)
        _collect(sub, fields, subs)


def _structs(entries: Sequence[FieldDesc]) -> Iterator[VmsdDesc]:
    return (entry.struct for entry in entries if entry.struct is not None)


def static_check(
    source: Schema,
    destination: Schema,
    *,
    devices: Collection[str] | None = None,
    source_sent: Sent | None = None,
    destination_sent: Sent | None = None,
) -> list[Finding]:
    """Differences that matter for a stream from `source` to `destination`.

    `devices` limits the check to these device classes; `source_sent` to the sections of a stream, and tells,
    as `destination_sent` does for the other side, which conditional fields and subsections there are.
    """
    checker = _Checker(source, destination, source_sent, destination_sent)
    for device in source.devices.values():
        wanted = devices is None or device.name in devices
        if wanted and (source_sent is None or device.description.name in source_sent.sections):
            checker.device(device)
    return checker.findings


class _Checker:
    """One direction; collects findings."""

    def __init__(self, source: Schema, destination: Schema, sent: Sent | None, local: Sent | None) -> None:
        self.findings: list[Finding] = []
        self._destination = destination
        self._sent, self._local = sent, local
        self._counts = source.tells_counts and destination.tells_counts
        self._device = ""
        self._conditions: set[str] = set()  # of this device, reported
        if source.machine != destination.machine:
            message = f"machine types differ: {source.machine!r}, {destination.machine!r}"
            self._add(FindingKind.MACHINE, Certainty.BREAKS, "", "", message)

    def _add(
        self, kind: FindingKind, certainty: Certainty, description: str, name: str, message: str
    ) -> None:
        self.findings.append(Finding(kind, certainty, self._device, description, name, message))

    def device(self, device: SchemaDevice) -> None:
        self._device = device.name
        self._conditions = set()
        theirs = self._counterpart(device)
        if theirs is not None:
            self._description(device.description, theirs.description, device.version_id)

    def _counterpart(self, device: SchemaDevice) -> SchemaDevice | None:
        """The destination's class of that name; else another whose sections have the same name."""
        name = device.description.name
        theirs = self._destination.devices.get(device.name)
        if theirs is not None:
            if theirs.description.name == name:
                return theirs
            message = f"sections are named {name!r}, the destination's {theirs.description.name!r}"
            self._add(FindingKind.DESCRIPTION, Certainty.BREAKS, name, "", message)
            return None
        others = self._destination.by_description.get(name, ())
        certainty = Certainty.MAY if others else Certainty.BREAKS
        hint = f", but {others[0].name!r} has a section of that name" if others else ""
        message = f"the destination has no device {device.name!r}{hint}"
        self._add(FindingKind.DEVICE, certainty, name, "", message)
        return others[0] if others else None

    def _description(self, ours: SchemaDescription, theirs: SchemaDescription, incoming: int) -> None:
        """A section or subsection: the version on the wire, then the fields, then the subsections."""
        if not theirs.minimum_version_id <= incoming <= theirs.version_id:
            reads = f"{theirs.minimum_version_id} to {theirs.version_id}"
            message = f"version {incoming} is sent, {reads} are read"
            self._add(FindingKind.VERSION, Certainty.BREAKS, ours.name, "", message)
            return
        self._fields(leaves(ours, incoming, self._sent), leaves(theirs, incoming, self._local), ours.name)
        known = subsections(theirs)
        for name, sub in subsections(ours).items():
            self._subsection(sub, known.get(name))

    def _subsection(self, ours: SchemaDescription, theirs: SchemaDescription | None) -> None:
        if self._sent is not None and ours.name not in self._sent.subsections:
            return
        if theirs is not None:
            self._description(ours, theirs, ours.version_id)
            return
        certainty = Certainty.MAY if self._sent is None else Certainty.BREAKS
        message = f"the destination has no subsection {ours.name!r}"
        self._add(FindingKind.SUBSECTION, certainty, ours.name, "", message)

    # -- fields ----------------------------------------------------------------------------------

    def _fields(self, ours: list[Leaf], theirs: list[Leaf], description: str) -> None:
        matcher = SequenceMatcher(
            None, [leaf.key for leaf in ours], [leaf.key for leaf in theirs], autojunk=False
        )
        for tag, a, b, c, d in matcher.get_opcodes():
            if tag == "equal":
                for one, other in zip(ours[a:b], theirs[c:d], strict=True):
                    self._same(one, other)
            else:
                self._different(ours[a:b], theirs[c:d], description)

    def _same(self, ours: Leaf, theirs: Leaf) -> None:
        """Same name and size: lengths and conditions may still differ."""
        if self._counts and ours.count != theirs.count:
            message = f"{_times(ours)} of {ours.size} bytes are sent, {_times(theirs)} are read"
            self._add(FindingKind.SIZE, Certainty.BREAKS, ours.description, ours.name, message)
        elif bool(ours.maybe) != bool(theirs.maybe) and (ours.maybe or theirs.maybe) not in self._conditions:
            self._conditions.add(ours.maybe or theirs.maybe)
            message = f"conditional in the {'source' if ours.maybe else 'destination'} only"
            self._add(FindingKind.CONDITION, Certainty.MAY, ours.description, ours.name, message)

    def _different(self, ours: list[Leaf], theirs: list[Leaf], description: str) -> None:
        """A run of leaves without an equal on the other side."""
        first = (ours or theirs)[0]
        holder = first.description or description
        sent, read = _bytes(ours), _bytes(theirs)
        unsure = any(leaf.maybe or not leaf.size for leaf in (*ours, *theirs))
        if not unsure and sent == read:
            message = f"{_names(ours)} became {_names(theirs)}, {sent} bytes both"
            self._add(FindingKind.NAME, Certainty.NOTE, holder, first.name, message)
        elif unsure and _fits(ours, theirs):
            message = f"whether {_names([*ours, *theirs])} are sent and read must agree"
            self._add(FindingKind.CONDITION, Certainty.MAY, holder, first.name, message)
        else:
            same = _names(ours) == _names(theirs)
            short = ours if sent < read else theirs
            hidden = not (self._counts or same) and short  # may hold arrays that are longer than is told
            message = f"{_names(ours)} ({sent} bytes) sent, {_names(theirs)} ({read} bytes) read"
            kind = FindingKind.SIZE if same else FindingKind.FIELD
            self._add(kind, Certainty.MAY if hidden else Certainty.BREAKS, holder, first.name, message)


def _times(leaf: Leaf) -> str:
    return "1 element" if leaf.count is None else f"{leaf.count} elements"


def _bytes(run: list[Leaf]) -> int:
    return sum(leaf.total for leaf in run)


def _fits(ours: list[Leaf], theirs: list[Leaf]) -> bool:
    """Whether both sides can be equally long, by leaving out what is conditional or of unknown size."""
    if any(not leaf.size for leaf in (*ours, *theirs)):
        return True
    least, most = _bytes([leaf for leaf in ours if not leaf.maybe]), _bytes(ours)
    return least <= _bytes(theirs) and _bytes([leaf for leaf in theirs if not leaf.maybe]) <= most


def _names(run: list[Leaf]) -> str:
    return ", ".join(repr(leaf.name) for leaf in run) or "nothing"
