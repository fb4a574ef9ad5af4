"""Records of `vmstate.check.accept`: why a stream would not be taken, and what a destination's section looks like."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from migmatrix.vmstate.record import Record

if TYPE_CHECKING:
    from migmatrix.vmstate.view.vmdesc import DeviceDesc

__all__ = ["LocalSection", "Refusal", "RefusalKind"]


class RefusalKind(StrEnum):
    """What the loader does not take; the order is that of its checks."""

    MACHINE = "machine"
    CAPABILITY = "capability"
    PAGE_BITS = "page-bits"
    UUID = "uuid"
    RAM_VERSION = "ram-version"
    UNKNOWN_BLOCK = "unknown-block"
    BLOCK_SIZE = "block-size"
    UNKNOWN_SECTION = "unknown-section"
    SECTION_VERSION = "section-version"
    VERSION = "version"
    CONFIG_SPACE = "config-space"
    VALUE = "value"
    LAYOUT = "layout"
    SUBSECTION = "subsection"


class Refusal(Record):
    """One reason. `section` and `instance` say where, `field` is a path, a block, a register or a subsection.

    `message` is for people; `offset` is the place in the stream in bytes, -1 when there is none.
    """

    kind: RefusalKind
    message: str
    section: str = ""
    instance: int = 0
    field: str = ""
    certain: bool = True
    offset: int = -1


class LocalSection(Record):
    """A section that the destination has: its version, and its own description and payload when known."""

    version_id: int
    desc: DeviceDesc | None = None
    raw: bytes = b""
