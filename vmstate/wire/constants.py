# SPDX-License-Identifier: Apache-2.0
"""Constants of the migration stream, apart from the code that reads them.

Sources: QEMU's `docs/devel/migration/main.rst` for the framing, and captures of QEMU 5.2.0, 7.2.22, 10.0.2,
10.0.13 and 11.1.3 (x86_64) for every value; a comment marks the few that no capture has. All integers are
big-endian unless a comment says otherwise. `pstr` is one length byte followed by that many bytes.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

__all__ = [
    "CAPABILITY_IGNORE_SHARED",
    "CAPABILITY_MAPPED_RAM",
    "FILE_MAGIC",
    "FILE_VERSION",
    "MAX_COMPRESSED",
    "MAX_PACKAGED",
    "PAGE_BITS",
    "PAGE_SIZE",
    "RAM_SECTION",
    "RAM_VERSION",
    "CommandCode",
    "RamFlag",
    "ReturnCode",
    "SectionType",
]

FILE_MAGIC: Final = 0x5145564D  # "QEVM"
FILE_VERSION: Final = 3
PAGE_SIZE: Final = 4096  # target page size of x86; the configuration or the description has others
RAM_SECTION: Final = "ram"
RAM_VERSION: Final = 4
CAPABILITY_IGNORE_SHARED: Final = "x-ignore-shared"
CAPABILITY_MAPPED_RAM: Final = "mapped-ram"
MAX_PACKAGED: Final = (1 << 32) - 1  # all that the length word holds: QEMU's limit since 2.12, before 16 MiB
PAGE_BITS: Final = (8, 20)  # least and most target-page-bits that a reader believes
MAX_COMPRESSED: Final = 2  # pages; the reader refuses a longer compressed page


class SectionType(IntEnum):
    """First byte of each element between the header and the end."""

    EOF = 0x00
    START = 0x01  # first part of an iterated section
    PART = 0x02
    END = 0x03  # last part
    FULL = 0x04  # a section in one part
    SUBSECTION = 0x05  # only inside a payload
    VMDESCRIPTION = 0x06
    CONFIGURATION = 0x07
    COMMAND = 0x08
    FOOTER = 0x7E


class RamFlag(IntFlag):
    """Low bits of the 8-byte word which starts each RAM record; the rest is the offset in the block."""

    FULL = 0x01  # obsolete, refused by every version
    ZERO = 0x02  # u8 fill follows
    MEM_SIZE = 0x04  # block list follows
    PAGE = 0x08  # one page of bytes follows
    EOS = 0x10  # end of this section's payload
    CONTINUE = 0x20  # no block name: same block as the record before
    XBZRLE = 0x40
    HOOK = 0x80  # RDMA
    COMPRESS_PAGE = 0x100  # up to QEMU 8.2
    MULTIFD_FLUSH = 0x200  # from QEMU 8.1


class CommandCode(IntEnum):
    """Second field of a 0x08 element."""

    OPEN_RETURN_PATH = 1
    PING = 2
    POSTCOPY_ADVISE = 3
    POSTCOPY_LISTEN = 4
    POSTCOPY_RUN = 5
    POSTCOPY_RAM_DISCARD = 6
    PACKAGED = 7
    ENABLE_COLO = 8
    POSTCOPY_RESUME = 9
    RECV_BITMAP = 10
    SWITCHOVER_START = 11


class ReturnCode(IntEnum):
    """Type of a message from the destination back to the source."""

    SHUT = 1
    PONG = 2
    REQ_PAGES_ID = 3
    REQ_PAGES = 4
    RECV_BITMAP = 5
    RESUME_ACK = 6
    SWITCHOVER_ACK = 7
