# SPDX-License-Identifier: Apache-2.0
"""`-dump-vmstate FILE`: what the devices of a release send, in the JSON form of QEMU's option of that name.

Sizes are those of values on the wire, as there are no C objects here; 0 where only the state can tell.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.errors import FatalError
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.lifetime import resolve

if TYPE_CHECKING:
    from migmatrix.emulator.release import Release
    from migmatrix.vmstate.device.description import Field

__all__ = ["dump"]

# bytes of what is always as long, although no `struct` code describes it: loading checks or converts it
_LENGTHS: Final = {
    "bool": 1, "timer": 8, "int32 le": 4, "int32 equal": 4, "uint8 equal": 1, "uint16 equal": 2, "uint32 equal": 4,
    "int64 equal": 8,
}  # fmt: skip


def dump(release: Release, machine: str, path: str) -> None:
    """Write all device types of `release` that have a description; FatalError when that cannot be."""
    found: dict[str, Any] = {"vmschkmachine": {"Name": machine}}
    for name in sorted(release.devices):
        cls = release.device_class(name)
        if cls is not None and cls.type_name == name and isinstance(cls.vmstate, VMState):
            vmsd = resolve(cls.vmstate, release.name)
            found[name] = {
                "Name": name,
                "version_id": vmsd.version_id,
                "minimum_version_id": vmsd.minimum_version_id,
                "Description": _description(vmsd),
            }
    try:
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib is not for the start
            json.dump(found, file, indent=2)
    except OSError as err:
        raise FatalError(f"-dump-vmstate {path}: Could not open '{path}': {err.strerror}") from err


def _description(vmsd: VMState) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": vmsd.name,
        "version_id": vmsd.version_id,
        "minimum_version_id": vmsd.minimum_version_id,
        "Fields": [_field(field) for field in vmsd.fields if not field.must_exist],
    }
    if vmsd.subsections:
        found["Subsections"] = [_description(sub) for sub in vmsd.subsections]
    return found


def _field(field: Field) -> dict[str, Any]:
    found: dict[str, Any] = {
        "field": field.name,
        "version_id": field.version,
        "field_exists": field.test is not None,
        "size": _size(field),
    }
    if isinstance(field.count, int) and field.count > 1:
        found["num"] = field.count
    if field.vmsd is not None:
        found["Description"] = _description(field.vmsd)
    return found


def _size(field: Field) -> int:
    """Bytes of one element."""
    if field.info is not None and field.info.fmt:
        return struct.calcsize(f">{field.info.fmt}")
    if field.info is not None and field.info.name in _LENGTHS:
        return _LENGTHS[field.info.name]
    if field.vmsd is not None:
        return sum(
            _size(inner) * (inner.count if isinstance(inner.count, int) else 1) for inner in field.vmsd.fields
        )
    return field.size * field.scale if isinstance(field.size, int) else 0
