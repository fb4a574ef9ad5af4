# SPDX-License-Identifier: Apache-2.0
"""What a build's devices send, as the build itself says with ``-dump-vmstate``.

`load_schema` reads the JSON; `Schema` answers by device class or by description name. No dump of QEMU 5.2 to
11.1 tells types, hooks, whether a field is an array of variable length, what `field_exists` and `needed`
test, or anything outside of device classes (timers, CPUs' common part, slirp, RAM). Sizes are those of C
objects, not of the wire. Dumps have no checks (`validate`); they have ``num`` of arrays from 10.0 on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from migmatrix.vmstate.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Schema", "SchemaDescription", "SchemaDevice", "SchemaField", "load_schema"]

MACHINE_KEY: Final = "vmschkmachine"
MAX_DEPTH: Final = 64  # of nested descriptions; QEMU's own do not go beyond 8
_SHORT: Final = 120  # characters of a value in an error
_LIMIT: Final = 1 << 63  # numbers beyond an int64 are not from QEMU


@dataclass(frozen=True, slots=True)
class SchemaField:
    """A field. `size` in bytes of the C object, per element; `count` the dump's ``num``, None without one."""

    name: str
    version_id: int
    conditional: bool  # has a field_exists test, so nothing tells whether a save has it
    size: int
    count: int | None = None
    description: SchemaDescription | None = None

    @property
    def total(self) -> int:
        """Bytes of all elements."""
        return self.size * (1 if self.count is None else self.count)


@dataclass(frozen=True, slots=True)
class SchemaDescription:
    """A description of a section, a struct or a subsection."""

    name: str
    version_id: int
    minimum_version_id: int
    fields: tuple[SchemaField, ...] = ()
    subsections: tuple[SchemaDescription, ...] = ()

    def walk(self) -> Iterator[SchemaDescription]:
        """This description, those of its fields and its subsections, depth first."""
        yield self
        for field in self.fields:
            if field.description is not None:
                yield from field.description.walk()
        for subsection in self.subsections:
            yield from subsection.walk()


@dataclass(frozen=True, slots=True)
class SchemaDevice:
    """A device class (``virtio-net-device``) and the description that names its sections."""

    name: str
    version_id: int
    minimum_version_id: int
    description: SchemaDescription


@dataclass(frozen=True)
class Schema:
    """All device classes of a build, in the dump's order; `machine` is the machine type of the dump."""

    machine: str
    devices: dict[str, SchemaDevice]

    @cached_property
    def by_description(self) -> dict[str, tuple[SchemaDevice, ...]]:
        """Device classes by the name of their description: several may share one."""
        found: dict[str, tuple[SchemaDevice, ...]] = {}
        for device in self.devices.values():
            found[device.description.name] = (*found.get(device.description.name, ()), device)
        return found

    @cached_property
    def tells_counts(self) -> bool:
        """Whether this build's dump gives the length of fixed arrays."""
        every = (d for device in self.devices.values() for d in device.description.walk())
        return any(field.count is not None for description in every for field in description.fields)

    @cached_property
    def conditional(self) -> frozenset[str]:
        """Last steps of the names of all fields that some description has under a condition."""
        every = (d for device in self.devices.values() for d in device.description.walk())
        return frozenset(f.name.rpartition(".")[2] for d in every for f in d.fields if f.conditional)

    def for_section(self, idstr: str) -> tuple[SchemaDevice, ...]:
        """Device classes that a section may belong to, by what follows its path; empty for an unknown one."""
        name = idstr
        while name not in self.by_description:
            _, slash, name = name.partition("/")
            if not slash:
                return ()
        return self.by_description[name]


def load_schema(text: str | bytes) -> Schema:
    """Parse the output of ``-dump-vmstate``; StreamError with the path of the fault."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StreamError(0, "schema", "JSON text", f"found {error}"[:_SHORT]) from error
    members = _object(data, "schema")
    machine = members.get(MACHINE_KEY, {"Name": ""})
    return Schema(
        _text(machine, "Name", f"schema.{MACHINE_KEY}"),
        {name: _device(name, member) for name, member in members.items() if name != MACHINE_KEY},
    )


def _device(name: str, data: Any) -> SchemaDevice:
    path = f"schema.{name}"
    description = _description(_member(data, "Description", path), f"{path}.Description", 0)
    return SchemaDevice(
        _text(data, "Name", path),
        _int(data, "version_id", path),
        _int(data, "minimum_version_id", path),
        description,
    )


def _description(data: Any, path: str, depth: int) -> SchemaDescription:
    if depth > MAX_DEPTH:
        raise StreamError(0, path, f"at most {MAX_DEPTH} levels", "found more")
    fields = _list(data, "Fields", path)
    subsections = _list(data, "Subsections", path)
    return SchemaDescription(
        _text(data, "name", path),
        _int(data, "version_id", path),
        _int(data, "minimum_version_id", path),
        tuple(_field(field, f"{path}.Fields[{at}]", depth) for at, field in enumerate(fields)),
        tuple(
            _description(sub, f"{path}.Subsections[{at}]", depth + 1) for at, sub in enumerate(subsections)
        ),
    )


def _field(data: Any, path: str, depth: int) -> SchemaField:
    inner = _object(data, path).get("Description")
    conditional = _member(data, "field_exists", path)
    if not isinstance(conditional, bool):
        raise _wrong(f"{path}.field_exists", "true or false", conditional)
    return SchemaField(
        _text(data, "field", path),
        _int(data, "version_id", path),
        conditional,
        _size(data, "size", path),
        _size(data, "num", path) if "num" in data else None,
        None if inner is None else _description(inner, f"{path}.Description", depth + 1),
    )


def _object(data: Any, path: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise _wrong(path, "an object", data)
    return data


def _member(data: Any, key: str, path: str) -> Any:
    if key not in _object(data, path):
        raise _wrong(path, f"key {key!r}", sorted(data))
    return data[key]


def _list(data: Any, key: str, path: str) -> list[Any]:
    found = _object(data, path).get(key, [])
    if not isinstance(found, list):
        raise _wrong(f"{path}.{key}", "a list", found)
    return found


def _text(data: Any, key: str, path: str) -> str:
    found = _member(data, key, path)
    if not isinstance(found, str):
        raise _wrong(f"{path}.{key}", "a string", found)
    return found


def _int(data: Any, key: str, path: str) -> int:
    found = _member(data, key, path)
    if isinstance(found, bool) or not isinstance(found, int) or abs(found) >= _LIMIT:
        raise _wrong(f"{path}.{key}", "a number", found)
    return found


def _size(data: Any, key: str, path: str) -> int:
    found = _int(data, key, path)
    if found < 0:
        raise _wrong(f"{path}.{key}", "a number of at least 0", found)
    return found


def _wrong(path: str, expected: str, found: Any) -> StreamError:
    return StreamError(0, path, expected, f"found {found!r}"[:_SHORT])
