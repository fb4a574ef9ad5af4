# SPDX-License-Identifier: Apache-2.0
"""Text out of streams cannot write to the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from stream_data import load

from migmatrix.harness import cli
from migmatrix.harness.commands.stream import main
from migmatrix.harness.errors import UserError
from migmatrix.harness.visible import visible, visible_line

if TYPE_CHECKING:
    from pathlib import Path

SHOWN = [
    ("pc-q35-9.0+pve1", "pc-q35-9.0+pve1"),
    ("\x1b[2J\x1b[31mpc", r"\x1b[2J\x1b[31mpc"),
    ("x\n0x0  full\r", r"x\n0x0  full\r"),
    ("a\x9b31m", r"a\x9b31m"),
    ("a\u202eb", r"a\u202eb"),
    ("\ud800", r"\ud800"),
    ("Gr\xc3\xbc\xc3\x9fe", "Gr\u00fc\u00dfe"),
    ("\xe2\x80\xae", r"\u202e"),
]


@pytest.mark.parametrize(("text", "shown"), SHOWN)
def test_only_what_prints_is_shown(text: str, shown: str) -> None:
    assert visible_line(text) == shown


@pytest.mark.parametrize("command", ["show", "check", "digest"])
def test_a_hostile_machine_name_is_harmless(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load("q35-10.0.13")
    length = int.from_bytes(data[9:13], "big")
    name = b"\x1b[2J\nfake".ljust(length, b"\x9b")
    hostile = tmp_path / "\x1b]0;title\x07"
    hostile.write_bytes(data[:13] + name + data[13 + length :])
    main([command, str(hostile)])
    out, err = capsys.readouterr()
    assert all(line.isprintable() for line in (out + err).split("\n"))
    assert command != "show" or r"machine \x1b[2J\nfake" in out


def test_a_mistake_names_a_hostile_file_harmlessly(tmp_path: Path) -> None:
    with pytest.raises(UserError) as told:
        main(["show", str(tmp_path / "\x1b[31m")])
    assert str(told.value).isprintable()


HOSTILE = "\x1b]0;title\x07\x9b31m\u202e\u2066\u061c\u2028\u200b\ufeff\U000e0041x"
COMMANDS = [
    ["plan", "-f", HOSTILE],
    ["run", "-f", HOSTILE],
    ["run", "-f", "default", "--select", HOSTILE],
    ["run", "--plan", HOSTILE],
    ["builds", "list", "-f", HOSTILE],
    ["builds", "prepare", HOSTILE, "-f", "default"],
    ["judge", HOSTILE],
    ["report", HOSTILE],
    ["show", HOSTILE, HOSTILE],
    ["explain", HOSTILE, HOSTILE],
    ["try", HOSTILE],
    ["compat", "lint", HOSTILE],
    ["stream", "show", HOSTILE],
    ["stream", "diff", HOSTILE, HOSTILE],
    [HOSTILE],
    ["run", f"--{HOSTILE}"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: ascii(" ".join(command)))
def test_no_command_prints_a_hostile_name_as_it_is(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIGMATRIX_STORE", str(tmp_path / "store"))
    monkeypatch.setattr("sys.argv", ["migmatrix", *command])
    monkeypatch.setattr("migmatrix.harness.cli._leave", sys.exit)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert ended.value.code in (1, 2)
    assert out + err
    assert all(line.isprintable() for line in (out + err).split("\n"))


def test_text_of_several_lines_is_harmless_and_stays_text() -> None:
    shown = visible(f"one\n{HOSTILE}\r\ntwo\t\u00e9\U0001f600")

    assert shown.startswith("one\n")
    assert shown.endswith("x\ntwo\t\u00e9\U0001f600")
    assert all(line.replace("\t", " ").isprintable() for line in shown.split("\n"))
