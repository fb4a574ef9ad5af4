# SPDX-License-Identifier: Apache-2.0
"""multifd between two machines: all memory arrives, by the channels, whatever the releases of the two sides."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from migration_machines import enable, fill, make, memory, status, target, until

from migmatrix.emulator.errors import QmpError

if TYPE_CHECKING:
    from pathlib import Path

    from migration_machines import Box

MIB = 3
PAGES = MIB << 8


def sides(
    old: str, new: str, machine: str = "none", parameters: dict[str, object] | None = None
) -> tuple[Box, Box]:
    """A machine with content, and one that waits."""
    words = ("-M", machine, "-m", str(MIB), "-nodefaults", "-S")
    source, there = make(old, *words), make(new, *words, "-incoming", "defer")
    fill(source)
    for side in (source, there):
        enable(side, "multifd")
        side.migration.set_parameters(parameters or {})
    return source, there


def migrate(source: Box, there: Box, uri: str) -> None:
    there.migration.incoming(uri)
    source.migration.migrate(uri)
    assert status(source)["status"] == "completed", source.migration.query()
    assert status(there)["status"] == "completed"


PAIRS = [
    ("7.2", "7.2", "none"), ("8.2", "8.2", "none"), ("9.0", "9.0", "none"), ("10.0", "11.1", "none"),
    ("7.2", "8.1", "pc-q35-7.2"), ("10.0", "7.2", "pc-q35-7.2"), ("11.1", "10.0", "pc-q35-7.2"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "machine"), PAIRS)
@pytest.mark.parametrize("channels", [1, 4])
def test_all_memory_arrives(old: str, new: str, machine: str, channels: int, tmp_path: Path) -> None:
    source, there = sides(old, new, machine, {"multifd-channels": channels})
    migrate(source, there, f"unix:{tmp_path / 'm'}")
    assert memory(source) == memory(there)
    ram = source.migration.query()["ram"]
    full = sum(
        any(data[at : at + 4096]) for data in memory(source).values() for at in range(0, len(data), 4096)
    )
    assert (ram["normal"], ram["duplicate"]) == (full, ram["total"] // 4096 - full)
    assert full * 4096 < ram["multifd-bytes"] < ram["transferred"]


@pytest.mark.parametrize(("release", "works"), [("9.1", True), ("9.2", False), ("10.0", True)])
def test_9_2_0_does_not_read_pages_of_a_packet_with_sync(release: str, works: bool, tmp_path: Path) -> None:
    """What senders before 9.0 send. QEMU's work item 2720, fixed in 9.2.1."""
    source, there = sides("7.2", release, "pc-q35-7.2")
    uri = f"unix:{tmp_path / 'm'}"
    there.migration.incoming(uri)
    source.migration.migrate(uri)
    if works:
        assert status(there)["status"] == "completed"
        return
    until(lambda: there.ended, "the destination's end")
    assert there.said[0].startswith("multifd: received packet magic ")


@pytest.mark.parametrize("method", ["zlib", "zstd"])
@pytest.mark.parametrize(("old", "new"), [("7.2", "7.2"), ("10.0", "11.1")])
def test_packed(method: str, old: str, new: str, tmp_path: Path) -> None:
    options: dict[str, object] = {"multifd-compression": method, f"multifd-{method}-level": 9}
    source, there = sides(old, new, parameters=options)
    source.ram_blocks["ram"].write(4096 * 300, random.Random(1).randbytes(4096 * 200))
    migrate(source, there, f"unix:{tmp_path / 'm'}")
    assert memory(source) == memory(there)
    ram = source.migration.query()["ram"]
    assert 200 * 4096 < ram["multifd-bytes"] < ram["normal-bytes"] * 0.8


def test_levels_count(tmp_path: Path) -> None:
    sizes = {}
    for level in (0, 1):
        options: dict[str, object] = {"multifd-compression": "zlib", "multifd-zlib-level": level}
        source, there = sides("10.0", "10.0", parameters=options)
        migrate(source, there, f"unix:{tmp_path / str(level)}")
        sizes[level] = source.migration.query()["ram"]["multifd-bytes"]
    assert sizes[1] * 5 < sizes[0]


def test_methods_that_this_build_does_not_have() -> None:
    machine = make("10.0", "-M", "none")
    with pytest.raises(QmpError, match=r"^Parameter 'multifd-compression' does not accept value 'qpl'$"):
        machine.migration.set_parameters({"multifd-compression": "qpl"})


def test_over_tcp() -> None:
    source, there = sides("10.0", "10.0")
    there.migration.incoming("tcp:127.0.0.1:0")
    (where,) = there.migration.query()["socket-address"]
    source.migration.migrate(f"tcp:127.0.0.1:{where['port']}")
    assert status(source)["status"] == "completed"
    assert status(there)["status"] == "completed"
    assert memory(source) == memory(there)


def test_a_guest_that_writes_meanwhile_loses_nothing(tmp_path: Path) -> None:
    source, there = sides("10.0", "11.1")
    source.vm_start()
    source.migration.set_parameters({"max-bandwidth": 8 << 20, "downtime-limit": 20})
    uri = f"unix:{tmp_path / 'm'}"
    there.migration.incoming(uri)
    source.migration.migrate(uri)
    block = source.ram_blocks["ram"]
    for number in range(4000):
        with source.bql:
            if source.runstate != "running":
                break
            block.write(number * 37 % PAGES * 4096, number.to_bytes(8) * (512 if number % 3 else 0))
    assert status(source)["status"] == "completed"
    assert status(there)["status"] == "completed"
    assert memory(source) == memory(there)


def test_a_cancelled_one_leaves_the_guest_running_and_can_be_repeated(tmp_path: Path) -> None:
    source, there = sides("10.0", "10.0")
    source.vm_start()
    source.migration.set_parameters({"max-bandwidth": 4096})
    uri = f"unix:{tmp_path / 'm'}"
    there.migration.incoming(uri)
    source.migration.migrate(uri)
    until(lambda: source.migration.query()["status"] == "active", "the migration")
    source.migration.cancel()
    assert status(source)["status"] == "cancelled"
    until(lambda: there.ended, "the destination's end")
    assert source.runstate == "running"
    source.migration.set_parameters({"max-bandwidth": 0})
    again = target("10.0", "-S", mib=MIB)
    enable(again, "multifd")
    migrate(source, again, f"unix:{tmp_path / 'again'}")


@pytest.mark.parametrize(
    ("release", "machine"),
    [("7.2", "none"), ("10.1", "none"), ("11.1", "none"), ("11.1", "pc-q35-7.2")],
)
def test_with_postcopy_pages_come_by_channels_first(release: str, machine: str, tmp_path: Path) -> None:
    """Precopy by channels, at a rate that leaves most of it; the rest by the main stream, as it is asked for."""
    source, there = sides(release, release, machine, {"max-bandwidth": 4096})
    for side in (source, there):
        enable(side, "postcopy-ram")
    source.vm_start()
    uri = f"unix:{tmp_path / 'm'}"
    there.migration.incoming(uri)
    source.migration.migrate(uri)
    until(lambda: source.migration.query().get("ram", {}).get("multifd-bytes", 0) > 1 << 19, "pages")
    source.migration.start_postcopy()
    assert status(source)["status"] == "completed"
    assert status(there)["status"] == "completed"
    assert memory(source) == memory(there)
    ram = source.migration.query()["ram"]
    assert 1 << 19 < ram["multifd-bytes"] < ram["total"] // 2
