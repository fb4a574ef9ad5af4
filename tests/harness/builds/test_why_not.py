# SPDX-License-Identifier: Apache-2.0
"""Files that this host cannot execute: the reason is told, whatever a shell makes of them."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest

from migmatrix.harness.builds import prepare
from migmatrix.harness.builds.binary import BinarySpec
from migmatrix.harness.builds.loadable import why_not
from migmatrix.harness.errors import UnusableBuild

OWN = Path(sys.executable).resolve().read_bytes()[:64]


def elf(machine: int, loader: str = "", *, wide: bool = True, order: str = "<") -> bytes:
    """The head of an executable with one program header, which names a loader."""
    name = loader.encode() + b"\0"
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    kind = 3 if loader else 1
    if wide:
        head = struct.pack(f"{order}HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        program = struct.pack(f"{order}IIQQQQQQ", kind, 4, 120, 0, 0, len(name), len(name), 1)
    else:
        head = struct.pack(f"{order}HHIIIIIHHHHHH", 2, machine, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0)
        program = struct.pack(f"{order}IIIIIIII", kind, 84, 0, 0, len(name), len(name), 4, 1)
    return ident + head + program + name


@pytest.mark.skipif(sys.platform != "linux" or OWN[18] != 62, reason="this host is no x86_64")
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (elf(183), "it is for aarch64, this host is x86_64"),
        (elf(22, order=">"), "it is for s390x, this host is x86_64"),
        (elf(20, wide=False, order=">"), "it is for ppc, this host is x86_64"),
        (elf(243, "/lib/ld.so"), "it is for riscv, this host is x86_64"),
        (elf(9999), "it is for another architecture (ELF 9999), this host is x86_64"),
        (elf(62, "/lib/ld-musl.none"), "its interpreter '/lib/ld-musl.none' is not on this host"),
        (elf(3, "/lib/none.so.1", wide=False), "its interpreter '/lib/none.so.1' is not on this host"),
        (elf(62, "/bin/sh"), ""),
        (b"\x7fELF\x02", "it is cut short"),
        (b"#!/no/such/sh -e\n", "its interpreter '/no/such/sh' is not on this host"),
        (b"#!/bin/sh\nexit 1\n", ""),
        (b"#!", ""),
        (b"text", ""),
        (b"", ""),
    ],
)
def test_the_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    path.chmod(0o755)
    assert why_not(path) == reason
    if reason:
        with pytest.raises(UnusableBuild) as caught:
            prepare({"b": BinarySpec(id="b", path=str(path))}, cache=tmp_path)
        assert str(caught.value) == f"build 'b': {str(path)!r} cannot run here: {reason}"
        assert caught.value.key == "path"


@pytest.mark.parametrize("path", [sys.executable, "/bin/sh", "/bin/true"])
def test_what_can_run_has_no_reason(path: str) -> None:
    assert why_not(Path(path)) == ""


def test_no_prefix_of_a_head_falls_over(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (elf(62, "/bin/sh"), elf(3, "/bin/sh", wide=False), OWN):
        for size in range(len(content)):
            path.write_bytes(content[:size])
            assert isinstance(why_not(path), str)
