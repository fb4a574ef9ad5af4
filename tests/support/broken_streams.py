# SPDX-License-Identifier: Apache-2.0
"""Ways to break a good stream of a `pc-q35` guest, by the names that `tests/data/failure-samples.jsonl` gives them.

Each function takes the bytes of a whole stream and returns others. The format is written out here by hand: nothing
of the emulator or of `vmstate` says where a section begins.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from made_streams import FOOTER, FULL, START, command, subsection, text, u8, u16, u32, word

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BROKEN"]


_RTC: Final = "mc146818rtc"
_MCH: Final = "0000:00:00.0/mch"
_LPC: Final = "0000:00:1f.0/ICH9LPC"
_UUID: Final = b"\x11" * 16


class Place(NamedTuple):
    """Offsets of a section: its type byte, the name's length byte, its payload, and its footer."""

    start: int
    name: int
    payload: int
    footer: int

    @property
    def version(self) -> int:
        return self.payload - 4


def find(data: bytes, name: str, kind: int = FULL, instance: int = 0) -> Place:
    """The section of that name; ValueError when there is none."""
    at = data.index(text(name) + u32(instance))
    assert data[at - 5] == kind
    payload = at + len(text(name)) + 8
    return Place(at - 5, at, payload, data.index(u8(FOOTER) + data[at - 4 : at], payload))


def swap(data: bytes, at: int, new: bytes, old_length: int = -1) -> bytes:
    """Other bytes in place of as many, or of `old_length`."""
    return data[:at] + new + data[at + (len(new) if old_length < 0 else old_length) :]


def eof(data: bytes) -> int:
    """Where the end mark is: right before the description."""
    (at,) = [n for n in range(len(data) - 7) if data[n : n + 2] == b"\0\x06" and data[n + 6 : n + 7] == b"{"]
    return at


# -- makers of changes ---------------------------------------------------------------------------


def configured(more: bytes) -> Callable[[bytes], bytes]:
    """A subsection after the machine's name."""
    return lambda data: swap(data, 13 + int.from_bytes(data[9:13]), more, 0)


