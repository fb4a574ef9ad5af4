# SPDX-License-Identifier: Apache-2.0
"""Streams made by hand for a machine of type `none` with 1 MiB, each with something that a destination must look at.

Nothing of `vmstate` or of the emulator is used: what is right here is right by QEMU's own answers, which are recorded
(`record.py streams`). Numbers are big-endian; a word of the RAM section is an offset with flags in its low bits.
"""

from __future__ import annotations

import struct
from typing import Final

__all__ = ["STREAMS", "good"]

HEADER: Final = b"QEVM\0\0\0\3"
EOF, START, PART, END, FULL, SUBSECTION, DESCRIPTION, CONFIGURATION, COMMAND, FOOTER = (
    0, 1, 2, 3, 4, 5, 6, 7, 8, 0x7E,
)  # fmt: skip
ZERO, SIZE, PAGE, EOS, CONTINUE, XBZRLE, HOOK, COMPRESS, FLUSH = 2, 4, 8, 16, 32, 64, 128, 256, 512
MIB: Final = 1 << 20
CONTENT: Final = bytes(range(256)) * 16


def u8(value: int) -> bytes:
    return struct.pack(">B", value)


def u16(value: int) -> bytes:
    return struct.pack(">H", value)


def u32(value: int) -> bytes:
    return struct.pack(">I", value)


def word(offset: int, flags: int) -> bytes:
    return struct.pack(">Q", offset | flags)


def text(value: str) -> bytes:
    return u8(len(value)) + value.encode()


# -- parts ---------------------------------------------------------------------------------------


def configuration(name: str = "none", length: int = -1, *more: bytes) -> bytes:
    return u8(CONFIGURATION) + u32(len(name) if length < 0 else length) + name.encode() + b"".join(more)


def subsection(name: str, version: int, data: bytes = b"") -> bytes:
    return u8(SUBSECTION) + text(name) + u32(version) + data


def capabilities(*names: str) -> bytes:
    return subsection("configuration/capabilities", 1, u32(len(names)) + b"".join(map(text, names)))


def head(kind: int, number: int, name: str, instance: int, version: int) -> bytes:
    return u8(kind) + u32(number) + text(name) + u32(instance) + u32(version)


def foot(number: int) -> bytes:
    return u8(FOOTER) + u32(number)


def blocks(*pairs: tuple[str, int], total: int = -1) -> bytes:
    """The list of blocks at the start of the RAM section."""
    size = sum(length for _, length in pairs) if total < 0 else total
    return word(size, SIZE) + b"".join(text(name) + struct.pack(">Q", length) for name, length in pairs)


def start(
    payload: bytes = b"", *, number: int = 2, name: str = "ram", instance: int = 0, version: int = 4
) -> bytes:
    payload = payload or blocks(("ram", MIB)) + word(0, EOS)
    return head(START, number, name, instance, version) + payload + foot(number)


def part(payload: bytes, *, number: int = 2, kind: int = PART, ends: int = -1) -> bytes:
    return u8(kind) + u32(number) + payload + word(0, EOS) + foot(number if ends < 0 else ends)


def page(offset: int = 0, data: bytes = CONTENT, flags: int = PAGE, block: str = "ram") -> bytes:
    name = b"" if flags & CONTINUE else text(block)
    return word(offset, flags) + name + data


def xbzrle(encoded: bytes, *, kind: int = 1, length: int = -1, offset: int = 0) -> bytes:
    size = len(encoded) if length < 0 else length
    return page(offset, u8(kind) + u16(size) + encoded, XBZRLE)


def state(
    name: str = "prelaunch", size: int = -1, *, version: int = 1, number: int = 4, instance: int = 0
) -> bytes:
    room = name.encode().ljust(100, b"\0")
    length = len(name) + 1 if size < 0 else size
    return head(FULL, number, "globalstate", instance, version) + u32(length) + room + foot(number)


def command(code: int, data: bytes = b"", length: int = -1) -> bytes:
    return u8(COMMAND) + u16(code) + u16(len(data) if length < 0 else length) + data


