# SPDX-License-Identifier: Apache-2.0
"""Other channels joined with the main one, memory written to files, and pages that differ named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import long_stream
import pytest
from stream_data import load

from migmatrix.harness.commands.stream import main
from migmatrix.harness.errors import ExitCode, UserError
from migmatrix.vmstate.record import replace
from migmatrix.vmstate.view.channels import Channel, joined
from migmatrix.vmstate.view.stream import Stream, read_stream
from migmatrix.vmstate.wire.constants import RamFlag
from migmatrix.vmstate.wire.multifd import MultifdFlag, MultifdPacket
from migmatrix.vmstate.wire.ramevents import RamBlock, RamMark, page_records

if TYPE_CHECKING:
    from pathlib import Path

VERSIONS = ("7.2.22", "10.0.13")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Captured channels, and a stream of the same guest that has all of its memory."""
    for version in VERSIONS:
        for name in (*(f"multifd-{version}.{i}" for i in range(3)), f"advised-{version}"):
            (tmp_path / name).write_bytes(load(name))
    (tmp_path / "return").write_bytes(load("advised-7.2.22.return"))
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(word) for word in arguments])
    return (code, *capsys.readouterr())


# -- channels ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_joined_channels_have_the_digest_of_one(
    files: Path, version: str, capsys: pytest.CaptureFixture[str]
) -> None:
    alone, first, *others = (
        files / f"{n}" for n in (f"advised-{version}", *(f"multifd-{version}.{i}" for i in range(3)))
    )
    _, whole, _ = said(capsys, "digest", alone)
    code, found, _ = said(capsys, "digest", first, "--channel", *others, files / "return")
    assert (code, found.split()[0]) == (0, whole.split()[0])
    code, _, why = said(capsys, "digest", first, "--channel", others[0])
    assert code == ExitCode.INCOMPLETE
    assert "are in none of the channels" in why


def test_channels_are_named(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, *others = (files / f"multifd-10.0.13.{i}" for i in range(3))
    arguments = (first, "--channel", *others, files / "return")
    code, text, _ = said(capsys, "show", *arguments)
    assert code == 0
    assert f"channel multifd 1: {others[0]}, 3 pages, 19072 bytes" in text
    assert f"channel return path: {files / 'return'}, 0 pages" in text
    assert "ram /rom@etc/acpi/tables: 0x20000 bytes, 29 zero, 3 page" in text
    code, text, _ = said(capsys, "check", *arguments)
    assert code == 0
    assert f"{others[1]}: complete, 23168 bytes, multifd 0" in text
    _, text, _ = said(capsys, "check", *arguments, "--json")
    assert [c["kind"] for c in json.loads(text)["channels"]] == ["multifd 1", "multifd 0", "return path"]


def test_files_that_are_no_channels(files: Path) -> None:
    first, other = files / "multifd-7.2.22.0", files / "multifd-7.2.22.1"
    with pytest.raises(UserError, match="no whole channel"):
        main(["show", str(first), "--channel", str(files / "advised-7.2.22")])
    (files / "cut").write_bytes(other.read_bytes()[:-1])
    with pytest.raises(UserError, match="cut' is no whole channel"):
        main(["digest", str(first), "--channel", str(files / "cut")])
    with pytest.raises(UserError, match="--channel is for one stream"):
        main(["show", str(first), str(first), "--channel", str(other)])


def packet(number: int, body: bytes, *, sync: bool = False) -> MultifdPacket:
    flags = int(MultifdFlag.SYNC) if sync else 0
    return MultifdPacket(flags, 128, 1, 0, 4096, number, b"a".ljust(256, b"\0"), bytes(1024), body)


def page(letter: str) -> bytes:
    return letter.encode() * 4096


@pytest.mark.parametrize("ends", [RamFlag.MULTIFD_FLUSH, RamFlag.EOS])
def test_a_page_is_what_the_last_epoch_sent(ends: RamFlag) -> None:
    """Two channels and three epochs: within one, packets count by their numbers; the main channel comes first."""
    mark = RamMark(int(ends))
    own = page_records("a", 0, [page("m")])
    stream = Stream((RamBlock("a", 4096), mark, own, mark), None, 0)
    one = Channel("multifd 0", 0, (packet(0, page("a"), sync=True), packet(3, page("b"))))
    two = Channel("multifd 1", 0, (packet(1, page("c"), sync=True), packet(2, page("d"))))
    urgent = Channel("preempt", 0, (page_records("a", 0, [page("u")]),))

    def content(*channels: Channel) -> str:
        ((_, body),) = joined(stream, channels).ram.blocks["a"].pages()
        return body[:1].decode()

    assert content(one, two) == "b"
    assert content(two) == "d"
    assert content(replace(one, events=one.events[:1])) == "m"
    assert content(one, urgent) == "u"


# -- memory as files, pages that differ ------------------------------------------------------------


def test_memory_is_written_to_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "stream").write_bytes(long_stream.guest(8))
    out = tmp_path / "out"
    code, text, _ = said(capsys, "show", tmp_path / "stream", "--extract", out)
    assert code == 0
    assert f"{out}/pc.ram: pc.ram, 32768 bytes" in text
    blocks = read_stream(long_stream.guest(8)).ram.blocks
    assert (out / "pc.ram").read_bytes() == b"".join(body for _, body in blocks["pc.ram"].pages())
    assert (out / "%2from@etc%2facpi%2ftables").stat().st_size == blocks["/rom@etc/acpi/tables"].used_length
    with pytest.raises(UserError, match=r"cannot write '.*/out/.*': File exists"):
        main(["show", str(tmp_path / "stream"), "--extract", str(out)])


