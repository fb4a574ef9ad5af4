# SPDX-License-Identifier: Apache-2.0
"""Which emulators Debian's packages hold, so that a wrong or missing name is told before minutes of making an image.

Names in /usr/bin of the packages of bullseye to trixie, all suites together. What an image really holds is asked of
it when it is made: a suite that lacks one of these is found then.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["HELD", "SUITES", "known_as"]

_PREFIX = "qemu-system-"
_TARGETS = {
    "qemu-system-x86": "x86_64 i386 x86_64-microvm",
    "qemu-system-arm": "aarch64 arm",
    "qemu-system-mips": "mips mips64 mips64el mipsel",
    "qemu-system-ppc": "ppc ppc64",
    "qemu-system-riscv": "riscv32 riscv64",
    "qemu-system-s390x": "s390x",
    "qemu-system-sparc": "sparc sparc64",
    "qemu-system-misc": "alpha avr cris hppa loongarch64 m68k microblaze microblazeel moxie nios2 or1k riscv32"
    " riscv64 rx s390x sh4 sh4eb tricore xtensa xtensaeb",
}

# Suggested for one that the mirror does not have; others are tried all the same.
_RELEASES = ("bullseye", "bookworm", "trixie", "forky")
SUITES = (*_RELEASES, *(f"{release}-backports" for release in _RELEASES), "sid", "experimental")

# Links that Debian adds, most of them since bookworm, named after its own architectures: taken, not advised.
_LINKS = {
    "qemu-system-x86": "amd64",
    "qemu-system-arm": "arm64 armel armhf",
    "qemu-system-ppc": "powerpc ppc64el ppc64le",
    "qemu-system-misc": "loong64",
}

# Other packages (metapackages, a vendor's) are asked when they are installed.
HELD: Mapping[str, tuple[str, ...]] = {
    package: tuple(f"{_PREFIX}{target}" for target in targets.split())
    for package, targets in _TARGETS.items()
}


def known_as(package: str, binary: str) -> bool:
    """Whether a package of the table may hold an emulator of that name or path."""
    names = (*HELD[package], *(f"{_PREFIX}{link}" for link in _LINKS.get(package, "").split()))
    return PurePosixPath(binary).name in names
