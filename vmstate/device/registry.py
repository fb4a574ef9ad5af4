# SPDX-License-Identifier: Apache-2.0
"""The sections of a machine: registration, names, order, and the search for what a stream names.

1. A section is named ``path/description`` when its device has a path (``0000:00:03.0/virtio-net``), else by
   its description alone; an instance id, counted from 0 unless given, tells equal names apart.
2. Order is priority, highest first, then registration. Ids follow the order of registration.
3. `find` looks for (name, instance id); failing that, for the alias id, or for the name in old streams:
   without the path. QEMU 5.2 to 11.1 do all three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from migmatrix.vmstate.device.description import MigrationPriority, VMState
from migmatrix.vmstate.device.errors import Kind, VMStateError
from migmatrix.vmstate.device.interpret import Saved, save_section
from migmatrix.vmstate.device.load import Loader
from migmatrix.vmstate.device.save import Saver, Style
from migmatrix.vmstate.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from migmatrix.vmstate.device.protocols import Reading, Source, Writing

__all__ = ["Entry", "LegacyHandlers", "Registry"]


class LegacyHandlers(Record):
    """A device without a description: two functions over raw bytes.

    `save_state(writing, state)` always writes the newest version; `load_state(reading, state, version)` reads
    any older one that it knows, and must check that itself, as in QEMU.
    """

    name: str
    version_id: int
    save_state: Callable[[Writing, Any], object]
    load_state: Callable[[Reading, Any, int], object]


class _Compat(NamedTuple):
    name: str
    instance_id: int


class Entry(Record):
    """One registered section, equal only to itself. `alias_id` may be -1 for none, `compat` is the old streams' name."""

    section_id: int
    idstr: str
    instance_id: int
    vmsd: VMState | LegacyHandlers
    state: Any
    alias_id: int = -1
    compat: _Compat | None = None

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    def version_id(self) -> int:
        """The version that a save sends, and the newest that a load accepts."""
        return self.vmsd.version_id

    @property
    def priority(self) -> MigrationPriority:
        """When to send it."""
        return self.vmsd.priority if isinstance(self.vmsd, VMState) else MigrationPriority.DEFAULT

    @property
    def needed(self) -> bool:
        """Whether a save has the section."""
        vmsd = self.vmsd
        return not isinstance(vmsd, VMState) or vmsd.needed is None or bool(vmsd.needed(self.state))

    @property
    def early(self) -> bool:
        """Whether it goes before the iterated sections."""
        return isinstance(self.vmsd, VMState) and self.vmsd.early_setup

    def save(self, *, base: int = 0, style: Style = Style.INDEXED) -> Saved:
        """Payload and entry of the VM description; an old-style one is a single buffer ``data``."""
        if isinstance(self.vmsd, VMState):
            return save_section(self.vmsd, self.state, self.idstr, self.instance_id, base=base, style=style)
        saver = Saver(self.idstr, base, style)
        self.vmsd.save_state(saver, self.state)
        size = len(saver.data)
        fields = [{"name": "data", "size": size, "type": "buffer"}]
        desc = {"name": self.idstr, "instance_id": self.instance_id, "size": size, "fields": fields}
        return Saved(bytes(saver.data), desc)

    def load(self, source: Source, version: int) -> None:
        """Load the payload that begins at `source`; VMStateError when it does not fit."""
        loader = Loader(source, self.idstr)
        if version > self.version_id:
            raise loader.error(
                Kind.SECTION_TOO_NEW, f"version at most {self.version_id}", f"read {version}",
                idstr=self.idstr, incoming=version, local=self.version_id,
            )  # fmt: skip
        if isinstance(self.vmsd, VMState):
            loader.load(self.vmsd, self.state, version)
        else:
            self.vmsd.load_state(loader, self.state, version)

    def answers(self, idstr: str, instance_id: int) -> bool:
        """Whether a stream with these names means this section."""
        if idstr == self.idstr:
            return instance_id in (self.instance_id, self.alias_id)
        if self.compat is None or idstr != self.compat.name:
            return False
        return instance_id in (self.compat.instance_id, self.alias_id)


class Registry:
    """All sections of a machine. Iterating gives them in the order of a save."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._next_id = 0

    def __iter__(self) -> Iterator[Entry]:
        return iter(sorted(self._entries, key=lambda entry: -entry.priority))

    def register(
        self,
        vmsd: VMState | LegacyHandlers,
        state: Any,
        *,
        instance_id: int | None = None,
        path: str = "",
        alias_id: int = -1,
        required_for_version: int = 0,
    ) -> Entry:
        """Add a section. With a `path`, `instance_id` only counts for the name of old streams.

        An alias is for streams older than the description can read without it: ValueError when
        `required_for_version` says that none is left.
        """
        minimum = vmsd.minimum_version_id if isinstance(vmsd, VMState) else 0
        if alias_id != -1 and required_for_version < minimum:
            raise ValueError(
                f"alias of {vmsd.name!r} is for version {required_for_version}, which is not read"
            )
        idstr = f"{path}/{vmsd.name}" if path else vmsd.name
        compat = self._compat(vmsd.name, instance_id) if path else None
        instance = self._instance(idstr) if path or instance_id is None else instance_id
        entry = Entry(self._next_id, idstr, instance, vmsd, state, alias_id, compat)
        self._next_id += 1
        self._entries.append(entry)
        return entry

    def unregister(self, vmsd: VMState | LegacyHandlers, state: Any) -> None:
        """Remove the sections of this description and this very state object, and retire their ids."""
        self._entries = [e for e in self._entries if not (e.vmsd == vmsd and e.state is state)]

    def _instance(self, idstr: str) -> int:
        return max((e.instance_id + 1 for e in self._entries if e.idstr == idstr), default=0)

    def _compat(self, name: str, instance_id: int | None) -> _Compat:
        if instance_id is not None:
            return _Compat(name, instance_id)
        taken = [e.compat.instance_id for e in self._entries if e.compat and e.compat.name == name]
        return _Compat(name, max(taken, default=-1) + 1)

    def find(self, idstr: str, instance_id: int, *, offset: int = 0) -> Entry:
        """The section that a stream means; VMStateError of kind UNKNOWN_SECTION when there is none."""
        for entry in self:
            if entry.answers(idstr, instance_id):
                return entry
        raise VMStateError(
            offset, idstr, f"a section {idstr!r} with instance {instance_id}", "this machine has none",
            Kind.UNKNOWN_SECTION, {"idstr": idstr, "instance": instance_id},
        )  # fmt: skip

    def blockers(self) -> list[Entry]:
        """Sections of devices that block migration."""
        return [e for e in self if isinstance(e.vmsd, VMState) and e.vmsd.unmigratable]

    def to_send(self) -> list[Entry]:
        """Sections that a save needs now, without early ones, in order."""
        return [e for e in self if e.needed and not e.early]
