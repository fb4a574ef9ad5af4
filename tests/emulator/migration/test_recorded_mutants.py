# SPDX-License-Identifier: Apache-2.0
"""Mutants of streams that real QEMU was given too: the same verdict, and the same lines (`support/record_mutants.py`).

Where QEMU ends by an assertion the emulator refuses, in words of its own.
"""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest
from migration_machines import make
from mutants import RELEASES, Edit, Mutant
from record_mutants import DATA
from whole_streams import loaded

# more queues than there are: what follows is read as something else, up to another check
_OTHER_WORDS = {
    f"0000:00:{n}#{i} virtio.queues = ..05"
    for n, i in (
        ("03.0/virtio-net", "0@35"),
        ("06.0/virtio-balloon", "0@38"),
        ("04.0/virtio-net", "0@34"),
        ("07.0/virtio-balloon", "0@37"),
    )
}
_FILES = sorted(path.name for path in DATA.glob("mutants-*.json.gz"))


@pytest.mark.slow
@pytest.mark.parametrize("name", _FILES)
def test_what_real_qemu_said(name: str) -> None:
    line = name.split("-")[1]
    found = json.loads(gzip.decompress((DATA / name).read_bytes()))
    good = base64.b64decode(found["stream"])
    wrong = [row["what"] for row in found["mutants"] if not _same(RELEASES[line], found["words"], row, good)]
    assert len(found["mutants"]) > 100
    assert {row["verdict"] for row in found["mutants"]} >= {"taken", "refused", "crash"}
    assert wrong == []


def _same(release: str, words: list[str], row: dict[str, Any], good: bytes) -> bool:
    edits = tuple(Edit(offset, gone, bytes.fromhex(come)) for offset, gone, come in row["edits"])
    machine = make(release, "-nodefaults", *words, "-incoming", "defer")
    status, lines = loaded(machine, Mutant(row["what"], edits).apply(good))
    if row["verdict"] in ("crash", "hang"):
        return status == 1
    plain = [text.encode("ascii", "ignore") for text in lines if "has no peer" not in text]
    theirs = [text.encode("ascii", "ignore") for text in row["lines"]]
    same = plain == theirs or row["verdict"] == "taken" or row["what"] in _OTHER_WORDS
    return same and status == (row["verdict"] == "refused")
