# SPDX-License-Identifier: Apache-2.0
"""Why a save or a load failed, in a form from which a caller can print QEMU's messages.

`VMStateError` is a `StreamError` with a `kind`, the error number of QEMU's loader, the facts of
the check (``facts["local"]``, ``facts["incoming"]``, ...) and the frames that the error passed through.
"""

from __future__ import annotations

import errno
from enum import StrEnum
from typing import Any, Final

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.record import Record

__all__ = ["ERRNO", "Frame", "Kind", "VMStateError"]


class Kind(StrEnum):
    """What went wrong. The names in brackets are the keys of `VMStateError.facts`."""

    TRUNCATED = "truncated"  # [read: bytes that were there]
    UNKNOWN_SECTION = "unknown-section"  # [idstr, instance]
    SECTION_TOO_NEW = "section-too-new"  # [idstr, incoming, local]
    TOO_NEW = "too-new"  # [name, incoming, local]
    TOO_OLD = "too-old"  # [name, incoming, local]
    UNKNOWN_SUBSECTION = "unknown-subsection"  # [name, parent]
    EQUAL = "equal"  # [local, incoming, hint]
    NOT_LE = "not-le"  # [local, incoming]
    VALIDATE = "validate"  # [name, check, version]
    NULL_MARKER = "null-marker"  # [incoming]
    ELEMENT_VERSION = "element-version"  # [name, problem: "too new" or "too old"]
    TREE = "tree"  # [nodes]
    COUNT = "count"  # an impossible number of elements or bytes
    PRE_LOAD = "pre-load"  # [name, message, version, minimum]
    POST_LOAD = "post-load"  # [name, message, version, minimum]
    PRE_SAVE = "pre-save"  # [name, message]
    POST_SAVE = "post-save"  # [name, message]
    CUSTOM = "custom"  # [type, message]: a custom type refused the value
    VALUE = "value"  # the local state has a value that the field cannot send
    STATE = "state"  # the local state lacks a value of the description


ERRNO: Final = {
    Kind.TRUNCATED: errno.EIO,
    Kind.UNKNOWN_SUBSECTION: errno.ENOENT,
    Kind.VALIDATE: errno.EPERM,
}


class Frame(Record):
    """One level that an error passed through: a `field` of description `vmsd`, or a `subsection` of it."""

    kind: str  # "field" | "subsection"
    vmsd: str
    name: str
    type: str = ""


class VMStateError(StreamError):
    """A value, a version or a description that does not fit; see `StreamError` for the rest.

    `frames` are innermost first. `errno` is positive. `facts` by kind: see `Kind`.
    """

    def __init__(
        self,
        offset: int,
        path: str,
        expected: str,
        found: str,
        kind: Kind,
        facts: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(offset, path, expected, found)
        self.kind = kind
        self.facts = facts or {}
        self.errno: int = self.facts.get("errno", ERRNO.get(kind, errno.EINVAL))
        self.frames: list[Frame] = []
