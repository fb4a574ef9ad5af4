# SPDX-License-Identifier: Apache-2.0
"""The normalised form of a cause: equal signatures are one problem.

What differs between two sightings of one problem goes: bus addresses, instance ids, values, and what one version
says and another does not (the table's `signature` lists). What stays: kind, device model or RAM block, field.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from migmatrix.harness.judge.table import load_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migmatrix.harness.model import Cause

__all__ = ["family", "model", "signature", "tells_place"]

# Where a device is plugged in, before its name: bus addresses, each with a slash behind it, in the forms of QEMU's
# `get_dev_path` of its buses. An address behind ``@`` has eight digits or more, which a firmware file's name has not.
_FUNCTIONS = r"(?::[0-9a-f]{2}\.[0-9a-f])*"
_BUS_PATH = re.compile(
    rf"""^(?:(?:
      [0-9a-f]{{4}}(?::[0-9a-f]{{2}})+(?:\.[0-9a-f])?{_FUNCTIONS}  # PCI, 0000:00:05.0:00.0
    | [A-Za-z][\w.-]*@[0-9a-f]{{8,}}{_FUNCTIONS}  # memory-mapped and spapr, virtio-mmio@0000000010008000, pci@80..:00.0
    | /?[0-9a-f]{{1,2}}\.[0-9a-f]\.[0-9a-f]{{4}}  # s390x channels, /fe.0.0001
    | [\d.:]+  # a port of USB 1.2, a SCSI address 0:1:0
    )/)+""",
    re.VERBOSE,
)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_INDEX = re.compile(r"\[\d+\]")
_DIGITS = re.compile(r"\d+")
# Files of the harness's, whose names are new in each run.
_OURS = re.compile(r"\S*/migmatrix(?:-\d+)?/\S+")
_NUMBER = re.compile(r"\b(?:0x[0-9a-f]+|\d+)\b")
_ASSERTIONS = (
    re.compile(r"\w+: Assertion [`'](?P<place>.*)' failed"),
    re.compile(r"\w+: assertion failed:? *(?P<place>.*)"),
    re.compile(r"(?P<place>\w+: code should not be reached)"),
    re.compile(r"Unexpected error in (?P<place>\w+)\(\)"),
)
_STAGE = re.compile(r"^ended by .* in (?P<place>\w+)$")


def signature(cause: Cause) -> str:
    """Kind and what names the problem, separated by blanks: ``pci-config pcie-root-port 0x10a``."""
    if cause.kind == "unclassified":
        return f"unclassified {_faceless(cause.message)}"
    parts = {"device": model(cause.device), "field": _field(cause)}
    named = [parts[name] for name in load_table().kind(cause.kind).signature]
    return " ".join(part for part in (cause.kind, *named) if part)


def family(cause: Cause) -> str:
    """What signatures that may be one problem have in common: the kind, and a field without its indices, on any device.

    Without a field it is the signature without numbers, so that ``serial0`` and ``serial1`` have one.
    """
    field = _INDEX.sub("[]", _field(cause)) if "field" in load_table().kind(cause.kind).signature else ""
    if cause.kind == "unclassified" or not field:
        return _DIGITS.sub("N", signature(cause))
    return f"{cause.kind} {field}"


def tells_place(cause: Cause) -> bool:
    """Whether a family says where it fails; else any device may: a crash without an assertion, a hang, a state in a state."""
    if cause.kind == "crash":
        return _crash_place(cause.message, _ASSERTIONS) != ""
    return cause.kind != "device-load" and not load_table().kind(cause.kind).vague


def model(idstr: str) -> str:
    """The device model of a section, without the place where the device is plugged in."""
    name = _BUS_PATH.sub("", idstr)
    return load_table().aliases.get(name, name)


def _field(cause: Cause) -> str:
    if cause.kind == "crash":
        return " ".join(part for part in (cause.field, _crash_place(cause.message)) if part)
    if cause.kind == "device-load":  # up to 10.0 "virtio-console:virtio", in 11.1 "virtio"
        return cause.field.rpartition(":")[2]
    return _QUOTED.sub("''", cause.field)


def _crash_place(message: str, patterns: Sequence[re.Pattern[str]] = (*_ASSERTIONS, _STAGE)) -> str:
    """The expression of a failed assertion, as lines move and functions are renamed; else the stage."""
    for pattern in patterns:
        if match := pattern.search(message):
            return match["place"]
    return ""


def _faceless(message: str) -> str:
    return _NUMBER.sub("N", _OURS.sub("''", _QUOTED.sub("''", message)))