def stream(*parts: bytes, config: bytes | None = None) -> bytes:
    """Header and configuration, the parts, and the end mark."""
    return HEADER + (configuration() if config is None else config) + b"".join(parts) + u8(EOF)


def good(*between: bytes) -> bytes:
    """What loads, with something between the start of RAM and its end."""
    return stream(start(), *between, part(b"", kind=END), state())


# -- the streams ---------------------------------------------------------------------------------

_HEADS: Final = {
    "empty": b"",
    "not a stream": b"GIF89a" + bytes(40),
    "magic only": b"QEVM",
    "version 2": b"QEVM\0\0\0\2" + bytes(20),
    "version 4": b"QEVM\0\0\0\4" + bytes(20),
    "little-endian version": b"QEVM\3\0\0\0" + bytes(20),
    "no configuration": HEADER + start() + part(b"", kind=END) + state() + u8(EOF),
    "another machine": stream(start(), config=configuration("isapc")),
    "the machine's name cut short": stream(start(), part(b"", kind=END), state(), config=configuration("non")),
    "the machine's name prolonged": stream(start(), config=configuration("nonesuch")),
    "no machine's name": stream(start(), part(b"", kind=END), state(), config=configuration("")),
    "a name that is longer than the stream": HEADER + configuration("none", 1000),
    "a name of 4 GiB": HEADER + configuration("none", 0xFFFFFFFF),
    "the configuration twice": stream(configuration(), start(), part(b"", kind=END), state()),
    "page bits of 12": stream(start(), part(b"", kind=END), state(), config=configuration(
        "none", -1, subsection("configuration/target-page-bits", 1, u32(12)))),
    "page bits of 13": stream(config=configuration(
        "none", -1, subsection("configuration/target-page-bits", 1, u32(13)))),
    "no capabilities": stream(start(), part(b"", kind=END), state(), config=configuration("none", -1, capabilities())),
    "a capability that must match": stream(config=configuration("none", -1, capabilities("x-ignore-shared"))),
    "a capability that need not match": stream(
        start(), part(b"", kind=END), state(), config=configuration("none", -1, capabilities("xbzrle"))),
    "a capability that nobody has": stream(config=configuration("none", -1, capabilities("no-such-capability"))),
    "two capabilities": stream(config=configuration("none", -1, capabilities("multifd", "x-ignore-shared"))),
    "a subsection that nobody has": stream(config=configuration("none", -1, subsection("configuration/bogus", 1))),
    "a subsection too new": stream(config=configuration(
        "none", -1, subsection("configuration/target-page-bits", 2, u32(12)))),
    "a subsection too old": stream(config=configuration(
        "none", -1, subsection("configuration/target-page-bits", 0, u32(12)))),
    "a UUID": stream(start(), part(b"", kind=END), state(), config=configuration(
        "none", -1, subsection("configuration/uuid", 1, bytes(range(16))))),
    "half a UUID": HEADER + configuration("none", -1, subsection("configuration/uuid", 1, bytes(8))),
}  # fmt: skip

