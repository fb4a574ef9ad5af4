# SPDX-License-Identifier: Apache-2.0
"""Files in which a stream is packed, wrapped, behind an offset or not at all: read, or named for what they are."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard

from migmatrix.harness.errors import UserError
from migmatrix.harness.streams.file import byte_count, open_stream
from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from collections.abc import Callable

STREAM = b"QEVM\0\0\0\3" + bytes(range(256)) * 64
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}
PROGRAM = str(Path(sys.executable).with_name("migmatrix"))


def found(path: Path | str, offset: int = 0) -> tuple[bytes, str]:
    with open_stream(str(path), offset) as source:
        return bytes(source.data), source.inside


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(data)
    return path


def refusal(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(UserError) as caught:
        found(written(tmp_path, data))
    return str(caught.value).partition("file' ")[2]


MAGICS = {"lzop": b"\x89LZO\0\r\n\x1a\n", "lz4": b"\x04\x22\x4d\x18"}


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Makes programs that are shell scripts; there are no others of these names."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "tail", "head", "cat"):
        (tools / tool).symlink_to(f"/bin/{tool}" if Path(f"/bin/{tool}").exists() else f"/usr/bin/{tool}")
    monkeypatch.setenv("PATH", str(tools))

    def make(name: str, script: str) -> None:
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)

    return make


# -- packed ------------------------------------------------------------------------------------


@pytest.mark.parametrize("packing", MAGICS)
@pytest.mark.parametrize("before", [0, 4096])
def test_a_program_unpacks(
    tmp_path: Path, install: Callable[[str, str], None], packing: str, before: int
) -> None:
    magic = MAGICS[packing]
    install(packing, f'[ "$1" = -dc ] && tail -c +{len(magic) + 1}')
    path = written(tmp_path, bytes(before) + magic + STREAM)
    assert found(path, before) == (STREAM, packing)
    whole = gzip.compress(magic + STREAM)
    assert found(written(tmp_path, whole)) == (STREAM, f"gzip, {packing}")


@pytest.mark.parametrize("packing", MAGICS)
def test_a_program_that_fails_or_is_not_there(
    tmp_path: Path, install: Callable[[str, str], None], packing: str
) -> None:
    data = MAGICS[packing] + STREAM
    assert refusal(tmp_path, data) == (
        f"is packed by {packing}, which is not installed: install or unpack it first"
    )
    install(packing, "cat > /dev/null; echo; echo ' it is \a damaged' >&2; echo >&2; exit 3")
    path = written(tmp_path, data)
    with pytest.raises(UserError, match=r"cannot unpack '.*file': it is .* damaged"):
        found(path)
    install(packing, "cat > /dev/null; exit 3")
    with pytest.raises(UserError, match=r"cannot unpack '.*file': exit code 3"):
        found(path)


@pytest.mark.parametrize("packing", PACKERS)
def test_each_packing(tmp_path: Path, packing: str) -> None:
    assert found(written(tmp_path, PACKERS[packing](STREAM))) == (STREAM, packing)


@pytest.mark.parametrize("packing", PACKERS)
def test_two_packed_parts_are_one_stream(tmp_path: Path, packing: str) -> None:
    pack = PACKERS[packing]
    assert found(written(tmp_path, pack(STREAM[:99]) + pack(STREAM[99:])))[0] == STREAM


@pytest.mark.parametrize("packing", PACKERS)
def test_a_packed_file_that_ends_early_is_told_as_that(tmp_path: Path, packing: str) -> None:
    packed = PACKERS[packing](os.urandom(5000))
    for end in (20, len(packed) // 2, len(packed) - 1):
        path = written(tmp_path, packed[:end])
        with pytest.raises(UserError, match=rf"cannot unpack '.*file': the {packing} data ends early"):
            found(path)


@pytest.mark.parametrize("packing", PACKERS)
def test_a_damaged_packed_file_is_the_users_mistake(tmp_path: Path, packing: str) -> None:
    packed = bytearray(PACKERS[packing](os.urandom(5000)))
    packed[6:40] = b"\xff" * 34
    with pytest.raises(UserError, match=r"cannot unpack '.*file': "):
        found(written(tmp_path, bytes(packed)))


# -- wrapped -----------------------------------------------------------------------------------


def saved(stream: bytes, *, order: str = "<", magic: bytes = b"LibvirtQemudSave") -> bytes:
    xml = b"<domain type='kvm'><name>guest</name></domain>\0".ljust(1000, b"\0")
    return magic + struct.pack(f"{order}19I", 2, len(xml), 1, 0, 0, *[0] * 14) + xml + stream


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_libvirt_save_image(tmp_path: Path, order: str) -> None:
    wrapped = saved(STREAM, order=order)
    assert found(written(tmp_path, wrapped)) == (STREAM, "libvirt save image of 'guest'")


@pytest.mark.parametrize("packing", PACKERS)
def test_a_libvirt_save_image_with_a_packed_stream(tmp_path: Path, packing: str) -> None:
    wrapped = saved(PACKERS[packing](STREAM))
    expected = STREAM, f"libvirt save image of 'guest', {packing}"
    assert found(written(tmp_path, wrapped)) == expected
    assert found(written(tmp_path, gzip.compress(wrapped))) == (STREAM, f"gzip, {expected[1]}")


def test_a_save_image_without_a_stream(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ends before offset 0x444"):
        found(written(tmp_path, saved(b"")))
    assert refusal(tmp_path, saved(STREAM, magic=b"LibvirtQemudPart")) == (
        "is a libvirt save image that was not completed"
    )


# -- offsets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [1, 4096, 5000])
def test_a_stream_at_an_offset(tmp_path: Path, before: int) -> None:
    path = written(tmp_path, bytes(before) + STREAM)
    assert found(path, before)[0] == STREAM
    assert found(f"{path},offset={before}")[0] == STREAM
    assert found(f"{path},offset={before:#x}")[0] == STREAM


def test_a_part_of_a_mapped_file_is_read_and_given_back(tmp_path: Path) -> None:
    path = written(tmp_path, bytes(5000) + STREAM)
    with open_stream(str(path), 5000) as source:
        into = memoryview(bytearray(1000))
        source.read(7, into)
        source.release(0, len(source.data))
        assert into == source.data[7:1007]


def test_a_file_whose_name_looks_like_an_offset(tmp_path: Path) -> None:
    path = tmp_path / "file,offset=7"
    path.write_bytes(STREAM)
    assert found(path)[0] == STREAM


def test_an_offset_behind_the_end(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ends before offset 0x100000"):
        found(f"{written(tmp_path, STREAM)},offset=1M")


def test_a_mapped_ram_stream_at_an_offset(tmp_path: Path) -> None:
    """QEMU 10.0.13 counts the places of bitmap and pages from the begin of the file, whatever the offset."""
    path, places = tmp_path / "file", []
    for start in (0, 8192):
        path.write_bytes(bytes(start) + mapped_ram(start))
        with open_stream(str(path), start) as source:
            stream = read_stream(source.data, file_start=source.start)
        assert list(stream.ram.blocks["a"].pages()) == [(4096, b"p" * 4096)]
        places.append([event.offset for event in stream.events])
    assert places[0] == places[1]
    with pytest.raises(StreamError, match="expected a bitmap at 0x207c or later, found 0x7c"):
        read_stream(mapped_ram(0), file_start=8192)


def mapped_ram(start: int) -> bytes:
    """A stream for a file in which it begins at `start`: one block of two pages, the second is there."""
    names = b"\5\x1aconfiguration/capabilities\0\0\0\1\0\0\0\1\x0amapped-ram"
    head = b"QEVM\0\0\0\3\7\0\0\0\1m" + names + b"\1\0\0\0\2\3ram\0\0\0\0\0\0\0\4"
    head += struct.pack(">Q", 0x2004) + b"\1a" + struct.pack(">Q", 0x2000)
    bitmap = len(head) + 28
    head += struct.pack(">IQQQ", 1, 4096, start + bitmap, start + 4096) + b"\2" + bytes(7)
    end = struct.pack(">Q", 0x10)
    footer = b"\x7e\0\0\0\2"
    pages = head.ljust(4096, b"\0") + bytes(4096) + b"p" * 4096 + end + footer
    return pages + b"\3\0\0\0\2" + end + footer + b"\0"


@pytest.mark.parametrize(
    ("text", "count"), [("0", 0), ("4096", 4096), ("0x10", 16), ("4K", 4096), ("1m", 1 << 20)]
)
def test_numbers_of_bytes(text: str, count: int) -> None:
    assert byte_count(text) == count


@pytest.mark.parametrize("text", ["", "K", "-1", "5x", "1.5"])
def test_no_numbers_of_bytes(text: str) -> None:
    with pytest.raises(UserError, match="is no number of bytes"):
        byte_count(text)


# -- pipes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_standard_input(name: str, pack: Callable[[bytes], bytes]) -> None:
    command = [PROGRAM, "stream", "show", "--json", name]
    done = subprocess.run(command, input=pack(STREAM), capture_output=True, timeout=60, check=False)
    assert f'"file": "{name}"' in done.stdout.decode()
    assert f'"size": {len(STREAM)}' in done.stdout.decode()
    assert (done.returncode, done.stderr) == (1, b"")  # most of it is bytes after the end


def test_a_named_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with subprocess.Popen(["/bin/sh", "-c", f"cat > '{path}'"], stdin=subprocess.PIPE) as writer:
        assert writer.stdin is not None
        writer.stdin.write(STREAM)
        writer.stdin.close()
        assert found(path)[0] == STREAM


def test_a_character_device() -> None:
    with pytest.raises(UserError, match="'/dev/zero' is a character device, no file or pipe"):
        found("/dev/zero")


# -- what holds no stream ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x7fELF\2\1\1", "is an ELF file"),
        (b"KDUMP   \6", "is a kdump core"),
        (b"makedumpfile\0\0\0\0", "is a flattened kdump core"),
        (b"\x02\x21\x4c\x18", "is packed by lz4 in its old format"),
        (bytes.fromhex("11223344 00000001"), "is a channel of multifd"),
        (bytes.fromhex("16 0301 0006 01000002 0303"), "is a channel that TLS encrypts"),  # a handshake begins
        (bytes.fromhex("17 0303 0100") + bytes(256), "is a channel that TLS encrypts"),  # in the middle of it
        (bytes.fromhex("0002 0004 00000001"), "is a return path"),  # the answer to the first ping
        (bytes.fromhex("0007 0000"), "is a return path"),
        (bytes.fromhex("00000000000a0008 06") + b"pc.ram" + bytes(4096), "is a channel of postcopy-preempt"),
    ],
)
def test_other_files_are_named(tmp_path: Path, data: bytes, what: str) -> None:
    assert refusal(tmp_path, data).startswith(what)
    packed = refusal(tmp_path, gzip.compress(data))
    assert packed.startswith(what)


@pytest.mark.parametrize("data", [b"\0" * 5000, b"{}", b"QEV", b"\0\2\0\5abcde", b"text"])
def test_an_unknown_file_goes_to_the_reader(tmp_path: Path, data: bytes) -> None:
    assert found(written(tmp_path, data)) == (data, "")
