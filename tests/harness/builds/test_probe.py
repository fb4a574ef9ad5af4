# SPDX-License-Identifier: Apache-2.0
"""The probe's output, digests and cache."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.builds.facts import BuildFacts, MachineType
from migmatrix.harness.builds.probe import ProbeCache, files_digest, parse
from migmatrix.harness.errors import UnusableBuild, UserError
from migmatrix.harness.files import sealed

if TYPE_CHECKING:
    from pathlib import Path

OUTPUT = """\
some warning
@emulator
/usr/bin/qemu-system-x86_64
@files
aa  /usr/bin/qemu-system-x86_64
bb  /usr/share/qemu/a name with spaces.bin
@devices
Controller/Bridge/Hub devices:
name "i82801b11-bridge", bus PCI
name "virtio-blk-pci", bus PCI, alias "virtio-blk"
name "usb-kbd", bus usb-bus, desc "keyboard"

@qmp
{"QMP": {"version": {}, "capabilities": ["oob"]}}
{"return": {}}
{"return": {"qemu": {"micro": 13, "minor": 0, "major": 10}, "package": "Debian 1:10.0.13+ds-0"}, "id": "version"}
{"return": [{"name": "pc-q35-10.0", "alias": "q35", "default-cpu-type": "qemu64-x86_64-cpu"}, {"name": "pc-i440fx-2.4", "deprecated": true}], "id": "machines"}
{"return": [{"capability": "xbzrle", "state": false}, {"capability": "multifd", "state": false}], "id": "capabilities"}
{"return": {"arch": "x86_64"}, "id": "target"}
{"return": {}}
"""
FACTS = BuildFacts(
    digest="d" * 64,
    version="10.0.13",
    package="1:10.0.13+ds-0",
    machines=(
        MachineType("pc-i440fx-2.4", deprecated=True),
        MachineType("pc-q35-10.0", alias="q35", default_cpu="qemu64-x86_64-cpu"),
    ),
    devices=("i82801b11-bridge", "usb-kbd", "virtio-blk", "virtio-blk-pci"),
    capabilities=("multifd", "xbzrle"),
    target="x86_64",
)


def test_output_becomes_facts() -> None:
    output = parse(OUTPUT, "x", "qemu")
    assert output.emulator == "/usr/bin/qemu-system-x86_64"
    assert output.files == {
        "/usr/bin/qemu-system-x86_64": "aa",
        "/usr/share/qemu/a name with spaces.bin": "bb",
    }
    assert output.facts("d" * 64) == FACTS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@missing\n", "build 'x': there is no emulator 'qemu'"),
        ("@missing\na\nb\n", "build 'x': there is no emulator 'qemu': there is 'a' and 'b'"),
        ("", "build 'x': 'qemu' is not an emulator that speaks QMP: it said nothing"),
        (
            "@emulator\n/bin/true\n@files\naa  /bin/true\n@devices\n@qmp\n",
            "build 'x': 'qemu' is not an emulator that speaks QMP: it said nothing",
        ),
        ("exec /bin/sh: exec format error\n", "speaks QMP: 'exec /bin/sh: exec format error'"),
        (
            "@emulator\n/bin/true\n@files\n@devices\n@qmp\nusage: true\n",
            "build 'x': 'qemu' is not an emulator that speaks QMP: 'usage: true'",
        ),
        (OUTPUT[: OUTPUT.index('{"return": [')], "is not an emulator that speaks QMP"),
    ],
)
def test_what_is_no_emulator_is_the_users_mistake(text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(text, "x", "qemu")
    assert message in str(caught.value)


def test_digest_does_not_depend_on_order_but_on_names_and_contents() -> None:
    digest = files_digest({"/a": "1", "/b": "2"})
    assert digest == files_digest({"/b": "2", "/a": "1"})
    assert digest != files_digest({"/a": "2", "/b": "1"})
    assert digest != files_digest({"/a": "1", "/c": "2"})


def test_cache_gives_back_what_was_put(tmp_path: Path) -> None:
    log: list[str] = []
    cache = ProbeCache(tmp_path / "probes", log.append)
    assert cache.get(FACTS.digest) is None
    cache.put(FACTS)
    assert cache.get(FACTS.digest) == FACTS
    assert log == []
    assert [path.name for path in cache.root.iterdir()] == [f"{FACTS.digest}.json"]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"digest": "x"}', b"\xff\xfe"])
def test_damaged_entry_is_said_and_not_used(tmp_path: Path, damage: bytes) -> None:
    log: list[str] = []
    cache = ProbeCache(tmp_path, log.append)
    (tmp_path / f"{FACTS.digest}.json").write_bytes(damage)
    assert cache.get(FACTS.digest) is None
    assert len(log) == 1
    assert "damaged" in log[0]


def test_entry_of_another_build_is_not_used(tmp_path: Path) -> None:
    log: list[str] = []
    cache = ProbeCache(tmp_path, log.append)
    cache.put(FACTS)
    other = "e" * 64
    (tmp_path / f"{FACTS.digest}.json").rename(tmp_path / f"{other}.json")
    assert cache.get(other) is None
    assert "another build" in log[0]


def test_place_that_is_no_directory_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "probes").write_text("a file")
    with pytest.raises(UserError, match="cannot write to the build cache"):
        ProbeCache(tmp_path / "probes", print).put(FACTS)


VERSION = '{"return": {"qemu": {"micro": 13, "minor": 0, "major": 10}, "package": "Debian 1:10.0.13+ds-0"}, "id": "version"}'
HOSTILE = {
    "a version that is a text": (VERSION, '{"return": "10.0", "id": "version"}'),
    "a version without numbers": (VERSION, '{"return": {"qemu": {}, "package": ""}, "id": "version"}'),
    "a number that is a text": ('"micro": 13', '"micro": "13"'),
    "a number that is none": ('"micro": 13', '"micro": NaN'),
    "a huge number": ('"micro": 13', f'"micro": {10**50}'),
    "a package that is none": ('"Debian 1:10.0.13+ds-0"', "null"),
    "a package of escape sequences": ("Debian 1:", "\\u001b[2J"),
    "machines that are none": ('[{"name": "pc-q35-10.0"', '"pc", "x": [{"name": "pc-q35-10.0"'),
    "a machine that is a list": ('[{"name": "pc-q35-10.0"', '[[], {"name": "pc-q35-10.0"'),
    "a machine with a lone surrogate": ('"pc-q35-10.0"', '"\\ud800"'),
    "a machine of two lines": ('"pc-q35-10.0"', '"a\\nb"'),
    "an endless name": ('"pc-q35-10.0"', f'"{"x" * 5000}"'),
    "a capability that is a number": ('"xbzrle"', "1"),
    "an answer that is cut off": ('{"capability": "multifd", "state": false}]', '{"capa'),
    "an answer deeper than the parser goes": (
        '"state": false}, {"capability": "multifd"',
        f'"state": {"[" * 100_000}',
    ),
    "an id that is a list": ('"id": "machines"', '"id": []'),
    "no file": ("  /usr", " usr"),
    "no emulator": ("@emulator\n/usr/bin/qemu-system-x86_64\n", ""),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_no_emulator_says_is_an_unusable_build(kind: str) -> None:
    honest, hostile = HOSTILE[kind]
    assert honest in OUTPUT

    with pytest.raises(UnusableBuild) as told:
        parse(OUTPUT.replace(honest, hostile), "x", "qemu")

    assert str(told.value).startswith("build 'x': 'qemu' ")


@pytest.mark.parametrize(
    "line", ['{"return"', "[1, 2]", "{}", '{"id": {}, "return": 1}', "sha256sum: /x: not here", "@files"]
)
def test_other_lines_do_not_matter(line: str) -> None:
    assert parse(f"{OUTPUT}{line}\n", "x", "qemu").facts("d" * 64) == FACTS


def test_an_emulator_that_does_not_say_its_target_is_used_all_the_same() -> None:
    told = '{"return": {"arch": "x86_64"}, "id": "target"}'
    for said in (
        "",
        '{"error": {"class": "CommandNotFound"}, "id": "target"}',
        '{"return": {}, "id": "target"}',
    ):
        facts = parse(OUTPUT.replace(told, said), "x", "qemu").facts("d" * 64)
        assert facts == replace(FACTS, target="")


def test_an_entry_of_an_older_program_is_probed_again_without_a_word(tmp_path: Path) -> None:
    log: list[str] = []
    cache = ProbeCache(tmp_path, log.append)
    cache.put(FACTS)
    assert cache.get(FACTS.digest) == FACTS
    data = json.loads((tmp_path / f"{FACTS.digest}.json").read_text())
    del data["target"], data["sha256"]
    (tmp_path / f"{FACTS.digest}.json").write_bytes(sealed(json.dumps(data, indent=1).encode()))
    assert cache.get(FACTS.digest) is None
    assert not log
