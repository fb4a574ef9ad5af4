# SPDX-License-Identifier: Apache-2.0
"""QEMU's texts that differ between releases, with life-times; `text(release, key)` finds one.

Texts about a property's value are here too, even where releases agree: `emulator.properties` takes the key
``property-REASON-FORM``, or ``property-REASON`` if the form has no key of its own.

Each entry lists (first release that says it, template), oldest first; "" is "from the beginning". Seen on QEMU
5.2, 7.2, 10.0 and 11.1; a change between two of them is dated with the first release of the range that is not
known to be otherwise, and marked (by 7.2) and the like.
"""

from __future__ import annotations

from typing import Final

from migmatrix.vmstate.device.lifetime import lives

__all__ = ["has_text", "signed", "text"]

_SIZE_HELP: Final = (
    "Parameter '{name}' expects a non-negative number below 2^64\n"
    "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively."
)
_ENUM: Final = (
    ("", "Invalid parameter '{value}'"),
    ("6.0", "Parameter '{name}' does not accept value '{value}'"),
)
_TEXTS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "enum": _ENUM,
    "property-enum": _ENUM,
    "memory-backend-size": (
        ("", "Size specified by -m option must match size of explicitly specified 'memory-backend' property"),
        ("6.0", "Machine memory size does not match the size of the memory backend"),
    ),
    "property-bool": (("", "Parameter '{name}' expects 'on' or 'off'"),),
    "property-bool-json": (("", "Invalid parameter type for '{name}', expected: boolean"),),
    "property-number": (("", "Parameter '{name}' expects {type}"),),
    "property-number-keyval": (("", "Parameter '{name}' expects integer"),),
    "property-number-json": (("", "Invalid parameter type for '{name}', expected: integer"),),
    "property-range": (("", "Parameter '{name}' expects {type}"),),
    "property-size": (("", _SIZE_HELP),),
    "property-size-keyval": (("", "Parameter '{name}' expects size"),),
    "property-size-json": (("", "Invalid parameter type for '{name}', expected: integer"),),
    "property-string": (("", "Invalid parameter type for '{name}', expected: string"),),
    "property-value": (("", "Property '{owner}.{name}' doesn't take value '{value}'"),),
    "machine": (
        ("", "unsupported machine type\nUse -machine help to list supported machines"),
        ("8.0", 'unsupported machine type: "{name}"\nUse -machine help to list supported machines'),
    ),
    "machine-deprecated": (
        ("", "Machine type '{name}' is deprecated: {reason}"),
        ("6.0", "warning: Machine type '{name}' is deprecated: {reason}"),
    ),
    "driver-abstract": (
        ("", "Parameter 'driver' expects non-abstract device type"),
        ("6.0", "Parameter 'driver' expects a non-abstract device type"),
    ),
    "abstract": (  # (by 7.2)
        ("", "Parameter 'typename' expects non-abstract device type"),
        ("6.0", "Parameter 'typename' expects a non-abstract device type"),
    ),
    "not-device": (  # (by 7.2)
        ("", "Parameter 'typename' expects device"),
        ("6.0", "Parameter 'typename' expects a non-abstract device type"),
    ),
    "json": (("", "JSON parse error, {problem}"), ("11.1", "{line}:{column}: JSON parse error, {problem}")),
    "json-dict": (("", "expected separator in dict"), ("11.1", "expected ',' or '}'")),
    "json-list": (("", "expected separator in list"), ("11.1", "expected ',' or ']'")),
    "json-colon": (("", "missing : in object pair"), ("11.1", "expecting ':'")),
    "json-key": (("", "key is not a string in object"), ("11.1", "expecting key")),
    "json-key-closing": (("", "expecting value"), ("11.1", "expecting key")),
    "json-end": (("", "premature EOI"), ("11.1", "premature end of input")),
    "no-incoming": (  # (by 7.2)
        ("", "For use with '-incoming defer'"),
        ("6.0", "'-incoming' was not specified on the command line"),
    ),
    "size": (
        ("", "Value '{value}' is out of range for parameter '{name}'"),
        (
            "6.0",  # seen in 7.2 for negative values; 10.0 says as 5.2
            _SIZE_HELP,
        ),
        ("8.0", "Value '{value}' is out of range for parameter '{name}'"),
    ),
    "hmp-no-vmstate": (
        ("", "No block device can accept snapshots"),
        ("6.0", "no block device can store vmstate for snapshot"),
    ),
    "hmp-no-vmstate-load": (
        ("", "No block device supports snapshots"),
        ("6.0", "no block device can store vmstate for snapshot"),
    ),
    # the wide form by 11.1
    "hmp-snapshot-line": (("", "%-9s %-16s %8s%20s%13s%11s"), ("10.0", "%-7s %-16s %8s%20s%16s%11s")),
    "hmp-snapshot-head": (("", "ID|TAG|VM SIZE|DATE|VM CLOCK|ICOUNT"), ("10.0", "ID|TAG|VM_SIZE|DATE|VM_CLOCK|ICOUNT")),
    "hmp-snapshot-clock": (("", "%02d:%02d:%02d.%03d"), ("10.0", "%04d:%02d:%02d.%03d")),
    "hmp-snapshot-icount": (("", ""), ("10.0", "--")),
    "hmp-info-snapshots": (
        ("", "No available block device supports snapshots"),
        ("6.0", "no block device can store vmstate for snapshot"),
        ("11.1", "Error: no block device can store vmstate for snapshot"),
    ),
    "display": (
        ("", "-display {value}: Invalid parameter '{value}'"),
        ("6.0", "-display {value}: Parameter 'type' does not accept value '{value}'"),
    ),
    "object-type": (
        ("", "{where}: invalid object type: {value}"),
        ("6.0", "{where}: Parameter 'qom-type' does not accept value '{value}'"),
    ),
    "blockdev-driver": (
        ("", "{where}: Invalid parameter '{value}'"),
        ("6.0", "{where}: Parameter 'driver' does not accept value '{value}'"),
    ),
    "chardev-ways": (
        ("", "Exactly one of 'path', 'fd' or 'host' required"),
        ("6.0", "None or one of 'path', 'fd' or 'host' option required."),  # (by 7.2)
    ),
    "chardev-in-use": (  # (by 10.0); QEMU aborts when it has said it
        ("", "Device '{name}' is in use"),
        ("8.0", "chardev '{name}' is already in use"),
    ),
    "netdev": (("", "{problem}"), ("6.0", "{where}: {problem}")),
    "smp-key": (("", "-smp {value}: Invalid parameter '{name}'"), ("6.2", "Parameter 'smp.{name}' is unexpected")),
    "clusters": (  # (by 10.0)
        ("", "clusters not supported by this machine's CPU topology"),
        ("8.0", "clusters > 1 not supported by this machine's CPU topology"),
    ),
    "smp": (("", "-smp {value}: Parameter 'cpus' expects a number"), ("6.2", "Parameter 'smp.{name}' expects integer")),
}  # fmt: skip


def has_text(key: str) -> bool:
    """Whether `text` knows `key`."""
    return key in _TEXTS


def text(release: str, key: str, **values: object) -> str:
    """The text of `release` for `key`, filled with `values`; KeyError for an unknown key."""
    said = [template for since, template in _TEXTS[key] if lives(since, "", release)]
    return _fill(said[-1], values)


def _fill(template: str, values: dict[str, object]) -> str:
    # no str.format: a template may hold a brace of its own, as "expected ',' or '}'" does
    for name, value in values.items():
        template = template.replace("{" + name + "}", str(value))
    return template


def signed(word: int) -> int:
    """A 32-bit word as `%d` of C prints it."""
    return (word ^ 1 << 31) - (1 << 31)