_SECTIONS: Final = {
    "nothing at all": stream(),
    "good": good(),
    "only the run state": stream(state()),
    "no run state": stream(start(), part(b"", kind=END)),
    "the run state twice": stream(state(), state(number=5)),
    "RAM without an end": stream(start(), state()),
    "RAM started twice": stream(start(), start(), part(b"", kind=END), state()),
    "RAM started twice with another id": stream(start(), start(number=9), part(b"", kind=END, number=9), state()),
    "a part that was never started": stream(part(b"", number=77)),
    "an end that was never started": stream(part(b"", kind=END, number=77)),
    "an end after the end": stream(start(), part(b"", kind=END), part(b"", kind=END), state()),
    "an unknown section": stream(start(number=3, name="no-such-device")),
    "an unknown whole section": stream(head(FULL, 3, "no-such-device", 0, 1)),
    "an unknown section with a PCI path": stream(head(FULL, 3, "0000:00:03.0/virtio-net", 0, 11)),
    "an unknown instance": stream(start(instance=1)),
    "an instance of 4 Gi": stream(start(instance=0xFFFFFFFF)),
    "RAM too new": stream(start(version=5)),
    "RAM too old": stream(start(version=3)),
    "RAM of version 0": stream(start(version=0)),
    "the run state too new": stream(state(version=2)),
    "the run state too old": stream(state(version=0)),
    "the run state of another instance": stream(state(instance=7)),
    "a section without a name": stream(start(name="")),
    "a section with a long name": stream(start(name="x" * 255)),
    "a footer of another section": stream(start(), part(b"", ends=99), state()),
    "no footer": stream(head(START, 2, "ram", 0, 4) + blocks(("ram", MIB)) + word(0, EOS), state()),
    "something else for a footer": stream(head(START, 2, "ram", 0, 4) + blocks(("ram", MIB)) + word(0, EOS) + u8(0x55)),
    "an unknown kind of section": stream(start(), u8(9)),
    "a kind of section of 0xff": stream(start(), u8(0xFF)),
    "a subsection outside": stream(start(), subsection("ram/x", 1)),
    "a description before the end": stream(start(), u8(DESCRIPTION) + u32(2) + b"{}"),
    "a description after the end": good() + u8(DESCRIPTION) + u32(2) + b"{}",
    "a description that is longer than the stream": good() + u8(DESCRIPTION) + u32(1000) + b"{}",
    "rubbish after the end": good() + b"\x99" * 40,
    "no end mark": good()[:-1],
    "a footer twice": stream(start() + foot(2)),
}  # fmt: skip

_STATES: Final = {
    f"run state {name!r}": stream(start(), part(b"", kind=END), state(name))
    for name in (
        "running", "paused", "prelaunch", "inmigrate", "postmigrate", "shutdown", "suspended", "io-error",
        "internal-error", "guest-panicked", "watchdog", "colo", "debug", "finish-migrate", "save-vm", "restore-vm",
        "", "bogus", "Running", "running ", "x" * 99, "x" * 100,
    )
} | {
    f"run state of size {size}": stream(start(), part(b"", kind=END), state("paused", size))
    for size in (0, 1, 6, 8, 100, 101, 0xFFFFFFFF)
}  # fmt: skip

