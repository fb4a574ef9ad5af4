# SPDX-License-Identifier: Apache-2.0
"""How long a guest waits for its memory: names and units by release, and lines as real QEMU printed them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from migration_machines import enable, runs, status, target, until
from monitor_calls import said
from short_places import short_place

from migmatrix.emulator.migration.blocktime import Blocktime
from migmatrix.emulator.qmp.humanmigration import blocktimes, figures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

if TYPE_CHECKING:
    from pathlib import Path

OLD = {"postcopy-blocktime", "postcopy-vcpu-blocktime"}
NEW = OLD | {
    "postcopy-latency",
    "postcopy-latency-dist",
    "postcopy-vcpu-latency",
    "postcopy-non-vcpu-latency",
}
FOUND = {
    "postcopy-blocktime": 125, "postcopy-non-vcpu-latency": 0, "postcopy-vcpu-latency": [13601697],
    "postcopy-latency-dist": [0] * 9 + [2, 1, 0, 0, 0, 0, 1, 1] + [0] * 7, "postcopy-latency": 13601697,
    "postcopy-vcpu-blocktime": [68],
}  # fmt: skip
SHOWN = """\
Postcopy Blocktime (ms): 125
Postcopy vCPU Blocktime (ms):
 [68]
Postcopy Latency (ns): 13601697
Postcopy non-vCPU Latency (ns): 0
Postcopy vCPU Latencies (ns):
 [13601697]
Postcopy Latency Distribution:
  [     1 us -     2 us ]:          0
  [     2 us -     4 us ]:          0
  [     4 us -     8 us ]:          0
  [     8 us -    16 us ]:          0
  [    16 us -    32 us ]:          0
  [    32 us -    64 us ]:          0
  [    64 us -   128 us ]:          0
  [   128 us -   256 us ]:          0
  [   256 us -   512 us ]:          0
  [   512 us -     1 ms ]:          2
  [     1 ms -     2 ms ]:          1
  [     2 ms -     4 ms ]:          0
  [     4 ms -     8 ms ]:          0
  [     8 ms -    16 ms ]:          0
  [    16 ms -    32 ms ]:          0
  [    32 ms -    65 ms ]:          1
  [    65 ms -   131 ms ]:          1
  [   131 ms -   262 ms ]:          0
  [   262 ms -   524 ms ]:          0
  [   524 ms -    1 sec ]:          0
  [    1 sec -    2 sec ]:          0
  [    2 sec -    4 sec ]:          0
  [    4 sec -    8 sec ]:          0
  [    8 sec -   16 sec ]:          0
"""


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The time, in nanoseconds, as the only item."""
    value = [0]
    monkeypatch.setattr(time, "monotonic_ns", lambda: value[0])
    return value


def test_all_vcpus_are_blocked_only_while_each_is(now: list[int]) -> None:
    times = Blocktime(2)
    times.begin("a", 0)
    now[0] = 10_000_000
    times.begin("b", 1)
    now[0] = 14_000_000
    times.end("a")
    now[0] = 20_000_000
    times.end("b")
    times.end("c")  # nobody waited for it
    assert times.told("10.0") == {"postcopy-blocktime": 4, "postcopy-vcpu-blocktime": [14, 10]}
    told = times.told("10.1")
    assert {*told} == NEW
    assert (told["postcopy-latency"], told["postcopy-vcpu-latency"]) == (12_000_000, [14_000_000, 10_000_000])
    assert told["postcopy-latency-dist"] == [0] * 13 + [2] + [0] * 10  # 8 to 16 ms


def test_who_is_no_vcpu_is_counted_apart(now: list[int]) -> None:
    times = Blocktime(1)
    times.begin("a", None)
    times.begin("a", None)
    now[0] = 100
    times.end("a")
    now[0] = 1 << 60
    assert times.told("11.1") == {
        "postcopy-blocktime": 0, "postcopy-vcpu-blocktime": [0], "postcopy-latency": 100,
        "postcopy-latency-dist": [2] + [0] * 23, "postcopy-vcpu-latency": [0], "postcopy-non-vcpu-latency": 100,
    }  # fmt: skip


@pytest.fixture
def place() -> Iterator[Path]:
    with short_place("bt") as path:
        yield path


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize(("release", "names"), [("7.2", OLD), ("10.0", OLD), ("11.1", NEW)])
def test_a_destination_tells_of_it_at_the_end(release: str, names: set[str], on: bool, place: Path) -> None:
    source, destination = runs(release, mib=1), target(release, mib=1)
    for side in (source, destination):
        enable(side, "postcopy-ram", *(["postcopy-blocktime"] if on else []))
    source.migration.set_parameters({"max-bandwidth": 4096, "max-postcopy-bandwidth": 20_000})
    destination.migration.incoming(f"unix:{place / 's'}")
    source.migration.migrate(f"unix:{place / 's'}")
    source.migration.start_postcopy()
    status(destination, "postcopy-active")
    missing = destination.migration.ram.postcopy
    assert missing is not None
    came = threading.Event()
    with destination.bql:
        block = destination.ram_blocks["ram"]
        missing.missing.when_here(block, block.pages - 1, came.set, vcpu=0)
    assert not {*destination.migration.query()} & NEW
    until(came.is_set, "the page")
    source.migration.set_parameters({"max-postcopy-bandwidth": 0})
    told: dict[str, Any] = status(destination, "completed")
    assert {*told} & NEW == (names if on else set())
    assert not {*source.migration.query()} & NEW
    if on and names == NEW:
        assert told["postcopy-latency"] == told["postcopy-vcpu-latency"][0] > 0
        assert sum(told["postcopy-latency-dist"]) == 1
        assert "Postcopy Latency Distribution:" in said(destination, "info migrate -a")


def test_lines_are_those_of_qemu() -> None:
    assert "".join(f"{line}\n" for line in blocktimes(FOUND)) == SHOWN
    old = figures({"status": "completed", "postcopy-blocktime": 15, "postcopy-vcpu-blocktime": [15]})
    assert old == [
        "Migration status: completed", "total time: 0 ms", "postcopy blocktime: 15", "postcopy vcpu blocktime: 15",
    ]  # fmt: skip
