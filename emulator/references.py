# SPDX-License-Identifier: Apache-2.0
"""Properties whose value is the name of something else (`drive=`, `netdev=`, `iothread=`), and addresses of network cards.

A name must stand for what the command line made before. Texts were seen on QEMU 5.2, 7.2 and 10.0; how addresses are
counted is in QEMU's `net/net.c` (`qemu_macaddr_default_if_unset`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from migmatrix.emulator.errors import DeviceError, PropertyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.emulator.device import Device
    from migmatrix.emulator.options.records import Options

__all__ = ["NAMING", "card_address", "check_reference"]

# objects: the property, the start of the kinds of `-object` that it takes, and their common type
_OBJECTS: Final = {
    "iothread": ("iothread", "iothread"),
    "memdev": ("memory-backend-", "memory-backend"),
    "rng": ("rng-", "rng-backend"),
}
NAMING: Final = frozenset(("drive", "netdev", "chardev", *_OBJECTS))
_BASE: Final = bytes.fromhex("5254001234")
_COUNTED: Final = range(0x56, 0xFF)


def check_reference(device: Device, name: str, value: str) -> None:
    """Whether the property `name` of `NAMING` can have `value`; PropertyError or DeviceError."""
    if name in _OBJECTS:
        _check_object(device.machine.options, name, value)
    elif not value and name != "netdev":
        return  # taken back
    elif value not in _names(device.machine.options, name):
        raise PropertyError(f"Property '{device.type_name}.{name}' can't find value '{value}'")
    elif name == "netdev" and any(_uses(other, value) for other in device.machine.walk()):
        raise PropertyError(f"Property '{device.type_name}.{name}' can't take value '{value}', it's in use")


def _uses(device: Device, netdev: str) -> bool:
    return device.realized and device.props.get("netdev") == netdev


def _check_object(options: Options, name: str, value: str) -> None:
    start, common = _OBJECTS[name]
    wanted = value.removeprefix("/objects/")
    kinds = [made.kind for made in options.of("object") if made.id == wanted]
    if value and not kinds:
        raise DeviceError(f"Device '{value}' not found", "DeviceNotFound")
    if value and not kinds[0].startswith(start):
        raise PropertyError(f"Invalid parameter type for '{name}', expected: {common}")


def _names(options: Options, name: str) -> Iterator[str]:
    if name == "chardev":
        yield from (made.id for made in options.chardevs)
    for option in ("blockdev", "drive") if name == "drive" else (name,):
        for made in options.of(option):
            yield made.id
            yield from (value for key, value in made.props if key.endswith(".node-name"))


def card_address(card: Device) -> bytes:
    """The address in `mac`; a card that was given none gets the first of QEMU's that no other card has."""
    if not any(card.props["mac"]):
        taken = {other.props.get("mac") for other in card.machine.walk() if other.realized}
        free = (n for n in _COUNTED if _BASE + bytes([n]) not in taken)
        card.props["mac"] = _BASE + bytes([next(free, 0xFF)])
    address: bytes = card.props["mac"]
    return address
