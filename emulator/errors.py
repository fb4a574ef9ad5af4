# SPDX-License-Identifier: Apache-2.0
"""The emulator's error tree. Texts are what QEMU prints, without the program name before them.

EmulatorError
|-- FatalError      the process ends with status 1
|-- DeviceError     a device cannot be made, set or realized
|   `-- PropertyError   ... because of one property
`-- QmpError        a QMP command fails, with QEMU's error class
"""

from __future__ import annotations

import sys

__all__ = ["BackEndError", "DeviceError", "EmulatorError", "FatalError", "PropertyError", "QmpError", "bug"]


def bug(error: Exception) -> str:
    """Print the traceback of an exception that nobody foresaw, once; the text for whoever has to be told."""
    import traceback  # noqa: PLC0415 - only a bug needs it

    if not getattr(error, "_was_told", False):
        error._was_told = True  # type: ignore[attr-defined]  # noqa: SLF001 - a mark of our own
        traceback.print_exception(error, file=sys.stderr)
        sys.stderr.flush()
    return f"internal error: {type(error).__name__}: {error}"


class EmulatorError(Exception):
    """Anything that the emulator says to its user; `str()` is the text."""


class FatalError(EmulatorError):
    """The machine cannot be built: ``qemu-system-x86_64: TEXT``, exit status 1. A few say another `program`."""

    def __init__(self, text: str, program: str = "qemu-system-x86_64") -> None:
        super().__init__(text)
        self.program = program


class DeviceError(EmulatorError):
    """A device cannot be made or realized. `-device` turns it into `FatalError`, `device_add` into `QmpError`.

    `class_` is QMP's error class: ``GenericError``, or ``DeviceNotFound`` for a missing bus or device.
    """

    def __init__(self, text: str, class_: str = "GenericError") -> None:
        super().__init__(text)
        self.class_ = class_


class PropertyError(DeviceError):
    """A property does not exist, or does not take this value."""


class QmpError(EmulatorError):
    """A QMP command fails: ``{"error": {"class": class_, "desc": desc}}``."""

    def __init__(self, class_: str, desc: str) -> None:
        super().__init__(desc)
        self.class_ = class_
        self.desc = desc


class BackEndError(EmulatorError):
    """What another process that works on a device did not do: `lines` in QEMU's words, the first cause first."""

    def __init__(self, *lines: str) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines
