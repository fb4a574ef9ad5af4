# SPDX-License-Identifier: Apache-2.0
"""Whatever stands in a stream, `migmatrix stream` prints lines of its own, in characters that print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.commands.stream import main
from migmatrix.harness.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

EVIL = {
    "escape sequences": "\x1b[2J\x1b[31mpc",
    "a line that looks real": "x\n0x00000000  full   fake#0 v1  1 bytes",
    "a carriage return": "good\revil",
    "controls": "a\0b\x07\x9bc\x7f",
    "marks of direction": "a\u202eb\u2066c\u200b",
    "a lone surrogate": "a\ud800b",
    "what UTF-8 has": "\u00e9\u4e2d",
}
RAM = (0x1004).to_bytes(8)
PROGRAM = [sys.executable, "-c", "from migmatrix.harness.cli import main; main()", "stream"]


def wire(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def short(text: str) -> bytes:
    return bytes((len(wire(text)),)) + wire(text)


def stream(evil: str, value: int = 1) -> bytes:
    """A stream whose every name is `evil`: machine, capability, memory block, sections, fields and types."""
    inner = {"vmsd_name": evil, "version": 1, "fields": [{"name": evil, "type": "uint8", "size": 1}]}
    fields = [
        {"name": evil, "type": evil, "size": 1},
        {"name": evil, "type": "struct", "size": 1, "struct": inner},
        {"name": "text", "type": "buffer", "size": 8},
    ]
    sub = [{"vmsd_name": evil, "version": 1, "fields": fields[:1]}]
    device = {
        "name": evil,
        "instance_id": 0,
        "vmsd_name": evil,
        "version": 1,
        "fields": fields,
        "subsections": sub,
    }
    text = json.dumps({"page_size": 4096, "devices": [device]}).encode()
    names = b"\5" + short("configuration/capabilities") + (1).to_bytes(4) + (1).to_bytes(4) + short(evil)
    head = b"QEVM\0\0\0\3\7" + len(wire(evil)).to_bytes(4) + wire(evil) + names
    block = RAM + short(evil) + (0x1000).to_bytes(8) + (0x10).to_bytes(8)
    page = (2).to_bytes(8) + short(evil) + b"\0" + (0x10).to_bytes(8)
    memory = b"\1\0\0\0\1" + short("ram") + bytes(4) + (4).to_bytes(4) + block + b"\x7e\0\0\0\1"
    memory += b"\3\0\0\0\1" + page + b"\x7e\0\0\0\1"
    payload = (
        bytes((value, 2)) + wire(evil)[:8].ljust(8, b"\0") + b"\5" + short(evil) + (1).to_bytes(4) + b"\3"
    )
    section = b"\4\0\0\0\2" + short(evil) + bytes(4) + (1).to_bytes(4) + payload + b"\x7e\0\0\0\2"
    return head + memory + section + b"\0\6" + len(text).to_bytes(4) + text


COMMANDS = (
    ["show", "--fields", "--pages"],
    ["show", "--full", "--json", "--fields"],
    ["show", "--section", "*"],
    ["show", "--description"],
    ["check"],
    ["check", "--json"],
    ["digest"],
    ["diff", "--which-pages", "two"],
    ["diff", "--json", "two"],
    ["accept", "--by", "two"],
    ["accept", "--by", "plain"],
    ["diff", "plain"],
)


def written(directory: Path, evil: str) -> list[str]:
    """Names of streams, whole and damaged; the last commands compare with ``two`` and ``plain``."""
    odd = stream(evil).replace(b"\4\0\0\0\2" + short(evil), b"\4\0\0\0\2" + short(evil + "-"))
    kinds = {"one": stream(evil), "cut": stream(evil)[:-3], "odd": odd, "junk": stream(evil) + wire(evil)}
    directory.mkdir()
    for name, data in {**kinds, "two": stream(evil, 7), "plain": stream("plain")}.items():
        (directory / name).write_bytes(data)
    return list(kinds)


@pytest.mark.parametrize("name", EVIL)
def test_every_command_prints_harmless_lines(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As many as for a harmless name, so that none is the stream's own."""
    written(tmp_path / "harmless", "name")
    for file in written(tmp_path / "evil", EVIL[name]):
        for command in COMMANDS:
            counts = []
            for directory in ("harmless", "evil"):
                monkeypatch.chdir(tmp_path / directory)
                counts.append(len(said([*command, file], capsys)))
            assert counts[0] == counts[1], (command, file)


def said(command: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """All lines of a command, which print on any terminal."""
    told = []
    try:
        main(command)
    except UserError as error:
        told.append(str(error))
    out, err = capsys.readouterr()
    lines = [*told, *(out + err).split("\n")]
    for line in lines:
        assert line.isprintable(), (command, line)
        assert not line.startswith("0x00000000  full   fake"), (command, line)
    return lines


def test_names_that_print_are_shown_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "one"
    file.write_bytes(stream(EVIL["what UTF-8 has"]))
    assert main(["show", "--fields", str(file)]) == 0
    assert capsys.readouterr().out.count(EVIL["what UTF-8 has"]) >= 8


def test_a_hostile_stream_is_otherwise_read_as_any(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, evil in EVIL.items():
        (tmp_path / "one").write_bytes(stream(evil))
        assert main(["check", str(tmp_path / "one")]) == 0, name
        assert main(["digest", str(tmp_path / "one")]) == 0, name
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is not there")  # noqa: PTH110 - a device
@pytest.mark.parametrize("command", [["show", "--fields"], ["check", "--json"], ["digest"]])
def test_a_full_disk_is_one_line(command: list[str], tmp_path: Path) -> None:
    file = tmp_path / "one"
    file.write_bytes(stream("plain"))
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        argv = [*PROGRAM, *command, str(file)]
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "No space left on device" in done.stderr