def test_one_page_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "stream").write_bytes(long_stream.guest(8))
    (block,) = (b for b in read_stream(long_stream.guest(8)).ram.blocks.values() if b.name == "pc.ram")
    offset, body = list(block.pages())[3]
    code, text, _ = said(capsys, "show", tmp_path / "stream", "--page", f"pc.ram:{offset + 17:#x}")
    lines = text.splitlines()
    assert code == 0
    assert lines[0].startswith(f"{offset:#010x}  {bytes(body[:16]).hex(' ')}  ")
    _, text, _ = said(capsys, "show", tmp_path / "stream", "--json", "--page", f"pc.ram:{offset}")
    found = json.loads(text)
    assert (found["block"], found["offset"], found["raw"]) == ("pc.ram", offset, bytes(body).hex())
    zero = said(capsys, "show", tmp_path / "stream", "--page", "/rom@etc/acpi/tables:0x1f234")[1]
    assert zero.splitlines() == [f"0x0001f000  {bytes(16).hex(' ')}  {'.' * 16}", "*"]
    for place, why in (("pc.ram:1G", "so none at 0x40000000"), ("x:0", "no memory block 'x', only")):
        with pytest.raises(UserError, match=why):
            main(["show", str(tmp_path / "stream"), "--page", place])


@pytest.mark.parametrize("name", ["..", "../x", "a\0b", "\x1b[2J", ".hidden", "/etc/passwd"])
def test_a_hostile_name_of_a_block_stays_in_the_directory(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = long_stream.guest(8)
    changed = b"\x06pc.ram", bytes((len(name),)) + name.encode()
    (tmp_path / "stream").write_bytes(data.replace(*changed))
    code, text, _ = said(capsys, "show", tmp_path / "stream", "--extract", tmp_path / "in" / "out")
    assert code == 0
    assert "\x1b" not in text
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - {tmp_path / "stream"}
    assert {path.parent for path in written} == {tmp_path / "in" / "out"}
    assert len(written) == len(read_stream(data).ram.blocks)


def test_memory_that_is_elsewhere_is_not_written(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, why = said(capsys, "show", files / "multifd-7.2.22.0", "--extract", files / "out")
    assert code == ExitCode.INCOMPLETE
    assert "multifd channels" in why
    assert not (files / "out").exists()


def test_pages_that_differ_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, changed in (("a", ()), ("b", (2, 3, 7))):
        (tmp_path / name).write_bytes(long_stream.guest(16, *changed))
    code, text, _ = said(capsys, "diff", tmp_path / "a", tmp_path / "b", "--which-pages")
    assert code == 1
    assert [line for line in text.splitlines() if line.startswith("page")] == [
        "page        ram pc.ram: 2 from 0x2000",
        "page        ram pc.ram: 1 from 0x7000",
    ]
    _, text, _ = said(capsys, "diff", tmp_path / "a", tmp_path / "b", "--which-pages", "--json")
    assert json.loads(text)[-1] == {"kind": "page", "path": "pc.ram", "first": 0x7000, "count": 1}
