# SPDX-License-Identifier: Apache-2.0
"""The VM description: JSON after the end of a stream that says what each device section holds.

Nothing else tells how long a payload is, and it comes last: `find_vmdesc` locates it from the end of a file,
`parse_vmdesc` turns it into records, and a reader walks payloads with `VmDesc.delimiter`. Format: keys in
streams of QEMU 5.2 to 11.1; `docs/devel/migration/main.rst` has their purpose.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.record import Record
from migmatrix.vmstate.wire.constants import PAGE_BITS, PAGE_SIZE, SectionType

if TYPE_CHECKING:
    from collections.abc import Generator

    from migmatrix.vmstate.wire.events import SectionStart
    from migmatrix.vmstate.wire.reader import Walk

__all__ = [
    "DeviceDesc",
    "FieldDesc",
    "VmDesc",
    "VmsdDesc",
    "delimit",
    "find_vmdesc",
    "page_size_of",
    "parse_cut_vmdesc",
    "parse_vmdesc",
    "search_vmdesc",
]

MAX_DEPTH: Final = 64  # of nested descriptions; QEMU's own do not go beyond 8
_TAIL: Final = 1 << 16  # bytes first searched from the end
_SHORT: Final = 200  # characters of a value in an error
_LONGEST: Final = 1 << 25  # bytes; 4,096 processors of x86, the most that a machine has, take 25 MB
_BEGIN: Final = rb'(?s)\x00\x06(....)\{\s*"(?:configuration|page_size|devices)"'
_PAGE_SIZE: Final = rb'"page_size":\s*(\d{1,9})\b'


class FieldDesc(Record):
    """One field: `count` elements (None: not an array) of `size` bytes each, subsections included.

    An entry for a single element of an array has its `index`.
    """

    name: str
    type: str
    size: int
    count: int | None = None
    index: int | None = None
    struct: VmsdDesc | None = None

    @property
    def total(self) -> int:
        """Bytes of all elements."""
        return self.size * (1 if self.count is None else self.count)

    @property
    def all_null(self) -> bool:
        """Whether it stands for pointers of which the first is null; see `pointers`."""
        return self.size == 1 and self.struct is not None and not self.struct.fields

    def element(self) -> FieldDesc:
        """One element, as a field without a count."""
        return FieldDesc(self.name, self.type, self.size, None, self.index, self.struct)


class VmsdDesc(Record):
    """A description with the subsections that the stream has."""

    name: str
    version: int
    fields: tuple[FieldDesc, ...]
    subsections: tuple[VmsdDesc, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of the fields, without the subsections."""
        return sum(f.total for f in self.fields)


class DeviceDesc(Record):
    """The payload of one FULL section. `vmsd.name` is empty for an old-style device."""

    name: str
    instance_id: int
    vmsd: VmsdDesc


class VmDesc(Record, attributes=True):
    """A whole description; `configuration` comes from QEMU 10.0 on."""

    page_size: int
    devices: tuple[DeviceDesc, ...]
    configuration: VmsdDesc | None = None

    @cached_property
    def _by_key(self) -> dict[tuple[str, int], list[DeviceDesc]]:
        found: dict[tuple[str, int], list[DeviceDesc]] = {}
        for device in self.devices:
            found.setdefault((device.name, device.instance_id), []).append(device)
        return found

    def find(self, name: str, instance_id: int, nth: int = 0) -> DeviceDesc | None:
        """The `nth` description of a section (a section may come twice); the last one beyond that."""
        found = self._by_key.get((name, instance_id))
        return found[min(nth, len(found) - 1)] if found else None

    def with_device(self, old: DeviceDesc, new: DeviceDesc) -> VmDesc:
        """The same with another description of one section."""
        devices = tuple(new if device is old else device for device in self.devices)
        return VmDesc(self.page_size, devices, self.configuration)

    def delimiter(self) -> Delimit:
        """A delimiter for one reader; it counts sections, so do not share it between streams."""
        return Delimit(self)


class Delimit:
    """Callable for `StreamReader(delimiter=...)`; None for sections without a description."""

    def __init__(self, desc: VmDesc) -> None:
        self._desc = desc
        self._seen: dict[tuple[str, int], int] = {}

    def __call__(self, start: SectionStart) -> Walk | None:
        key = (start.idstr, start.instance_id)
        device = self._desc.find(*key, self._seen.get(key, 0))
        self._seen[key] = self._seen.get(key, 0) + 1
        return None if device is None else delimit(device)


