# SPDX-License-Identifier: Apache-2.0
"""Options of `migmatrix stream`, read by argparse: importing typer takes longer than showing half a gigabyte."""

from __future__ import annotations

from argparse import ArgumentParser, HelpFormatter
from typing import Any, Final, NoReturn

from migmatrix.harness.errors import UserError

__all__ = ["parser"]

_WIDTH: Final = 100  # columns of the help; asking the terminal would import more than all else here


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog.removeprefix('migmatrix ')}: {message}")


_FILE: Final = (
    "stream: plain, packed (gzip, zstd, xz, bzip2, lz4, lzop), or in a libvirt save image; - for standard input; "
    "FILE,offset=N as QEMU's file: has it; FILE,snapshot=NAME of a qcow2 image"
)
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "files": {"nargs": "+", "metavar": "FILE", "help": _FILE},
    "first": {"metavar": "FILE", "help": _FILE},
    "second": {"metavar": "FILE", "help": "the other one"},
    "source": {"metavar": "SOURCE", "help": "what the sending build writes with -dump-vmstate"},
    "destination": {"metavar": "DESTINATION", "help": "the same of the reading build"},
    "--notes": {"action": "store_true", "help": "show also what changes no byte"},
    "--offset": {
        "metavar": "N",
        "default": "0",
        "help": "where the stream begins in FILE: bytes, as 4096, 0x1000 or 4K",
    },
    "--like": {
        "metavar": "GOOD",
        "help": "stream of the same build, machine and devices that describes these, for a FILE that does not",
    },
    "--section": {
        "metavar": "GLOB",
        "help": "sections of this name, as idstr or idstr#instance, with fields",
    },
    "--device": {"metavar": "GLOB", "help": "sections whose last part is this, with fields"},
    "--fields": {"action": "store_true", "help": "fields of all sections"},
    "--description": {
        "action": "store_true",
        "help": "nothing but the description of the devices, JSON as it stands in the stream",
    },
    "--full": {"action": "store_true", "help": "values in full, however long, and every part of memory"},
    "--pages": {"action": "store_true", "help": "runs of memory pages"},
    "--page": {"metavar": "BLOCK:OFFSET", "help": "show one page of memory in hex, and no more"},
    "--which-pages": {"action": "store_true", "help": "show which pages of memory differ"},
    "--extract": {"metavar": "DIR", "help": "write each block of memory to a file in DIR, and show no more"},
    "--channel": {
        "metavar": "FILE",
        "nargs": "+",
        "action": "extend",
        "default": [],
        "help": "other channels of this migration (multifd, postcopy-preempt, return path), whose pages are joined",
    },
    "--no-pages": {"action": "store_true", "help": "do not compare the contents of memory"},
    "--volatile": {"action": "store_true", "help": "show also values that change by themselves"},
    "--by": {
        "metavar": "FILE",
        "required": True,
        "help": "stream that the build wrote for the same machine and devices, or its -dump-vmstate output",
    },
    "--release": {"metavar": "VERSION", "default": "", "help": "version of that build, to tell its checks"},
    "--json": {"action": "store_true", "help": "machine-readable output"},
}


def parser(name: str, what: str | None, *options: str) -> ArgumentParser:
    """The parser of a command; `what` is its help. It raises UserError."""
    parser = _Parser(
        f"migmatrix stream {name}",
        description=what,
        allow_abbrev=False,
        formatter_class=lambda prog: HelpFormatter(prog, width=_WIDTH),
    )
    for option in options:
        parser.add_argument(option, **_OPTIONS[option])
    return parser
