# SPDX-License-Identifier: Apache-2.0
"""Save and load device state by a description: the one interpreter.

    data, desc = save_state(VMSTATE_KBD, kbd)
    load_state(VMSTATE_KBD, kbd, data)

`save_section` gives a section's payload and its entry of the VM description. Failures raise `VMStateError`, a
`StreamError` with a kind, from which a caller can print QEMU's message of any version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from migmatrix.vmstate.device.errors import Frame, Kind, VMStateError
from migmatrix.vmstate.device.lifetime import release_key
from migmatrix.vmstate.device.load import Loader
from migmatrix.vmstate.device.save import Saver, Style
from migmatrix.vmstate.device.source import BytesSource, WindowSource

if TYPE_CHECKING:
    from migmatrix.vmstate.device.description import VMState
    from migmatrix.vmstate.device.protocols import Source

__all__ = [
    "BytesSource", "Frame", "Kind", "Saved", "Style", "VMStateError", "WindowSource", "load_from", "load_state",
    "save_section", "save_state", "style_of",
]  # fmt: skip


class Saved(NamedTuple):
    """Bytes on the wire, and their VM description."""

    data: bytes
    desc: dict[str, Any]


def style_of(release: str) -> Style:
    """The form of `release`'s VM description: 7.2, 10.0 and 11.1 differ, those between are as before."""
    key = release_key(release)
    if key >= (11, 1):
        return Style.MARKER
    return Style.LAST_BARE if key >= (10, 0) else Style.INDEXED


def save_state(
    vmsd: VMState, state: Any, *, path: str = "", base: int = 0, style: Style = Style.INDEXED
) -> Saved:
    """`state` as bytes, with ``{"vmsd_name", "version", "fields", "subsections"?}``.

    `path` and `base` (the stream offset of the first byte) are for errors. The caller asks whether the
    description is `needed`.
    """
    saver = Saver(path, base, style)
    desc = saver.desc or {}
    saver.desc = desc
    saver.save(vmsd, state)
    return Saved(bytes(saver.data), desc)


def save_section(
    vmsd: VMState, state: Any, idstr: str, instance_id: int, *, base: int = 0, style: Style = Style.INDEXED
) -> Saved:
    """A section's payload and its entry in ``devices`` of the VM description."""
    data, desc = save_state(vmsd, state, path=idstr, base=base, style=style)
    return Saved(data, {"name": idstr, "instance_id": instance_id, **desc})


def load_from(
    source: Source, vmsd: VMState, state: Any, version: int | None = None, *, path: str = ""
) -> None:
    """Load from `source`, a live stream; read nothing beyond the description."""
    Loader(source, path).load(vmsd, state, vmsd.version_id if version is None else version)


def load_state(
    vmsd: VMState,
    state: Any,
    data: bytes | bytearray | memoryview,
    version: int | None = None,
    *,
    path: str = "",
    base: int = 0,
) -> None:
    """Load `state` from all of `data`, a section's payload; bytes left over are an error (the footer's check)."""
    source = BytesSource(data, base)
    loader = Loader(source, path)
    loader.load(vmsd, state, vmsd.version_id if version is None else version)
    if source.left:
        raise loader.error(Kind.COUNT, f"the end of {vmsd.name!r}", f"{source.left} bytes left")
