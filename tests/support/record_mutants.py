# SPDX-License-Identifier: Apache-2.0
"""Records what real QEMU says of mutants of a stream that the emulator made, so that a fast test can compare.

    python tests/support/record_mutants.py --line 7.2 --board q35

writes ``tests/emulator/migration/data/mutants-LINE-BOARD.json.gz``: the stream (base64), the command line, and for
each mutant its edits, QEMU's verdict and its lines. Mutants are random ones and `chosen` ones: places where QEMU
once refused what the emulator took.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guests import ROOT
from mutants import Edit, Good, Mutant, arguments, container, emulator, load, mutant, sent

if TYPE_CHECKING:
    from collections.abc import Iterator

DATA = ROOT / "tests/emulator/migration/data"
RANDOM = 60
# part of a value's name, bytes that replace its last ones
CHOSEN = (
    ("acpi_mr.table_mr_size", "00200001"), ("acpi_mr.linker_mr_size", "00010001"), ("acpi_mr.rsdp_mr_size", "00001001"),
    ("acpi_mr.table_mr_size", "00040000"), ("Interrupt Pin", "00"), ("Interrupt Pin", "05"), ("Interrupt Pin", "02"),
    ("irq_state.line[1]", "80000000"), ("queue[0].vector", "7fff"), ("queue[0].last_avail", "8000"),
    ("virtio.queues", "05"), ("virtio.queues", "0401"), ("ncq_tfs[3].used", "01"), ("ncq_tfs[3].halt", "01"),
    ("queue[0].num", "0400"), ("queue_sel", "ffff"), ("nr_ports", "05"), ("nvectors", "7f"),
)  # fmt: skip


def chosen(good: Good) -> Iterator[Mutant]:
    """Each of `CHOSEN` in each device that has such a value; the ends of a stream inside a table of queues."""
    spots = [spot for found in good.values.values() for spot in found]
    for part, come in CHOSEN:
        new, seen = bytes.fromhex(come), set()
        for spot in spots:
            owner = spot.name.partition(" ")[0]
            if part in spot.name and owner not in seen and spot.size >= len(new):
                seen.add(owner)
                at = spot.offset + spot.size - len(new)
                yield Mutant(f"{spot.name} = ..{come}", (Edit(at, len(new), new),))
    table = good.data.index(b"virtio_pci/modern_state") + len(b"virtio_pci/modern_state") + 4
    for at in (table + 7, table + 40, table + 44, table + 47):
        yield Mutant(f"cut at {at}", (Edit(at, len(good.data) - at, b""),))
    for section in good.sections[-3:]:
        end = section.offset + section.size
        yield Mutant(f"cut at {end - 5}", (Edit(end - 5, len(good.data) - end + 5, b""),))
    yield Mutant("COLO", (Edit(good.sections[2].offset, 0, b"\x08\0\x08\0\2\0\0"),))


def record(line: str, board: str, shared: Path) -> dict[str, Any]:
    """The contents of one file."""
    words = arguments(line, board)
    data = sent([*emulator(line), *words, "-S"], shared / "good")
    good = Good(data)
    found = [*chosen(good), *(mutant(good, seed) for seed in range(RANDOM))]
    with container(line, shared) as prefix, ThreadPoolExecutor(2) as pool:

        def one(numbered: tuple[int, Mutant]) -> dict[str, Any]:
            number, broken = numbered
            path = shared / f"{number}"
            path.write_bytes(broken.apply(data))
            told = load([*prefix, *words], path)
            path.unlink()
            edits = [(e.offset, e.gone, e.come.hex()) for e in broken.edits]
            said = [text for text in told.lines if "has no peer" not in text]
            return {"what": broken.what, "edits": edits, "verdict": told.verdict, "lines": said}

        rows = list(pool.map(one, enumerate(found)))
    return {"words": words, "stream": base64.b64encode(data).decode(), "mutants": rows}


def main() -> None:
    """Write one file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--line", default="7.2")
    parser.add_argument("--board", default="q35")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutants") as name:
        Path(name).chmod(0o755)
        found = record(given.line, given.board, Path(name))
    target = DATA / f"mutants-{given.line}-{given.board}.json.gz"
    target.write_bytes(gzip.compress(json.dumps(found).encode(), mtime=0))


if __name__ == "__main__":
    main()
