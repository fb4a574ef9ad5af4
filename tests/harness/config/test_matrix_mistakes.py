# SPDX-License-Identifier: Apache-2.0
"""Every mistake in a matrix file is one line with file, line and column, and says what to write instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.config import load_matrix
from migmatrix.harness.errors import ConfigError, UserError

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """\
builds:
  old: {provider: debian, suite: bullseye}
  new: {provider: debian, suite: trixie}
machines:
  - pc-q35-5.2
profiles:
  define: {nic: {args: [-device, e1000e]}}
paths:
  explicit: ["old>new"]
"""

MISTAKES = {
    "typo in a key": (("machines:", "machnies:"), "4:1: unknown key 'machnies': did you mean 'machines'?"),
    "typo in an inner key": (("suite: b", "siute: b"), "2:27: unknown key 'siute': did you mean 'suite'?"),
    "unknown key, nothing near": (
        ("  define", "  zzz: 1\n  define"),
        "7:3: unknown key 'zzz': known: file, use, define",
    ),
    "duplicate key": (("profiles:", "builds: {}\nprofiles:"), "6:1: duplicate key 'builds', first on line 1"),
    "duplicate build": (
        ("  new:", "  old:"),
        "3:3: duplicate key 'old', first on line 2",
    ),
    "number where text is wanted": (
        ("suite: bullseye", "suite: 9.10"),
        '2:34: 9.10 unquoted is a number (9.1), not text: write "9.10"',
    ),
    "number that loses nothing": (
        ("e1000e]", "64]"),
        '7:34: 64 unquoted is a number, not text: write "64"',
    ),
    "version as a key": (
        ("  new:", "  9.10:"),
        '3:3: key 9.10 unquoted is a number (9.1), not text: write "9.10"',
    ),
    "on": (
        ("e1000e]", "on]"),
        '7:34: on unquoted is read as true: write "on" for text, or true',
    ),
    "no as a key": (
        ("  new:", "  no:"),
        '3:3: no unquoted is read as false: write "no" for text, or false',
    ),
    "true where text is wanted": (
        ("e1000e]", "true]"),
        '7:34: true unquoted is a boolean, not text: write "true"',
    ),
    "underscores": (
        ("e1000e]", "1_000]"),
        '7:34: 1_000 unquoted is read as 1000: write "1_000" for text, or a decimal number',
    ),
    "sexagesimal": (
        ("e1000e]", "12:30]"),
        '7:34: 12:30 unquoted is read as 750: write "12:30" for text, or a decimal number',
    ),
    "octal": (
        ("e1000e]", "017]"),
        '7:34: 017 unquoted is read as 15: write "017" for text, or a decimal number',
    ),
    "date where text is wanted": (
        ("e1000e]", "2030-01-31]"),
        '7:34: 2030-01-31 unquoted is a date, not text: write "2030-01-31"',
    ),
    "time": (
        ("e1000e]", "2030-01-31 10:00:00]"),
        '7:34: 2030-01-31 10:00:00 unquoted is read as a time: write "2030-01-31 10:00:00"',
    ),
    "equals sign": (
        ("e1000e]", "=]"),
        '7:34: = unquoted has a meaning of its own in YAML: write "="',
    ),
    "nothing where text is wanted": (("suite: bullseye", "suite: "), "2:33: text is wanted, not nothing"),
    "list where text is wanted": (("suite: bullseye", "suite: [a]"), "2:34: text is wanted, not a list"),
    "text where a list is wanted": (
        ("[-device, e1000e]", "-device e1000e"),
        "7:24: a list is wanted, not '-device e1000e'",
    ),
    "missing key": (("suite: bullseye", "args: []"), "2:8: key 'suite' is missing"),
    "missing section": (("machines:\n  - pc-q35-5.2\n", ""), "1:1: key 'machines' is missing"),
    "unknown provider": (
        ("debian, suite: b", "fedora, suite: b"),
        "2:19: 'fedora' is not one of 'debian', 'image', 'binary', 'emulator'",
    ),
    "no provider": (("provider: debian, suite: b", "suite: b"), "2:8: key 'provider' is missing"),
    "bad name": (("  new:", "  'n>w':"), "3:3: 'n>w' is not a name: use letters, digits and . _ + : @ -"),
    "unknown build in a path": (
        ('"old>new"', '"old>nwe"'),
        "9:14: unknown build 'nwe' in path 'old>nwe': did you mean 'new'?",
    ),
    "path of one build": (('"old>new"', "old"), "9:14: 'old' is not a path: write A>B or A>B>C"),
    "chain among the pairs": (
        ('explicit: ["old>new"]', 'pairs: ["old>new>old"]'),
        "9:11: 'old>new>old' is not a pair: longer paths go to `explicit`",
    ),
    "word for pairs": (
        ('explicit: ["old>new"]', "pairs: some"),
        "9:10: 'some' is not one of 'all' or 'none'",
    ),
    "chains too long": (
        ('explicit: ["old>new"]', "chains: {length: 9}"),
        "9:20: input should be less than or equal to 6",
    ),
    "unknown mode": (
        ("paths:", "modes: [tpc]\npaths:"),
        "8:9: unknown mode 'tpc': write snapshot, equality, tcp, unix, exec, fd, file, or a mapping",
    ),
    "mode twice": (("paths:", "modes: [tcp, tcp]\npaths:"), "8:14: 'tcp' is twice in 'modes'"),
    "postcopy without a way back": (
        ("paths:", "modes: [{name: p, postcopy: true}]\npaths:"),
        "8:29: postcopy needs one of the transports tcp, unix, fd",
    ),
    "passes without a number": (
        ("paths:", "modes: [{name: p, transport: unix, capabilities: [postcopy-ram], postcopy: {passes: many}}]\npaths:"),
        "8:85: a whole number is wanted, not 'many'",
    ),
    "cut without postcopy": (
        ("paths:", "modes: [{name: p, transport: unix, cut: {seed: 1}}]\npaths:"),
        "8:41: only a link of postcopy over unix can be cut",
    ),
    "cut of a link that does not pass here": (
        ("paths:", "modes: [{name: p, transport: fd, capabilities: [postcopy-ram], postcopy: true, cut: {}}]\npaths:"),
        "8:85: only a link of postcopy over unix can be cut",
    ),
    "cut before the first byte": (
        ("paths:", "modes: [{name: p, transport: unix, capabilities: [postcopy-ram], postcopy: true, cut: {within: 0}}]\npaths:"),
        "8:96: input should be greater than or equal to 1",
    ),
    "tls one way": (
        ("paths:", "modes: [{name: p, transport: exec, tls: true}]\npaths:"),
        "8:41: tls needs one of the transports tcp, unix, fd",
    ),
    "memory of a snapshot": (
        ("paths:", "modes: [{name: p, memory: shared}]\npaths:"),
        "8:27: a snapshot has no 'memory': give a transport",
    ),
    "memory of another kind": (
        ("paths:", "modes: [{name: p, transport: unix, memory: tiny}]\npaths:"),
        "8:44: 'tiny' is not one of 'shared', 'hugepages' or 'compared'",
    ),
    "answer to a snapshot": (
        ("paths:", "modes: [{name: p, capabilities: [return-path]}]\npaths:"),
        "8:34: the capability 'return-path' makes the source wait for an answer, and no answer comes over a snapshot: use one of tcp, unix, fd",
    ),
    "answer over a pipe": (
        ("paths:", "modes: [{name: p, transport: exec, source: {capabilities: [xbzrle, return-path]}}]\npaths:"),
        "8:68: the capability 'return-path' makes the source wait for an answer, and no answer comes over exec: use one of tcp, unix, fd",
    ),
    "postcopy of a snapshot": (
        ("paths:", "modes: [{name: p, capabilities: [postcopy-ram]}]\npaths:"),
        "8:34: the capability 'postcopy-ram' makes the source wait for an answer, and no answer comes over a snapshot: use one of tcp, unix, fd, file",
    ),
    "lockstep": (
        ("paths:", "modes: [{name: p, transport: tcp, capabilities: [x-colo]}]\npaths:"),
        "8:50: the capability 'x-colo' never ends a migration: the two sides go on in lockstep",
    ),
    "map in a snapshot": (
        ("paths:", "modes: [{name: p, destination: {capabilities: [mapped-ram]}}]\npaths:"),
        "8:48: the capability 'mapped-ram' needs a file to seek in, not a snapshot: use file",
    ),
    "channels of a snapshot": (
        ("paths:", "modes: [{name: p, transport: fd, capabilities: [multifd]}]\npaths:"),
        "8:49: the capability 'multifd' needs several connections, not fd: use one of tcp, unix, file",
    ),
    "unknown guest": (
        ("paths:", "guests: [windows]\npaths:"),
        "8:10: unknown guest 'windows': known: paused, firmware, pulse, pulse-drivers, pulse-smram; another name needs a kind",
    ),
    "guest time": (
        ("paths:", "guests: [{name: firmware, seconds: soon}]\npaths:"),
        "8:36: a number is wanted, not 'soon'",
    ),
    "unknown stage": (
        ("paths:", "policy: {deadline: {laod: 5}}\npaths:"),
        "8:21: input should be 'start', 'load', 'equality', 'check', 'run', 'save', 'migrate' or 'quit'",
    ),
    "no profile": (("define: {nic: {args: [-device, e1000e]}}", "define: {}"), "7:3: no profile: give a `file`, `use` some of the program's, or `define` one"),
    "profiles file is not there": (
        ("  define", "  file: gone.yaml\n  define"),
        "7:9: no file 'gone.yaml'",
    ),
    "known issues are not there": (("paths:", "known_issues: gone.yaml\npaths:"), "8:15: no file 'gone.yaml'"),
    "empty file": ((GOOD, ""), "1:1: the file is empty"),
    "a list": ((GOOD, "- a"), "1:1: a mapping is wanted, not a list"),
    "not YAML": (("{nic: {", "{nic: {{"), "8:1: expected ',' or '}', but got '<scalar>'"),
    "tag": (("[-device", "!!python/tuple [-device"), "7:24: tags are not supported"),
    "merge key": (("  new:", "  <<:"), "3:3: '<<' is not supported: write the keys out"),
    "undefined alias": (("e1000e]", "*x]"), "7:34: found undefined alias 'x'"),
    "second document": (("paths:", "---\npaths:"), "8:1: expected a single document in the stream, but found another document"),
    "tab": (("  old:", "\told:"), "2:1: found character '\\t' that cannot start any token"),
    "control character": (("e1000e]", "\x01]"), "7:34: a character that YAML does not allow"),
}  # fmt: skip


def mistake_of(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_matrix(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}:")


def test_the_good_file_is_good(tmp_path: Path) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_text(GOOD)
    assert list(load_matrix(path).builds) == ["old", "new"]


@pytest.mark.parametrize(("change", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistake(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "matrix.yaml"
    assert change[0] in GOOD
    path.write_text(GOOD.replace(*change, 1))
    assert mistake_of(path) == message


def test_the_first_of_several_mistakes_is_told(tmp_path: Path) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_text(GOOD.replace("e1000e]", "7]").replace("bullseye", "5.2"))
    assert mistake_of(path) == '2:34: 5.2 unquoted is a number, not text: write "5.2"'


def test_mistake_in_the_profiles_file_has_its_position(tmp_path: Path) -> None:
    (tmp_path / "profiles.yaml").write_text("nic:\n  args: [-smp, 4]\n")
    path = tmp_path / "matrix.yaml"
    path.write_text(GOOD.replace("define: {nic: {args: [-device, e1000e]}}", "file: profiles.yaml"))
    with pytest.raises(ConfigError) as caught:
        load_matrix(path)
    expected = f'{tmp_path / "profiles.yaml"}:2:16: 4 unquoted is a number, not text: write "4"'
    assert str(caught.value) == expected


def test_profile_in_both_places_and_glob_without_a_profile(tmp_path: Path) -> None:
    (tmp_path / "profiles.yaml").write_text("nic: {args: []}\n")
    path = tmp_path / "matrix.yaml"
    path.write_text(GOOD.replace("  define", "  file: profiles.yaml\n  define"))
    assert mistake_of(path) == "8:12: profile 'nic' is also in 'profiles.yaml'"
    path.write_text(GOOD.replace("  define", "  file: profiles.yaml\n  use: [nic, e1*]\n  define"))
    assert mistake_of(path) == "8:14: 'e1*' matches no profile: known: nic"


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^cannot read '.*gone\.yaml': No such file or directory$"):
        load_matrix(tmp_path / "gone.yaml")


def test_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_bytes(b"builds:\n  \xff: 1\n")
    assert mistake_of(path) == "2:3: the file is not UTF-8"


def test_alias_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "matrix.yaml"
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 9)]
    path.write_text("\n".join(["l0: &l0 [a]", *levels]))
    assert "more than 200000 values or 40 levels when aliases are followed" in mistake_of(path)


def test_alias_to_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_text("a: &a [*a]\n")
    assert mistake_of(path) == "1:4: an alias to something that it is part of"


@pytest.mark.parametrize("opening", ["[", "{a: "])
def test_deep_nesting_is_refused(tmp_path: Path, opening: str) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_text(opening * 5000)
    assert mistake_of(path).endswith("more than 40 levels")
