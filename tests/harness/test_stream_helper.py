# SPDX-License-Identifier: Apache-2.0
"""The second process that compares long files: what it finds, and that the command tells the same with it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

from long_stream import guest

from migmatrix.vmstate.view.pair import PIECE

RECORD = 8 + 4096
PIECES = 20
PAGES = 20_000  # 82 MB: more than is looked at without a helper
HEAD = 100  # bytes before the records in the first file
SHIFT = 24  # and so many more in the second one
ALONE = """
import json, os, sys
from migmatrix.harness.streams.file import open_stream
from migmatrix.harness.streams.from_end import FromEnd

with open_stream(sys.argv[1]) as a, open_stream(sys.argv[2]) as b:
    offset, place, size, piece = map(int, sys.argv[3:])
    helper = FromEnd(a, b, offset, place, size)
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    looked = [helper.look(at, piece) for at in range(offset, helper.end, piece * size)]
    part = helper.look(offset + 3 * size, 5)
    helper.leave()
print(json.dumps([helper.end, [p and (p[0].hex(), p[1]) for p in (*looked, part)]]))
"""


def records(*changed: int) -> bytes:
    """`PIECES` pieces of records, the first word of each its number; a byte is another in those `changed`."""
    body = random.Random(1).randbytes(4096)
    out = bytearray(b"".join(i.to_bytes(8) + body for i in range(PIECES * PIECE)))
    for record in changed:
        out[record * RECORD + 4000] ^= 1
    return bytes(out)


def test_it_finds_words_and_differences(tmp_path: Path) -> None:
    """In a process of its own, as it forks. All but piece 0 is looked at, which the caller is at from the start."""
    (tmp_path / "a").write_bytes(bytes(HEAD) + records() + bytes(99))
    (tmp_path / "b").write_bytes(bytes(HEAD + SHIFT) + records(PIECE * 7 + 5) + bytes(99))
    numbers = (HEAD, HEAD + SHIFT, RECORD, PIECE)
    argv = [sys.executable, "-c", ALONE, *(str(tmp_path / n) for n in "ab"), *map(str, numbers)]
    end, looked = json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True, timeout=60).stdout)
    *pieces, part = looked
    assert end == HEAD + PIECES * PIECE * RECORD
    assert pieces[0] is None
    assert part is None
    words = [b"".join(i.to_bytes(8) for i in range(n * PIECE, (n + 1) * PIECE)).hex() for n in range(PIECES)]
    assert [p[0] for p in pieces[1:]] == words[1:]
    assert [n for n, p in enumerate(pieces) if p and not p[1]] == [7]


def test_a_long_stream_is_compared_from_both_ends(tmp_path: Path) -> None:
    changed = (3, 9_000, PAGES - 2)
    (tmp_path / "a").write_bytes(guest(PAGES))
    (tmp_path / "b").write_bytes(guest(PAGES, *changed))
    program = str(Path(sys.executable).with_name("migmatrix"))
    command = [program, "stream", "diff", str(tmp_path / "a"), str(tmp_path / "b")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[0] == "ram-content ram pc.ram: 3 pages from 0x3000 differ"
    assert (done.returncode, done.stderr) == (1, "")
