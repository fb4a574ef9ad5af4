# SPDX-License-Identifier: Apache-2.0
"""Real QEMU to the emulator and back, by `matrices/interop.yaml`: whatever QEMU takes from QEMU, it takes on that way.

By default `isapc` with cards, by snapshot and live; `MIGMATRIX_INTEROP='mode=*'` (any selection, terms separated by
spaces) runs others, and the harness's own store is used, so that what a run has done is not done again.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from analyze_migration import Opinion, compare, misled
from lab import MIGMATRIX
from real_matrix import fetch

from migmatrix.harness.store import LegStore, default_store
from migmatrix.vmstate.view.compare import diff
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from analyze_migration import Script

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(1800)]

MATRIX = Path(__file__).parents[3] / "matrices" / "interop.yaml"
SELECTION = os.environ.get("MIGMATRIX_INTEROP", "profile=isa-cards").split()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Results of the selected cells."""
    run = tmp_path_factory.mktemp("interop") / "run"
    select = [word for term in SELECTION for word in ("--select", term)]
    command = [*MIGMATRIX, "run", "-f", str(MATRIX), *select, "--out", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr  # what real QEMU cannot do either is a known issue
    return [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]


def _verdicts(results: list[dict[str, Any]]) -> dict[tuple[str, ...], str]:
    return {(r["machine"], r["profile"], r["mode"], *r["path"]): r["verdict"] for r in results}


def test_what_goes_directly_goes_through_the_emulator(results: list[dict[str, Any]]) -> None:
    verdicts = _verdicts(results)
    chains = [key for key in verdicts if len(key) == 6]
    assert chains
    wrong = {
        key: verdict
        for key in chains
        if (verdict := verdicts[key]) != "pass" and verdicts[*key[:4], key[5]] == "pass"
    }
    assert not wrong


def test_the_way_back_to_the_same_build_always_works(results: list[dict[str, Any]]) -> None:
    back = [r for r in results if len(r["path"]) == 3 and r["path"][0] == r["path"][2]]
    assert len(back) >= 4
    assert {r["verdict"] for r in back} == {"pass"}


def test_a_guest_born_in_the_emulator_goes_to_its_real_release(results: list[dict[str, Any]]) -> None:
    born = [r for r in results if r["path"][0].startswith("emu-")]
    assert len(born) >= 4
    assert {r["verdict"] for r in born} == {"pass"}


def test_the_stream_is_the_same(results: list[dict[str, Any]]) -> None:
    """Every value that real QEMU sent leaves the emulator's release of its line as it came; memory too."""
    compared = 0
    for real, emulated in _relayed(results):
        assert not diff(read_stream(real), read_stream(emulated))
        compared += 1
    assert compared >= 4


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the script leaves its files open
def test_qemus_own_script_reads_the_emulators_streams(
    results: list[dict[str, Any]], script: Script, tmp_path: Path
) -> None:
    opinion = Opinion()
    for _, emulated in _relayed(results):
        if misled(emulated):
            opinion.unread += 1
            continue
        kept = tmp_path / "stream"
        kept.write_bytes(emulated)
        compare(read_stream(emulated), script(kept), opinion)
    assert opinion.streams >= 3, opinion
    assert not opinion.unexplained, opinion


def _relayed(results: list[dict[str, Any]]) -> list[tuple[bytes, bytes]]:
    """Streams of a real build, and what the emulator of its line made of them."""
    store = LegStore(default_store(), print)
    keys = {
        tuple(r["hops"][:2])
        for r in results
        if r["mode"] == "snapshot"
        and len(r["path"]) == 3
        and r["path"][0].removeprefix("qemu") == r["path"][1].removeprefix("emu")
        and r["verdict"] == "pass"
    }
    found = [(fetch(store, first), fetch(store, second)) for first, second in sorted(keys)]
    return [(real, emulated) for real, emulated in found if real is not None and emulated is not None]
