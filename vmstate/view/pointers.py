# SPDX-License-Identifier: Apache-2.0
"""Arrays of pointers whose description is wrong, put right with the bytes.

QEMU up to 9.2 writes a null pointer as a byte ``0``, and describes all elements of such an array as it found the first:
when that is null, as structs without fields of one byte. An element that is set has the bytes of its struct, of which
the description says nothing. So an array can be read when all are null, or when the struct is one of `_KNOWN`.

Source: streams of s390x guests of QEMU 7.2, whose channel subsystem has one image at 254; fields from QEMU
`hw/s390x/css.c`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.record import replace
from migmatrix.vmstate.view.vmdesc import DeviceDesc, FieldDesc, VmsdDesc

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = ["correct"]

_NULL: Final = b"0"
_PATH: Final = VmsdDesc(
    "s390_chp_info",
    1,
    (FieldDesc("in_use", "uint8", 1), FieldDesc("type", "uint8", 1), FieldDesc("is_virtual", "uint8", 1)),
)
_KNOWN: Final = {
    ("s390_css", "css"): VmsdDesc("s390_css_img", 1, (FieldDesc("chpids", "struct", 3, 256, None, _PATH),))
}


def correct(device: DeviceDesc) -> Generator[tuple[int, int], bytes, DeviceDesc]:
    """Reads what it must of the payload, as a walk does; the device as it is, with the same description if that is right."""
    fields: list[FieldDesc] = []
    at = 0
    for field in device.vmsd.fields:
        known = _KNOWN.get((device.vmsd.name, field.name))
        if known is None or not field.all_null:
            fields.append(field)
            at += field.total
            continue
        for element in range(field.count or 1):
            null = (yield at, 1) == _NULL
            fields.append(_element(field, element, None if null else known))
            at += fields[-1].size
    if len(fields) == len(device.vmsd.fields):
        return device
    return replace(device, vmsd=replace(device.vmsd, fields=tuple(_joined(fields))))


def _element(field: FieldDesc, index: int, struct: VmsdDesc | None) -> FieldDesc:
    if struct is None:
        return FieldDesc(field.name, "nullptr", 1, 1, index)
    return FieldDesc(field.name, field.type, struct.size, None, index, struct)


def _joined(fields: list[FieldDesc]) -> Iterator[FieldDesc]:
    """Null pointers that follow each other as one entry, as later versions describe them."""
    held: FieldDesc | None = None
    for field in fields:
        if held is not None and held.type == field.type == "nullptr" and held.name == field.name:
            held = replace(held, count=(held.count or 1) + 1)
            continue
        if held is not None:
            yield held
        held = field
    if held is not None:
        yield held