def renamed(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Another machine's name in the configuration."""

    def broken(data: bytes) -> bytes:
        length = int.from_bytes(data[9:13])
        name = change(data[13 : 13 + length])
        return swap(data, 9, u32(len(name)) + name, 4 + length)

    return broken


def versioned(name: str, version: int, kind: int = FULL) -> Callable[[bytes], bytes]:
    return lambda data: swap(data, find(data, name, kind).version, u32(version))


def at_footer(name: str, new: bytes, old_length: int = 0) -> Callable[[bytes], bytes]:
    """Bytes right before a section's footer, or in place of some of it."""
    return lambda data: swap(data, find(data, name).footer, new, old_length)


def in_payload(name: str, offset: int, new: bytes, kind: int = FULL) -> Callable[[bytes], bytes]:
    return lambda data: swap(data, find(data, name, kind).payload + offset, new)


def after_start(more: bytes) -> Callable[[bytes], bytes]:
    """Something between the START of RAM and its first PART."""
    return lambda data: swap(data, find(data, "ram", START).footer + 5, more, 0)


def in_part(record: bytes) -> Callable[[bytes], bytes]:
    """A record at the beginning of RAM's first PART."""
    return lambda data: swap(data, find(data, "ram", START).footer + 10, record, 0)


def paged(offset: int, flags: int, body: bytes, block: str = "pc.ram") -> Callable[[bytes], bytes]:
    return in_part(word(offset, flags) + text(block) + body)


def commanded(code: int, data: bytes = b"") -> Callable[[bytes], bytes]:
    return after_start(command(code, data))


def wrong_footer(data: bytes) -> bytes:
    return swap(data, find(data, _RTC).footer + 1, u32(0x55))


def short(data: bytes) -> bytes:
    """A payload without its last byte."""
    return swap(data, find(data, _RTC).footer - 1, b"", 1)


def doubled(data: bytes) -> bytes:
    place = find(data, _RTC)
    return swap(data, place.start, data[place.start : place.footer + 5], 0)


def without(name: str) -> Callable[[bytes], bytes]:
    def broken(data: bytes) -> bytes:
        place = find(data, name)
        return data[: place.start] + data[place.footer + 5 :]

    return broken


def named(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Another name of as many bytes, where it comes first."""
    return lambda data: swap(data, data.index(old), new)


def dma_version(data: bytes) -> bytes:
    return swap(data, data.index(text("fw_cfg/dma")) + 11, u32(9))


def no_dma(data: bytes) -> bytes:
    """A subsection of one address, left out."""
    return swap(data, data.index(text("fw_cfg/dma")) - 1, b"", 1 + 11 + 4 + 8)


def block_size(data: bytes) -> bytes:
    return swap(data, data.index(text("pc.ram")) + 7, struct.pack(">Q", 128 << 20))


def total(data: bytes) -> bytes:
    """A total of all blocks that is a page larger than the list."""
    place = find(data, "ram", START)
    old = int.from_bytes(data[place.payload : place.payload + 8])
    return swap(data, place.payload, struct.pack(">Q", old + 4096))


def flagged_setup(data: bytes) -> bytes:
    return swap(data, find(data, "ram", START).payload, word(0, 0x400), 0)


def upto(where: Callable[[bytes], int]) -> Callable[[bytes], bytes]:
    return lambda data: data[: where(data)]


_XBZRLE_BODY: Final = u16(3) + b"\x08\x01" + b"a"

BROKEN: Final[dict[str, Callable[[bytes], bytes]]] = {
    "bad-magic": lambda data: swap(data, 0, b"QEV\0"),
    "old-file-version-2": lambda data: swap(data, 4, u32(2)),
    "new-file-version-4": lambda data: swap(data, 4, u32(4)),
    "truncated-in-header": upto(lambda _: 6),
    "truncated-in-ram": upto(lambda data: find(data, "ram", START).footer + 10),
    "truncated-in-device": upto(lambda data: find(data, _RTC).payload + 50),
    "truncated-at-section-boundary": upto(lambda data: find(data, _RTC).footer + 5),
    "truncated-before-eof-byte": upto(eof),
    "truncated-after-eof-no-vmdesc": upto(lambda data: eof(data) + 1),
    "truncated-in-vmdesc": upto(lambda data: len(data) - 10),
    "no-configuration": lambda data: swap(data, 8, b"", 5 + int.from_bytes(data[9:13])),
    "config-name-longer": renamed(lambda name: name + b"x"),
    "config-name-prefix": renamed(lambda name: name[:-1]),
    "config-caps-multifd": configured(subsection("configuration/capabilities", 1, u32(1) + text("multifd"))),
    "config-caps-x-ignore-shared": configured(
        subsection("configuration/capabilities", 1, u32(1) + text("x-ignore-shared"))
    ),
    "config-caps-unknown": configured(subsection("configuration/capabilities", 1, u32(1) + text("foo-bar"))),
    "config-uuid-mismatch": configured(subsection("configuration/uuid", 1, _UUID)),
    "config-page-bits-14": configured(subsection("configuration/target-page-bits", 1, u32(14))),
    "config-page-bits-12": configured(subsection("configuration/target-page-bits", 1, u32(12))),
    "config-unknown-subsection": configured(subsection("configuration/nope", 1)),
    "unknown-section-type-0x09": after_start(u8(9)),
    "unknown-section-type-0xff": after_start(u8(0xFF)),
    "section-unknown-name": named(text(_RTC), text("mc146818XXX")),
    "section-unknown-instance": lambda data: swap(data, find(data, _RTC).payload - 8, u32(7)),
    "section-version-too-new": versioned(_RTC, 99),
    "section-version-too-old": versioned(_RTC, 0),
    "ram-version-too-new": versioned("ram", 5, START),
    "ram-version-3": versioned("ram", 3, START),
    "section-part-unknown-id": lambda data: swap(data, find(data, "ram", START).footer + 6, u32(119)),
    "footer-missing": at_footer(_RTC, b"", 5),
    "footer-wrong-id": wrong_footer,
    "footer-wrong-magic": at_footer(_RTC, u8(0x7F), 1),
    "payload-extra-byte": at_footer(_RTC, b"\0"),
    "payload-short-byte": short,
    "duplicate-section": doubled,
    "section-omitted-rtc": without(_RTC),
    "section-omitted-globalstate": without("globalstate"),
    "subsection-unknown": at_footer(_RTC, subsection("mc146818rtc/nope", 1)),
    "subsection-foreign-prefix": at_footer(_RTC, subsection("completely/different", 1)),
    "subsection-short-name": at_footer(_RTC, subsection("mc", 1)),
    "subsection-version-too-new": dma_version,
    "subsection-unknown-fw_cfg": at_footer("fw_cfg", subsection("fw_cfg/nope", 1)),
    "subsection-dropped-fw_cfg": no_dma,
    "subsection-nested-unknown-lpc": at_footer(_LPC, subsection("ICH9LPC/nope", 1)),
    "pci-config-vendor": in_payload(_MCH, 4, b"\x34"),
    "pci-config-class": in_payload(_MCH, 4 + 0x0A, b"\x77"),
    "pci-config-hdrtype": in_payload(_MCH, 4 + 0x0E, b"\x80"),
    "pci-version-id": in_payload(_MCH, 0, u32(9)),
    "pci-config-guest-writable-cmd": in_payload(_MCH, 4 + 4, b"\x07"),
    "ramblock-name-unknown": named(text("pc.ram"), text("pc.xam")),
    "ramblock-size": block_size,
    "ram-total-wrong-larger": total,
    "ram-setup-flags-unknown": flagged_setup,
    "ram-page-unknown-flag-0x400": in_part(word(0, 0x400)),
    "ram-page-flag-full-0x1": in_part(word(0, 0x1)),
    "ram-page-flag-hook-0x80": in_part(word(0, 0x80)),
    "ram-page-flag-compress-0x100": paged(0, 0x100, u32(4) + b"abcd"),
    "ram-page-flag-multifd-flush-0x200": in_part(word(0, 0x200)),
    "ram-page-unknown-block": paged(0, 8, bytes(4096), "xyz"),
    "ram-page-continue-first": in_part(word(0, 0x28) + bytes(4096)),
    "ram-page-offset-beyond": paged(0x80000000, 8, bytes(4096)),
    "ram-page-nonzero-fill": paged(0, 2, b"A"),
    "ram-page-xbzrle-no-cap": paged(0, 0x40, u8(1) + u16(3) + b"\xff\x7f\x01"),
    "ram-page-xbzrle-bad-flag": paged(0, 0x40, u8(2) + _XBZRLE_BODY),
    "ram-page-xbzrle-too-long": paged(0, 0x40, u8(1) + u16(0x2000)),
    "cmd-0": commanded(0),
    "cmd-12": commanded(12),
    "cmd-200": commanded(200),
    "cmd-ping-badlen": commanded(2, u16(5)),
    "cmd-ping-no-rp": commanded(2, u32(5)),
    "cmd-open-rp-on-file": commanded(1),
    "cmd-advise-no-cap": commanded(3, struct.pack(">QQ", 4096, 4096)),
    "cmd-advise-len0": commanded(3),
    "cmd-advise-len8": commanded(3, bytes(8)),
    "cmd-listen-without-advise": commanded(4),
    "cmd-run-without-listen": commanded(5),
    "cmd-discard-without-advise": commanded(6, b"\0" + text("pc.ram") + bytes(17)),
    "cmd-discard-short": commanded(6, b"\0"),
    "cmd-packaged-too-big": commanded(7, u32(0x7FFFFFFF)),
    "cmd-packaged-empty": commanded(7, u32(0)),
    "cmd-resume-bad-state": commanded(9),
    "cmd-recv-bitmap-bad": commanded(10, text("pc.xam")),
    "cmd-switchover-start-early": commanded(11),
    "cmd-enable-colo": commanded(8),
    "globalstate-bad-runstate": in_payload("globalstate", 0, u32(6) + b"bogus".ljust(32, b"\0")),
    "garbage-after-eof": lambda data: data[: eof(data) + 1] + b"\xde\xad\xbe\xef" * 4,
}
