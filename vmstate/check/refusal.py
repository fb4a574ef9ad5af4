# SPDX-License-Identifier: Apache-2.0
"""Records of `vmstate.check.accept`: the answer, its reasons, and a section that the destination has."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from migmatrix.vmstate.record import Record

if TYPE_CHECKING:
    from migmatrix.vmstate.view.vmdesc import DeviceDesc

__all__ = ["Acceptance", "Answer", "LocalSection", "Refusal", "RefusalKind"]


class RefusalKind(StrEnum):
    """What the loader does not take; the order is that of its checks."""

    MACHINE = "machine"
    CAPABILITY = "capability"
    PAGE_BITS = "page-bits"
    UUID = "uuid"
    UNKNOWN_BLOCK = "unknown-block"
    BLOCK_SIZE = "block-size"
    COMMAND = "command"
    UNKNOWN_SECTION = "unknown-section"
    SECTION_VERSION = "section-version"
    VERSION = "version"
    CONFIG_SPACE = "config-space"
    VALUE = "value"
    LAYOUT = "layout"
    SUBSECTION = "subsection"


class Refusal(Record):
    """One reason. `section` and `instance` say where; `field` is a path, a block, a register or a subsection.

    `message` is the text for people. `certain` is False for a reason that only may hold. `offset` counts
    bytes from the start of the stream, -1 without one.
    """

    kind: RefusalKind
    message: str
    section: str = ""
    instance: int = 0
    field: str = ""
    certain: bool = True
    offset: int = -1


class Answer(StrEnum):
    """What a loader does with a stream; `MAY` when what is known of both does not decide it."""

    TAKES = "takes"
    REFUSES = "refuses"
    MAY = "may"


class Acceptance(Record):
    """The answer, and the reasons against the stream in its order; `TAKES` comes without any."""

    answer: Answer
    reasons: tuple[Refusal, ...]


class LocalSection(Record):
    """A section that the destination has: its version, and its own description and payload when known."""

    version_id: int
    desc: DeviceDesc | None = None
    raw: bytes = b""