_RAM: Final = {
    "another block": stream(start(blocks(("rom", MIB)) + word(0, EOS))),
    "one block more": stream(start(blocks(("ram", MIB), ("vga.vram", 4096)) + word(0, EOS))),
    "the block twice": stream(start(blocks(("ram", MIB), ("ram", MIB)) + word(0, EOS))),
    "the block too small": stream(start(blocks(("ram", MIB // 2)) + word(0, EOS))),
    "the block too big": stream(start(blocks(("ram", 2 * MIB)) + word(0, EOS))),
    "the block a byte too big": stream(start(blocks(("ram", MIB + 1), total=MIB) + word(0, EOS))),
    "the block of no size": stream(start(blocks(("ram", 0), total=MIB) + word(0, EOS))),
    "a list of no blocks": stream(start(blocks(total=0) + word(0, EOS))),
    "a total that is too big": stream(start(blocks(("ram", MIB), total=2 * MIB) + word(0, EOS))),
    "a total that is too small": stream(start(blocks(("ram", MIB), total=4096) + word(0, EOS))),
    "a block without a name": stream(start(blocks(("", MIB)) + word(0, EOS))),
    "no list": stream(start(word(0, EOS)), part(b"", kind=END), state()),
    "a page": good(part(page())),
    "two pages": good(part(page() + page(4096, flags=PAGE | CONTINUE))),
    "a page twice": good(part(page() + page())),
    "the last page": good(part(page(MIB - 4096))),
    "a page outside": good(part(page(MIB))),
    "a page far outside": good(part(page(1 << 40))),
    "a page of another block": good(part(page(block="rom"))),
    "a page of no block": good(part(page(block=""))),
    "a page of the block before, which is none": good(part(page(flags=PAGE | CONTINUE))),
    "half a page": stream(start(), u8(PART) + u32(2) + page()[:2000])[:-1],
    "a page in the first part": stream(start(blocks(("ram", MIB)) + page() + word(0, EOS)), part(b"", kind=END), state()),
    "a page in the last part": stream(start(), part(page(), kind=END), state()),
    "a zero page": good(part(page(data=b"\0", flags=ZERO))),
    "a page of ones": good(part(page(data=b"\1", flags=ZERO))),
    "a zero page outside": good(part(page(MIB, b"\0", ZERO))),
    "many zero pages": good(part(page(data=b"\0", flags=ZERO) + b"".join(
        page(at, b"\0", ZERO | CONTINUE) for at in range(4096, MIB, 4096)))),
    "a page and a zero page at once": good(part(page(flags=PAGE | ZERO))),
    "a word without flags": good(part(word(0, 0))),
    "a word with a flag of none": good(part(word(0, 1))),
    "a word of all flags": good(part(word(0, 0xFFF))),
    "a hook": good(part(word(0, HOOK))),
    "a compressed page": good(part(page(data=u32(4) + b"abcd", flags=COMPRESS))),
    "a multifd flush": good(part(word(0, FLUSH))),
    "a list in a later part": good(part(blocks(("ram", MIB)))),
    "an end in the middle": good(part(word(0, EOS))),
    "a cut word": stream(start(), u8(PART) + u32(2) + b"\0\0\0")[:-1],
    "XBZRLE that changes nothing": good(part(xbzrle(b""))),
    "XBZRLE of a byte": good(part(xbzrle(b"\x05\x01\xaa"))),
    "XBZRLE of another kind": good(part(xbzrle(b"\x05\x01\xaa", kind=2))),
    "XBZRLE too long": good(part(xbzrle(b"\x05\x01\xaa", length=4097))),
    "XBZRLE that goes over the page": good(part(xbzrle(b"\xff\x1f\x02\xaa\xaa"))),
    "XBZRLE that is cut": good(part(xbzrle(b"\x05\x10\xaa"))),
    "XBZRLE with a long length": good(part(xbzrle(b"\x80\x80\x01\x01\xaa"))),
    "XBZRLE with no new bytes": good(part(xbzrle(b"\x05\x00"))),
}  # fmt: skip

_COMMANDS: Final = {
    "command 0": good(command(0)),
    "command 12": good(command(12)),
    "command 13": good(command(13)),
    "command 0xffff": good(command(0xFFFF)),
    "the return path": good(command(1)),
    "the return path twice": good(command(1), command(1)),
    "the return path with data": good(command(1, b"x")),
    "a ping without a return path": good(command(2, u32(1))),
    "a ping": good(command(1), command(2, u32(1))),
    "a ping of two bytes": good(command(1), command(2, u16(1))),
    "advice of postcopy": good(command(3, bytes(16))),
    "advice of another length": good(command(3, bytes(8))),
    "advice without RAM": good(command(3)),
    "advice twice": good(command(3), command(3)),
    "listen": good(command(4)),
    "listen with data": good(command(4, b"x")),
    "run": good(command(5)),
    "discard": good(command(6, b"\0\4ram\0" + bytes(16))),
    "discard of nothing": good(command(6)),
    "an empty package": good(command(7, u32(0))),
    "a package of a good part": good(command(7, u32(len(part(page())))) + part(page())),
    "a package that is cut": good(command(7, u32(1000)) + b"\0" * 10),
    "a package of 4 GiB": good(command(7, u32(0xFFFFFFFF)) + b"\0" * 10),
    "a package in a package": good(command(7, u32(9)) + command(7, u32(0))),
    "a package of a wrong length": good(command(7, u16(1))),
    "resume": good(command(9)),
    "a bitmap of a block that is there": good(command(10, text("ram"))),
    "a bitmap of a block that is not": good(command(10, text("rom"))),
    "a bitmap of nothing": good(command(10)),
    "a bitmap with a wrong length": good(command(10, u8(9) + b"ram")),
    "the switchover": good(command(11)),
    "the switchover with data": good(command(11, b"x")),
    "a command that is cut": stream(start(), command(2, b"", 4))[:-1],
    "half a command": stream(start(), b"\x08\0")[:-1],
}  # fmt: skip

STREAMS: Final = {**_HEADS, **_SECTIONS, **_STATES, **_RAM, **_COMMANDS}
