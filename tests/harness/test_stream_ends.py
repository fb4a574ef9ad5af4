# SPDX-License-Identifier: Apache-2.0
"""What `stream` says of files that end early or late, change meanwhile, or do not hold a whole guest."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import pytest
from stream_data import load

from migmatrix.harness.commands.stream import main
from migmatrix.vmstate.wire.constants import RamFlag

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "code", "word"),
    [
        ("multifd-10.0.13.0", 3, "multifd"),
        ("postcopy-7.2.22", 3, "nothing tells the length"),
        ("devices-only-7.2.22", 3, "no description of its devices"),
        ("x86-mapped-ram-ignore-shared-11.1", 3, "shared, and not in the file"),
    ],
)
def test_no_answer_by_half_a_guest(
    name: str, code: int, word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "stream"
    file.write_bytes(load(name))
    assert main(["digest", str(file)]) == code
    assert main(["diff", str(file), str(file)]) == code
    said = capsys.readouterr()
    assert not said.out
    lines = said.err.splitlines()
    assert len(lines) == 3
    assert all(word in line for line in lines)


def test_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, file = load("isapc-7.2.22"), tmp_path / "stream"
    file.write_bytes(data + bytes(4096))
    assert main(["show", str(file)]) == main(["check", str(file)]) == 1
    assert main(["digest", str(file)]) == 3
    assert "4096 bytes after the end" in capsys.readouterr().err
    file.write_bytes(data[:-1])
    assert main(["check", str(file)]) == 1
    said = capsys.readouterr().out
    assert "not understood from 0x2c76 on" in said
    assert "the description at the end is cut off" in said
    assert "invalid" not in said


def packed(tmp_path: Path, flip: int) -> str:
    """A file with one compressed page, whose check sum is changed by `flip`."""
    page = zlib.compress(bytes(4096))
    record = int(RamFlag.COMPRESS_PAGE).to_bytes(8) + b"\1m" + len(page).to_bytes(4)
    record += page[:-1] + bytes((page[-1] ^ flip,))
    blocks = (4096 | RamFlag.MEM_SIZE).to_bytes(8) + b"\1m" + (4096).to_bytes(8) + (16).to_bytes(8)
    start = b"\1\0\0\0\1\3ram" + bytes(4) + (4).to_bytes(4) + blocks + b"\x7e\0\0\0\1"
    text = b'{"page_size": 4096, "devices": []}'
    end = b"\3\0\0\0\1" + record + (16).to_bytes(8) + b"\x7e\0\0\0\1\0"
    file = tmp_path / f"packed{flip}"
    file.write_bytes(b"QEVM\0\0\0\3\7\0\0\0\1x" + start + end + b"\6" + len(text).to_bytes(4) + text)
    return str(file)


def test_a_damaged_page_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = packed(tmp_path, 0), packed(tmp_path, 1)
    out = tmp_path / "out"
    assert main(["check", good]) == main(["digest", good]) == 0
    assert capsys.readouterr().err == ""
    assert main(["check", bad]) == 1
    assert "expected zlib data" in capsys.readouterr().out
    for command in (
        ["digest", bad],
        ["diff", bad, good],
        ["diff", good, bad],
        ["show", bad, "--extract", str(out)],
    ):
        assert main(command) == 1
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert "expected zlib data" in said.err
    assert list(out.iterdir()) == []  # no half of a block


_SHRINK = """
import sys
from migmatrix.harness.streams.file import open_stream
with open_stream(sys.argv[1]) as source:
    with open(sys.argv[1], "r+b") as file:
        file.truncate(4096)
    print(bytes(source.data[-10:]))
"""


def test_a_file_that_becomes_shorter_ends_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "stream"
    with file.open("wb") as made:
        os.truncate(made.fileno(), 1 << 24)
    done = subprocess.run(
        [sys.executable, "-c", _SHRINK, str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == f"migmatrix: cannot read {str(file)!r}: it became shorter while it was read\n"
