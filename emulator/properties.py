# SPDX-License-Identifier: Apache-2.0
"""Properties of devices: kinds of values, how QEMU reads them, what it says when it cannot.

1. A property's value comes as text (`-device`, `-global`, compat tables) or as JSON (`-device {...}`, `qom-set`).
2. A kind reads one or the other, or raises `Mismatch` with the reason; the sentence depends on the reason, on how the
   value came and on the release, and `emulator.texts` has it.
3. What differs between releases is data: `Property.changes`, `since`, `until`.

Parsing rules and texts were taken from QEMU 5.2, 7.2, 10.0 and 11.1 as they answer on the command line.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.errors import PropertyError
from migmatrix.emulator.texts import has_text, text
from migmatrix.vmstate.device.lifetime import lives, release_key
from migmatrix.vmstate.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "BOOL", "INT16", "INT32", "INT64", "LINK", "MAC", "OFF_WORDS", "ON_OFF_AUTO", "ON_WORDS", "PCI_DEVFN", "SIZE",
    "SIZE32", "STRING", "UINT8", "UINT16", "UINT32", "UINT64", "Form", "Kind", "Mismatch", "Property", "enumeration",
]  # fmt: skip


class Form(StrEnum):
    """The form of a value. It decides the grammar of a few kinds and the text of a refusal.

    `TEXT` is what `-global` and compat tables use, `KEYVAL` what `-device` has used since 6.2, `JSON` typed values.
    """

    TEXT = "text"
    KEYVAL = "keyval"
    JSON = "json"

    @classmethod
    def of_device_option(cls, release: str) -> Form:
        """How `-device DRIVER,KEY=VALUE` is read in `release`."""
        return cls.KEYVAL if release_key(release) >= release_key("6.2") else cls.TEXT


class Mismatch(Exception):
    """A value does not fit this kind. `emulator.texts` has the sentence for `reason`; `type` is the word for the kind in it."""

    def __init__(self, reason: str, type_: str = "") -> None:
        super().__init__(f"{reason} {type_}".rstrip())
        self.reason = reason
        self.type = type_


class Kind:
    """A kind of value. `name` is the type that `device-list-properties` prints.

    `read(value, form)` gives the value that the device sees, from text or (with `Form.JSON`) from what JSON had;
    it raises `Mismatch`. `show` gives the JSON value that `qom-get` prints.
    """

    __slots__ = ("name", "read", "show", "zero")

    def __init__(
        self,
        name: str,
        read: Callable[[Any, Form], Any],
        show: Callable[[Any], Any] = lambda value: value,
        zero: Any = None,
    ) -> None:
        self.name = name
        self.read = read
        self.show = show
        self.zero = zero  # the default of a property that names none

    def parse(self, text: str) -> Any:
        """`text` as `-global` and compat tables read it; Mismatch."""
        return self.read(text, Form.TEXT)

    def __repr__(self) -> str:
        return f"Kind({self.name!r})"


class Property(Record):
    """A property of a device type.

    `default` holds until a release of `changes` ((release, default), oldest first) replaces it; None stands for the
    kind's zero. `since` and `until` are the life-time.
    """

    name: str
    kind: Kind
    default: Any = None
    changes: tuple[tuple[str, Any], ...] = ()
    since: str = ""
    until: str = ""
    help: str = ""

    def default_in(self, release: str) -> Any:
        """The type's default in `release`."""
        passed = [default for since, default in self.changes if lives(since, "", release)]
        value = passed[-1] if passed else self.default
        return self.kind.zero if value is None else value

    def read(self, value: Any, form: Form, owner: str, release: str) -> Any:
        """`value` as the device sees it; PropertyError in `release`'s words, in which `owner` is the type's name."""
        try:
            return self.kind.read(value, form)
        except Mismatch as why:
            key = f"property-{why.reason}-{form.value}"
            if not has_text(key):
                key = f"property-{why.reason}"
            said = text(release, key, name=self.name, type=why.type, owner=owner, value=value)
            raise PropertyError(said) from why


ON_WORDS: Final = ("on", "yes", "true", "y")
OFF_WORDS: Final = ("off", "no", "false", "n")


def _read_bool(value: Any, form: Form) -> bool:
    if form is Form.JSON:
        if isinstance(value, bool):
            return value
    elif value in ON_WORDS or value in OFF_WORDS:
        return value in ON_WORDS
    raise Mismatch("bool")


def _digits(text: str) -> int | None:
    """A C literal as `strtoull` with base 0 reads it, sign and leading blanks included; None if it is none."""
    body = text.lstrip(" \t\n\v\f\r")
    sign, body = (body[0], body[1:]) if body[:1] in ("+", "-") else ("", body)
    base = 16 if body[:2] in ("0x", "0X") else 8 if body[:1] == "0" else 10
    body = body[2:] if base == 16 else body  # noqa: PLR2004 - the base
    allowed = "0123456789abcdefABCDEF" if base == 16 else "01234567" if base == 8 else "0123456789"  # noqa: PLR2004
    if not body or body.strip(allowed):
        return None
    return -int(body, base) if sign == "-" else int(body, base)