def delimit(device: DeviceDesc) -> Walk:
    """Walk over a payload: fields by their sizes, then exactly the described subsections."""
    return _walk(device.vmsd, 0, device.name)


def _walk(vmsd: VmsdDesc, at: int, path: str) -> Generator[tuple[int, int], bytes, int]:
    at += vmsd.size
    for subsection in vmsd.subsections:
        at = yield from _prefix(subsection, at, path)
        at = yield from _walk(subsection, at, f"{path}/{subsection.name}")
    return at


def _prefix(vmsd: VmsdDesc, at: int, path: str) -> Generator[tuple[int, int], bytes, int]:
    """Check the type, name and version before a subsection's fields; the offset after them."""
    name = vmsd.name.encode("latin-1")
    wanted = bytes((SectionType.SUBSECTION, len(name) & 0xFF)) + name
    found = yield at, len(wanted) + 4
    if found[: len(wanted)] != wanted:
        raise StreamError(at, path, f"subsection {vmsd.name!r}", f"found {found[: len(wanted)]!r}")
    return at + len(wanted) + 4


def _as_on_the_wire(text: str) -> str:
    """Its bytes as latin-1, as all names of this package: QEMU writes UTF-8 into streams, and escapes into JSON."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("latin-1")
    except UnicodeEncodeError:  # half of a pair
        return text.encode("utf-8", "surrogatepass").decode("latin-1")


# -- finding it --------------------------------------------------------------------------------


def find_vmdesc(data: memoryview) -> tuple[int, int] | None:
    """As `_at_the_end`; also in a file of fixed size, where zeros follow the stream."""
    end = _before_zeros(data)
    return _at_the_end(data) or (_at_the_end(data[:end]) if end != len(data) else None)


def search_vmdesc(data: memoryview, start: int) -> tuple[int, int] | None:
    """(offset of its type byte, its length) of what begins as a description after an end byte, from `start` on.

    It may be cut off: then its length reaches beyond the data.
    """
    found = re.search(_BEGIN, data[start:])
    return None if found is None else (start + found.start() + 1, int.from_bytes(found[1]))


def _before_zeros(data: memoryview) -> int:
    """Where the zeros at the end begin."""
    end = len(data)
    while end:
        piece = bytes(data[max(0, end - _TAIL) : end])
        if kept := len(piece.rstrip(b"\0")):
            return end - len(piece) + kept
        end -= len(piece)
    return 0


def _at_the_end(data: memoryview) -> tuple[int, int] | None:
    """(offset of the 0x06 byte, length of the text) of the description that ends `data`, or None.

    The text holds no control bytes, so the last 0x06 0x00-style byte before it can only be in its own five
    bytes of framing; a candidate counts only when its length leads exactly to the end of `data`.
    """
    tail = _TAIL
    while True:
        start = max(0, len(data) - tail)
        found = _candidate(bytes(data[start:]))
        if found is not None:
            return start + found, len(data) - start - found - 5
        if start == 0 or _has_control(data[start:]):
            return None
        tail *= 4


def _candidate(tail: bytes) -> int | None:
    at = len(tail)
    for _ in range(8):  # 0x06 may also be a byte of the length
        at = tail.rfind(b"\x06", 0, at)
        if at < 0:
            return None
        if at + 5 + int.from_bytes(tail[at + 1 : at + 5]) == len(tail) and len(tail) > at + 5:
            return at
    return None


def _has_control(tail: memoryview) -> bool:
    return re.search(rb"[\x00-\x08]", tail) is not None


# -- parsing it --------------------------------------------------------------------------------


def parse_vmdesc(text: bytes | memoryview, offset: int = 0) -> VmDesc:
    """Parse the JSON text; `offset` is its offset in the stream. StreamError when it is malformed."""
    if len(text) > _LONGEST:
        raise StreamError(offset, "vmdescription", f"at most {_LONGEST} bytes", f"found {len(text)}")
    try:
        data = json.loads(bytes(text).decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise StreamError(offset, "vmdescription", "JSON text", f"found {error}"[:_SHORT]) from error
    return _Parser(offset).vmdesc(data)


def parse_cut_vmdesc(text: bytes, offset: int = 0) -> VmDesc:
    """As `parse_vmdesc`, of a text that is cut off: the devices whose description is whole."""
    whole, decoder = text[:_LONGEST].decode("utf-8", "surrogateescape"), json.JSONDecoder()
    at, devices = whole.find('"devices": ['), []
    try:
        while at >= 0:
            device, at = decoder.raw_decode(whole, whole.index("{", at))
            devices.append(device)
    except (ValueError, RecursionError):
        pass  # the one that is cut off
    return _Parser(offset).vmdesc({"page_size": page_size_of(text) or PAGE_SIZE, "devices": devices})


def page_size_of(text: bytes) -> int | None:
    """The target's page size in bytes by a description that need not be whole; None when it is none."""
    found = re.search(_PAGE_SIZE, text)
    return valid_page_size(int(found[1])) if found else None


