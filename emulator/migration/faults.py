# SPDX-License-Identifier: Apache-2.0
"""Why an incoming stream was refused, before it becomes text: `LoadFault`, next to `VMStateError` of devices.

`said` are lines that every release prints by themselves; `cause` is the reason that old releases print as a line
of its own and new ones join to the last line. `messages` makes the text.
"""

from __future__ import annotations

import errno as numbers
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from migmatrix.vmstate.device.errors import VMStateError

__all__ = ["LoadError", "LoadFault", "Where"]


class Where(NamedTuple):
    """The section in which it happened. `part`: a later part of it, which has no header."""

    idstr: str
    instance_id: int
    section_id: int
    part: bool = False
    version_id: int = 0
    iterative: bool = False


class LoadFault(Exception):
    """A stream, or a part of it, that is not taken. `errno` as QEMU's loader returns it, positive.

    `new` is the cause in the words of releases that print one line, where they differ.
    """

    def __init__(
        self,
        cause: str = "",
        *,
        said: tuple[str, ...] = (),
        errno: int = numbers.EINVAL,
        new: str | None = None,
    ) -> None:
        super().__init__(cause or "; ".join(said) or numbers.errorcode[errno])
        self.cause = cause
        self.said = said
        self.errno = errno
        self.new = cause if new is None else new


class LoadError(Exception):
    """A stream was refused: why, and in which section, if in one."""

    def __init__(self, fault: LoadFault | VMStateError, where: Where | None = None) -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.where = where