def _integer(name: str, low: int, high: int, parsed: str, ranged: str) -> Kind:
    """Unsigned ones wrap negative text at 2^64 first, as C does: ``-1`` is the largest uint64."""

    def read(value: Any, form: Form) -> int:
        number = value if form is Form.JSON else _digits(value)
        unread = (
            form is not Form.JSON and isinstance(number, int) and not _fits_64_bits(number, signed=low < 0)
        )
        if isinstance(number, bool) or not isinstance(number, int) or unread:
            raise Mismatch("range" if form is Form.JSON and isinstance(value, str) else "number", parsed)
        wide = number % 2**64 if low == 0 and form is not Form.JSON and number > -(2**64) else number
        if not low <= wide <= high:
            raise Mismatch("range", ranged)
        return wide

    return Kind(name, read, zero=0)


def _fits_64_bits(number: int, *, signed: bool) -> bool:
    """Whether `strtoull` or `strtoll` takes it: the first also negates what it read."""
    return -(2**63) <= number < 2**63 if signed else -(2**64) < number < 2**64


_UNITS: Final = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50, "e": 2**60}


def _read_size(value: Any, form: Form) -> int:
    """Bytes; ``1.5M`` and all suffixes as `qemu_strtosz`; hexadecimal has neither fraction nor suffix."""
    if form is Form.JSON:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64:
            return value
        raise Mismatch("size")
    plain = _digits(value) if value[:2] in ("0x", "0X") else None
    number = plain if plain is not None else _scaled(value)
    if number is None or not 0 <= number < 2**64:
        raise Mismatch("size")
    return number


def _scaled(text: str) -> int | None:
    unit = _UNITS.get(text[-1:].lower(), 0)
    whole, dot, part = (text[:-1] if unit else text).partition(".")
    if not whole.isascii() or not whole.isdigit() or (dot and not part.isdigit()):
        return None
    scale = unit or 1
    return int(whole) * scale + (int(part) * scale // 10 ** len(part) if part else 0)


def _read_size32(value: Any, form: Form) -> int:
    number = _read_size(value, form)
    if number >= 2**32:
        raise Mismatch("range", "uint32_t")
    return number


def _read_string(value: Any, form: Form) -> str:
    if form is Form.JSON and not isinstance(value, str):
        raise Mismatch("string")
    return str(value)


def enumeration(name: str, *values: str) -> Kind:
    """A kind that takes just these words; the first is the default of properties that name none."""

    def read(value: Any, form: Form) -> str:
        if form is Form.JSON and not isinstance(value, str):
            raise Mismatch("string")
        if value not in values:
            raise Mismatch("enum")
        return str(value)

    return Kind(name, read, zero=values[0])


_MAC_BYTES: Final = 6


def _read_mac(value: Any, form: Form) -> bytes:
    text = _read_string(value, form)
    parts = text.split(text[2:3] or ":")
    if len(parts) != _MAC_BYTES or any(len(p) != 2 or _digits("0x" + p) is None for p in parts):  # noqa: PLR2004
        raise Mismatch("value")
    return bytes(int(p, 16) for p in parts)


_SLOTS: Final = 32
_FUNCTIONS: Final = 8


def _read_devfn(value: Any, form: Form) -> int:
    """``06.1``, ``0x6.0x1`` or ``6``, all hexadecimal, to slot * 8 + function; JSON may give that number; -1 is none."""
    if form is Form.JSON and isinstance(value, int) and -1 <= value < _SLOTS * _FUNCTIONS:
        return value
    slot, dot, function = _read_string(value, form).partition(".")
    numbers = [_hexadecimal(slot), _hexadecimal(function) if dot else 0]
    if numbers[0] is None or numbers[1] is None or numbers[0] >= _SLOTS or numbers[1] >= _FUNCTIONS:
        raise Mismatch("value")
    return numbers[0] * _FUNCTIONS + numbers[1]


def _hexadecimal(text: str) -> int | None:
    """As `scanf`'s ``%x`` reads it: libvirt writes the prefix, people do not."""
    return _digits(text if text[:2] in ("0x", "0X") else f"0x{text}")


def _show_devfn(value: int) -> str:
    return "<unset>" if value < 0 else f"{value >> 3:02x}.{value & 7:x}"


BOOL: Final = Kind("bool", _read_bool, zero=False)
UINT8: Final = _integer("uint8", 0, 2**8 - 1, "uint64", "uint8_t")
UINT16: Final = _integer("uint16", 0, 2**16 - 1, "uint64", "uint16_t")
UINT32: Final = _integer("uint32", 0, 2**32 - 1, "uint64", "uint32_t")
UINT64: Final = _integer("uint64", 0, 2**64 - 1, "uint64", "uint64")
INT16: Final = _integer("int16", -(2**15), 2**15 - 1, "int64", "int16_t")
INT32: Final = _integer("int32", -(2**31), 2**31 - 1, "int64", "int32_t")
INT64: Final = _integer("int64", -(2**63), 2**63 - 1, "int64", "int64")
SIZE: Final = Kind("size", _read_size, zero=0)
SIZE32: Final = Kind("size", _read_size32, zero=0)
STRING: Final = Kind("str", _read_string, zero="")
LINK: Final = Kind("link", _read_string, zero="")
ON_OFF_AUTO: Final = enumeration("OnOffAuto", "auto", "on", "off")
MAC: Final = Kind("str", _read_mac, lambda value: ":".join(f"{b:02x}" for b in value), zero=bytes(_MAC_BYTES))
PCI_DEVFN: Final = Kind("str", _read_devfn, _show_devfn, zero=-1)