def valid_page_size(size: int) -> int | None:
    """`size` when it can be that of a target."""
    least, most = PAGE_BITS
    return size if size.bit_count() == 1 and least < size.bit_length() <= most + 1 else None


class _Parser:
    """Checks every key and type; the only state is the offset for errors."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def vmdesc(self, data: Any) -> VmDesc:
        path = "vmdescription"
        devices = self._list(self._get(data, path, "devices"), f"{path}.devices")
        configuration = data.get("configuration")
        return VmDesc(
            self._int(data.get("page_size", PAGE_SIZE), f"{path}.page_size"),
            tuple(self._device(d, f"{path}.devices[{i}]") for i, d in enumerate(devices)),
            None if configuration is None else self._vmsd(configuration, f"{path}.configuration", 0),
        )

    def _device(self, data: Any, path: str) -> DeviceDesc:
        name = self._text(self._get(data, path, "name"), f"{path}.name")
        instance = self._int(self._get(data, path, "instance_id"), f"{path}.instance_id")
        return DeviceDesc(name, instance, self._vmsd(data, path, 0))

    def _vmsd(self, data: Any, path: str, depth: int) -> VmsdDesc:
        if depth > MAX_DEPTH:
            raise StreamError(self._offset, path, f"at most {MAX_DEPTH} levels", "found more")
        fields = self._list(self._get(data, path, "fields"), f"{path}.fields")
        subsections = self._list(data.get("subsections", []), f"{path}.subsections")
        return VmsdDesc(
            self._text(data.get("vmsd_name", ""), f"{path}.vmsd_name"),
            self._int(data.get("version", 0), f"{path}.version"),
            tuple(self._field(f, f"{path}.fields[{i}]", depth) for i, f in enumerate(fields)),
            tuple(self._vmsd(s, f"{path}.subsections[{i}]", depth + 1) for i, s in enumerate(subsections)),
        )

    def _field(self, data: Any, path: str, depth: int) -> FieldDesc:
        inner = self._get(data, path, "name") and (data if "fields" in data else data.get("struct"))
        count, index = data.get("array_len"), data.get("index")
        return FieldDesc(
            self._text(data["name"], f"{path}.name"),
            self._text(self._get(data, path, "type"), f"{path}.type"),
            self._int(self._get(data, path, "size"), f"{path}.size"),
            None if count is None else self._int(count, f"{path}.array_len"),
            None if index is None else self._int(index, f"{path}.index"),
            None if inner is None else self._struct(inner, f"{path}.struct", depth + 1),
        )

    def _struct(self, data: Any, path: str, depth: int) -> VmsdDesc:
        if data == {}:  # of a null pointer, up to 7.2
            return VmsdDesc("", 0, ())
        return self._vmsd(data, path, depth)

    def _get(self, data: Any, path: str, key: str) -> Any:
        if not isinstance(data, dict):
            raise self._wrong(path, "an object", data)
        if key not in data:
            raise self._wrong(path, f"key {key!r}", sorted(map(str, data)))
        return data[key]

    def _list(self, data: Any, path: str) -> list[Any]:
        if not isinstance(data, list):
            raise self._wrong(path, "a list", data)
        return data

    def _text(self, data: Any, path: str) -> str:
        if not isinstance(data, str):
            raise self._wrong(path, "a string", data)
        return data if data.isascii() else _as_on_the_wire(data)

    def _int(self, data: Any, path: str) -> int:
        if isinstance(data, bool) or not isinstance(data, int) or data < 0:
            raise self._wrong(path, "a number of at least 0", data)
        return data

    def _wrong(self, path: str, expected: str, found: Any) -> StreamError:
        return StreamError(self._offset, path, expected, f"found {found!r}"[:_SHORT])
