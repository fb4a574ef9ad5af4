"""The file side of `migmatrix stream`: what stands at a place of a mapped file."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from harness.stream_file import open_stream

if TYPE_CHECKING:
    from pathlib import Path

LONG = 600_000  # more than two pieces


def test_holds_compares_every_byte(tmp_path: Path) -> None:
    data = random.Random(1).randbytes(LONG + 100)
    (tmp_path / "stream").write_bytes(data)
    part = data[7 : 7 + LONG]
    with open_stream(str(tmp_path / "stream")) as source:
        assert source.holds(7, part)
        assert source.holds(7, memoryview(part))
        assert not source.holds(8, part)
        for at in (0, LONG // 2, LONG - 1):
            assert not source.holds(7, part[:at] + bytes((part[at] ^ 1,)) + part[at + 1 :])


def test_holds_nothing_behind_the_end(tmp_path: Path) -> None:
    (tmp_path / "stream").write_bytes(b"abc")
    with open_stream(str(tmp_path / "stream")) as source:
        assert source.holds(1, b"bc")
        assert not source.holds(1, b"bcd")
        assert not source.holds(3, b"d")
