# SPDX-License-Identifier: Apache-2.0
"""Which emulator of a Debian package is meant, and what is said when it is not there; no engine is asked."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest

from migmatrix.harness.builds.debian import DebianImages, DebianProvider, DebianSpec, _emulator, _make
from migmatrix.harness.builds.images import Images, StoredImage
from migmatrix.harness.builds.packages import HELD, known_as
from migmatrix.harness.builds.probe import script
from migmatrix.harness.builds.prober import Prober
from migmatrix.harness.builds.recipe import DebianRecipe
from migmatrix.harness.errors import UnusableBuild

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def spec(package: str, binary: str = "") -> DebianSpec:
    return DebianSpec(id="a", suite="bookworm", package=package, binary=binary)


@pytest.mark.parametrize("ask", ["find", "get"])
@pytest.mark.parametrize(
    ("one", "problem"),
    [
        (
            spec("qemu-system-arm"),
            "package 'qemu-system-arm' holds 2 emulators, say which with 'binary': 'qemu-system-aarch64' or 'qemu-system-arm'",
        ),
        (
            spec("qemu-system-s390x", "qemu-system-x86_64"),
            "package 'qemu-system-s390x' holds no emulator 'qemu-system-x86_64', but 'qemu-system-s390x'",
        ),
    ],
)
def test_a_wrong_or_missing_name_is_told_before_anything_is_made(
    ask: str, one: DebianSpec, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "migmatrix.harness.builds.debian.container_images", lambda: pytest.fail("engine used")
    )
    with pytest.raises(UnusableBuild) as caught:
        getattr(DebianProvider(), ask)(one, Prober(tmp_path, print))
    assert str(caught.value) == f"build 'a': {problem}"


@pytest.mark.parametrize(
    ("one", "name"),
    [
        (spec("qemu-system-x86"), ""),
        (spec("qemu-system-x86", "qemu-system-i386"), "qemu-system-i386"),
        (spec("qemu-system-s390x"), "qemu-system-s390x"),
        (spec("qemu-system-arm", "/usr/bin/qemu-system-arm64"), "/usr/bin/qemu-system-arm64"),
        (spec("qemu-system"), None),
    ],
)
def test_the_only_emulator_of_a_package_needs_no_name(one: DebianSpec, name: str | None) -> None:
    assert _emulator(one) == name


def test_each_name_of_the_table_is_taken() -> None:
    assert all(known_as(package, name) for package, names in HELD.items() for name in names)


def test_the_probe_lists_what_is_there(tmp_path: Path) -> None:
    for name in ("qemu-system-arm", "qemu-system-aarch64", "other"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    argv = ["sh", "-c", script(), "probe", "qemu-system-x86_64"]
    path = f"{tmp_path}:/usr/bin:/bin"
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env={"PATH": path})
    assert [
        line for line in done.stdout.splitlines() if "arm" in line or "aarch64" in line or line[0] == "@"
    ] == [
        "@missing",
        "qemu-system-aarch64",
        "qemu-system-arm",
    ]


@dataclass
class Engine:
    """Images that a build file makes at once; what the probe prints is given."""

    printed: Callable[[str], str]
    named: dict[str, StoredImage] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)

    def find(self, name: str) -> StoredImage | None:
        return StoredImage(name, {}) if name.startswith("debian:") else self.named.get(name)

    def get(self, name: str) -> StoredImage:
        return self.named[name]

    def build(self, text: str, tag: str = "") -> str:
        if tag:
            self.named[tag] = StoredImage("sha256:named", {"text": text})
        return "sha256:root"

    def unfinished(self, _label: str) -> list[str]:
        return []

    def remove(self, image: str) -> None:
        self.removed.append(image)

    def run_script(self, _image: str, _text: str, argument: str) -> str:
        return self.printed(argument)


@pytest.mark.parametrize(
    ("one", "problem"),
    [
        (spec("own-qemu", "qemu-system-x86_64"), "there is no emulator 'qemu-system-x86_64': there is 'qemu-system-arm'"),
        (spec("own-qemu"), "package 'own-qemu' holds 2 emulators, say which with 'binary': 'qemu-system-arm' or 'x'"),
    ],
)  # fmt: skip
def test_a_made_image_without_the_named_emulator_is_kept(
    one: DebianSpec, problem: str, tmp_path: Path
) -> None:
    more = "" if one.binary else "x\n"
    engine = Engine(lambda _argument: f"@missing\nqemu-system-arm\n{more}")
    making = DebianImages(cast("Images", engine), DebianRecipe("bookworm", one.package))
    with pytest.raises(UnusableBuild) as caught:
        _make(making, one, Prober(tmp_path, lambda _line: None), _emulator(one))
    assert problem in str(caught.value)
    assert list(engine.named) == ["migmatrix/debian:bookworm-own-qemu"]
    assert engine.removed == []


# What `dpkg -c` says of bullseye's packages, 1:5.2+dfsg-11+deb11u*; links of bookworm and later are in the image tests.
BULLSEYE = {
    "qemu-system-arm": "aarch64 arm",
    "qemu-system-mips": "mips mips64 mips64el mipsel",
    "qemu-system-ppc": "ppc ppc64 ppc64le",
    "qemu-system-misc": "alpha avr cris hppa m68k microblaze microblazeel moxie nios2 or1k riscv32 riscv64 rx s390x"
    " sh4 sh4eb tricore xtensa xtensaeb",
    "qemu-system-sparc": "sparc sparc64",
    "qemu-system-x86": "i386 x86_64 x86_64-microvm",
}


@pytest.mark.parametrize("package", BULLSEYE)
def test_the_table_holds_what_the_oldest_suite_has(package: str) -> None:
    names = BULLSEYE[package].split()
    assert all(known_as(package, f"qemu-system-{name}") for name in names)
    assert {name.removeprefix("qemu-system-") for name in HELD[package]} <= {*names, "loongarch64"}
