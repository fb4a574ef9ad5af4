# SPDX-License-Identifier: Apache-2.0
"""What a file is by its first bytes: one table of magics, for files in which a stream is packed, wrapped, or not at all.

Sources: libvirt ``src/qemu/qemu_saveimage.h`` (save image), RFC 8446 (TLS), the packers' own formats.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.wire.returnpath import ReturnPathReader
from migmatrix.vmstate.wire.signal import Signal

__all__ = ["HEAD", "PACKED", "SaveImage", "encrypted", "foreign", "packing", "save_image"]

HEAD: Final = 4096  # bytes by which a file is known

PACKED: Final = {
    "gzip": b"\x1f\x8b",
    "zstd": b"\x28\xb5\x2f\xfd",
    "xz": b"\xfd7zXZ\0",
    "bzip2": b"BZh",
    "lzop": b"\x89LZO\0\r\n\x1a\n",
    "lz4": b"\x04\x22\x4d\x18",
}
_FOREIGN: Final = {
    b"\x02\x21\x4c\x18": "packed by lz4 in its old format: unpack it first",
    b"\x7fELF": "an ELF file (a memory dump?), no migration stream",
    b"KDUMP   ": "a kdump core, no migration stream",
    b"makedumpfile\0": "a flattened kdump core, no migration stream",
    b"\x11\x22\x33\x44": "a channel of multifd, which has pages only: give the main channel, and this with --channel",
}
_SAVED: Final = b"LibvirtQemudSave"
_PARTIAL: Final = b"LibvirtQemudPart"
_SAVE_HEADER: Final = (
    16 + 19 * 4
)  # magic; version, length of the XML, running, packing, cookie, 14 unused words
_RECORD: Final = struct.Struct(">3BH")
_RECORDS: Final = range(0x14, 0x18)  # change of cipher, alert, handshake, data
_LONGEST_RECORD: Final = (1 << 14) + 2048  # of 1.2
_PAGE: Final = 0x08  # flag of a record with a page


def packing(head: bytes) -> str | None:
    """How a file with these first bytes is packed, if it is and can be unpacked here."""
    return next((name for name, magic in PACKED.items() if head.startswith(magic)), None)


def foreign(head: bytes) -> str | None:
    """What holds no main channel that could be read here; None for what may hold one. `head` is its begin."""
    if head.startswith(_PARTIAL):
        return "a libvirt save image that was not completed"
    known = next((what for magic, what in _FOREIGN.items() if head.startswith(magic)), None)
    if known is None and _is_return_path(head):
        return "a return path, which has the destination's messages only: give the main channel"
    if known is None and _is_preempt(head):
        return "a channel of postcopy-preempt, which has pages only: give the main channel, and this with --channel"
    return known


class SaveImage(NamedTuple):
    """Bytes before the stream in a libvirt save image, and the domain's name ("" when the XML has none)."""

    length: int
    domain: str


def save_image(head: bytes) -> SaveImage | None:
    """None for another file. The stream behind the header may be packed."""
    if not head.startswith(_SAVED) or len(head) < _SAVE_HEADER:
        return None
    little, big = (struct.unpack_from(f"{order}2I", head, 16) for order in "<>")
    _, length = little if little[0] < big[0] else big  # the order of the host that saved
    name = head[_SAVE_HEADER : _SAVE_HEADER + length].partition(b"<name>")[2].partition(b"</name>")
    return SaveImage(_SAVE_HEADER + length, name[0].decode(errors="replace") if name[1] else "")


def encrypted(head: bytes) -> str | None:
    """What is a channel that TLS encrypts, main or not: a record of TLS 1.0 to 1.3, kind, version, length."""
    if len(head) < _RECORD.size:
        return None
    kind, major, minor, length = _RECORD.unpack_from(head)
    if kind in _RECORDS and (3, 1) <= (major, minor) <= (3, 3) and 0 < length <= _LONGEST_RECORD:
        return "a channel that TLS encrypts, which nobody reads without its keys: migrate without `tls-creds`"
    return None


def _is_return_path(head: bytes) -> bool:
    reader = ReturnPathReader()
    reader.feed(head)
    try:
        return not isinstance(reader.next_event(), Signal)
    except StreamError:
        return False


def _is_preempt(head: bytes) -> bool:
    """A page's word, then the name of its block."""
    name = head[9 : 9 + head[8]] if len(head) > 9 else b""  # noqa: PLR2004 - a word and a length
    return (
        int.from_bytes(head[:8]) & 0xFFF == _PAGE
        and name.isascii()
        and name.decode("latin-1").isprintable()
        and bool(name)
    )
