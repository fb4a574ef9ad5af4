# SPDX-License-Identifier: Apache-2.0
"""QEMU's command line as records: `parse(argv)` gives `Options`, and does nothing else.

Pure: no file is opened, no release is loaded. What QEMU can only know later (whether a machine, a device or a
property exists) is checked when it is made. Error texts are QEMU's (see `emulator.texts`).

1. The last of equal options counts, except for options that add up: devices, globals, backends, monitors.
2. All names of options are checked before any value, as QEMU does.
3. An option that QEMU has and the emulator cannot honour is refused, never ignored; what is accepted without any
   effect is listed in `emulator.options.table`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.options.keyvalue import Malformed
from migmatrix.emulator.options.records import (
    DEFAULT_RELEASE,
    Backend,
    Chardev,
    DeviceOption,
    Monitor,
    Options,
    Smp,
    Workload,
)
from migmatrix.emulator.options.table import OPTIONS, Parser
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "DEFAULT_RELEASE",
    "Backend",
    "Chardev",
    "DeviceOption",
    "Monitor",
    "Options",
    "Smp",
    "Workload",
    "parse",
]

Words = list[tuple[str, str, str]]  # option, the word as given, its value


def parse(argv: Sequence[str]) -> Options:
    """Options from the words after the program's name; FatalError with QEMU's text when they are wrong."""
    words = _split(argv)
    release = next((value for name, _, value in reversed(words) if name == "release"), DEFAULT_RELEASE)
    _check_alive(words, release)
    parser = Parser(release)
    for name, word, value in words:
        option = OPTIONS[name]
        parser.where = f"{word} {value}" if option.argument and name != "hda" else word
        try:
            option.apply(parser, value)
        except Malformed as err:
            raise FatalError(f"{parser.where}: {err}") from err
        if parser.values.get("help") in ("version", "help"):
            break  # QEMU ends at once
    return parser.options()


def _split(argv: Sequence[str]) -> Words:
    """A word that is no option is the name of a disk image, as -hda takes it."""
    found: Words = []
    words = iter(argv)
    for word in words:
        if not word.startswith("-"):
            found.append(("hda", word, word))
            continue
        name = word[2:] if word.startswith("--") else word[1:]
        if name not in OPTIONS:
            raise FatalError(f"{word}: invalid option")
        value = next(words, None) if OPTIONS[name].argument else ""
        if value is None:
            raise FatalError(f"{word}: requires an argument")
        found.append((name, word, value))
    return found


def _check_alive(words: Words, release: str) -> None:
    try:
        dead = [w for name, w, _ in words if not lives(OPTIONS[name].since, OPTIONS[name].until, release)]
    except ValueError as err:
        raise FatalError(f"-release {release}: {err}") from err
    if dead:
        raise FatalError(f"{dead[0]}: invalid option")
