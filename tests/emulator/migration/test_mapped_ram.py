# SPDX-License-Identifier: Apache-2.0
"""mapped-ram: a file in which each page has its place, written and read; with multifd it is the same file."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from migration_machines import enable, fill, make, memory, status, until

from migmatrix.emulator.errors import QmpError
from migmatrix.harness.streams.file import open_stream

if TYPE_CHECKING:
    from pathlib import Path

    from migration_machines import Box

MIB = 3
WORDS = ("-M", "pc-q35-7.2", "-m", str(MIB), "-nodefaults", "-S")
WITH = (("mapped-ram",), ("mapped-ram", "multifd"))


def source(release: str, *capabilities: str) -> Box:
    machine = make(release, *WORDS)
    fill(machine)
    enable(machine, *capabilities)
    return machine


def save(machine: Box, path: Path, more: str = "") -> Path:
    machine.migration.migrate(f"file:{path}{more}")
    assert status(machine)["status"] == "completed", machine.migration.query()
    return path


def load(path: Path, release: str, *capabilities: str, more: str = "") -> Box:
    there = make(release, *WORDS, "-incoming", "defer")
    enable(there, *capabilities)
    there.migration.incoming(f"file:{path}{more}")
    until(lambda: there.ended or there.migration.query().get("status") == "completed", "the end")
    return there


@pytest.mark.parametrize("saves", WITH, ids="+".join)
@pytest.mark.parametrize("loads", WITH, ids="+".join)
@pytest.mark.parametrize(("old", "new"), [("9.0", "9.0"), ("10.0", "11.1"), ("11.1", "10.0")])
def test_all_memory_arrives(
    old: str, new: str, saves: tuple[str, ...], loads: tuple[str, ...], tmp_path: Path
) -> None:
    machine = source(old, *saves)
    there = load(save(machine, tmp_path / "file"), new, *loads)
    assert there.said == []
    assert memory(there) == memory(machine)
    ram = machine.migration.query()["ram"]
    assert bool(ram["multifd-bytes"]) == ("multifd" in saves)
    assert ram["normal"] + ram["duplicate"] == ram["total"] // 4096


def test_behind_what_is_somebody_elses(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"mine" * 1024)
    machine = source("10.0", "mapped-ram")
    save(machine, path, ",offset=4096")
    assert path.read_bytes()[:4096] == b"mine" * 1024
    assert memory(load(path, "10.0", "mapped-ram", more=",offset=4096")) == memory(machine)


def test_both_ways_of_writing_give_the_same_file(tmp_path: Path) -> None:
    files = [save(source("10.0", *names), tmp_path / "+".join(names)).read_bytes() for names in WITH]
    head = files[0].index(b"ram") + (MIB << 20)
    assert files[0][:head] == files[1][:head]
    # between the two, a section without content for each round that memory took, and a busy host makes it more
    devices = [len(file) - file.index(b"\x05timer") for file in files]
    assert devices[0] == devices[1]


def test_a_page_that_is_sent_again_has_one_place(tmp_path: Path) -> None:
    """A guest that writes meanwhile: what became zero is zero, and the file is as long as that of one that stands."""
    machine = source("10.0", "mapped-ram", "multifd")
    machine.vm_start()
    machine.migration.set_parameters({"max-bandwidth": 8 << 20, "downtime-limit": 20})
    machine.migration.migrate(f"file:{tmp_path / 'file'}")
    block = machine.ram_blocks["pc.ram"]
    for number in range(3000):
        with machine.bql:
            if machine.runstate != "running":
                break
            block.write(number * 37 % (MIB << 8) * 4096, number.to_bytes(8) * (512 if number % 3 else 0))
            block.write(number * 11 % (MIB << 8) * 4096, bytes(4096))
    assert status(machine)["status"] == "completed"
    assert memory(load(tmp_path / "file", "10.0", "mapped-ram")) == memory(machine)
    still = save(source("10.0", "mapped-ram"), tmp_path / "still")
    assert abs((tmp_path / "file").stat().st_size - still.stat().st_size) < 4096


def test_what_reads_streams_reads_the_file(tmp_path: Path) -> None:
    path = save(source("10.0", "mapped-ram"), tmp_path / "file")
    with open_stream(str(path)) as found:
        assert bytes(found.data[:4]) == b"QEVM"


END = "Unexpected end-of-file before all data were read"
HEADER = struct.Struct(">IQQQ")


def changed(path: Path, **values: int) -> Path:
    """The file with other numbers in the header of its first block."""
    data = bytearray(path.read_bytes())
    at = data.index(b"pc.ram", 40) + len("pc.ram") + 8
    names = ("version", "page_size", "bitmap", "pages")
    found = dict(zip(names, HEADER.unpack_from(data, at), strict=True)) | values
    HEADER.pack_into(data, at, *found.values())
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"version": 2}, "Migration mapped-ram capability version not supported (expected <= 1, got 2)"),
        ({"page_size": 8192}, "Migration mapped-ram header has invalid page_size 8192 (expected 4096)"),
        ({"pages": 4097}, "Error reading ramblock pc.ram pages, region has bad alignment"),
        ({"bitmap": 1 << 40}, "Error reading dirty bitmap"),
        ({"bitmap": 1 << 63}, "Error reading dirty bitmap"),
        ({"pages": 1 << 40}, "(pc.ram) failed to read page 0from file offset 10000000000: "),
    ],
    ids=str,
)
def test_a_header_that_is_not_taken(values: dict[str, int], said: str, tmp_path: Path) -> None:
    path = changed(save(source("10.0", "mapped-ram"), tmp_path / "file"), **values)
    for release, end in (("10.0", "Partial read of size 0, expected 8192"), ("11.1", END)):
        there = load(path, release, "mapped-ram")
        assert there.ended
        assert there.said[0] == said + (end if said.endswith(": ") else "")


def test_a_side_without_it(tmp_path: Path) -> None:
    path = save(source("10.0", "mapped-ram"), tmp_path / "file")
    there = load(path, "10.0")
    assert there.said[0] == "Capability mapped-ram is off, but received capability is on"


@pytest.mark.parametrize("uri", ["tcp:127.0.0.1:1", "unix:/nowhere", "exec:cat", "fd:1"])
def test_what_is_no_file(uri: str) -> None:
    with pytest.raises(QmpError, match=r"^Migration requires seekable transport \(e.g. file\)$"):
        source("10.0", "mapped-ram").migration.migrate(uri)


def test_packed_pages_have_no_place(tmp_path: Path) -> None:
    machine = source("10.0", "mapped-ram", "multifd")
    machine.migration.set_parameters({"multifd-compression": "zlib"})
    with pytest.raises(QmpError, match=r"^Cannot use compression with mapped-ram$"):
        machine.migration.migrate(f"file:{tmp_path / 'file'}")


@pytest.mark.parametrize(("other", "name"), [("xbzrle", "xbzrle"), ("postcopy-ram", "postcopy")])
def test_capabilities_that_exclude_it(other: str, name: str) -> None:
    with pytest.raises(QmpError, match=f"^Mapped-ram migration is incompatible with {name}$"):
        source("10.0", "mapped-ram", other)
