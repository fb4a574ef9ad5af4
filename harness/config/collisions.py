# SPDX-License-Identifier: Apache-2.0
"""Arguments that collide with those of the harness: they would make a cell another one than its name says.

1. `RULES` is the whole knowledge: which option, which values of it, and what to write instead. An emulator takes the
   last word for most options, so whatever the harness gives by itself (`hops/emulator.py`) is in the table.
2. An option is known with one dash or two. Its value is compared as ``,key=value,key=value,``: the key that may be left
   out in front is put there, and JSON and the sections of a ``-readconfig`` file are written in the same way.
3. What an emulator only refuses or ignores is no collision: that is a verdict's business.

Facts: ``qemu-system-x86_64 -help`` of 5.2, 7.2, 10.0 and 11.1.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Collision", "collisions"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Options (without dashes, blanks between them; ``*`` is any), what their value must hold, and what is wrong.

    `wrong` may name the groups of `value`, `option`, and `kept`: the argument without what was found. `running` rules
    count only where a guest runs.
    """

    options: str
    wrong: str
    value: str = ""
    running: bool = False


@dataclass(frozen=True, slots=True)
class Collision:
    """What is wrong with the argument at `index`."""

    index: int
    message: str


_OURS = "is the harness's own: leave it out"
_LIST = "accel audiodev chardev cpu d device display global L M machine netdev object soundhw trace vga"
_MODE = "{option} turns on the capability {capability!r} whatever the mode: write it under 'capabilities' of a mode"
# ``-device migration,help`` of 5.2, 7.2, 10.0 and 11.1; without `events`, which changes no stream
_CAPABILITY = (
    r"(?:x-(?!colo|ignore))?(?P<capability>auto-converge|background-snapshot|block|compress|dirty-bitmaps|dirty-limit|"
    r"late-block-activate|mapped-ram|multifd|pause-before-switchover|postcopy-(?:blocktime|preempt|ram)|rdma-pin-all|"
    r"release-ram|return-path|switchover-ack|validate-uuid|x-colo|x-ignore-shared|xbzrle|zero-blocks|zero-copy-send)"
)
_ON = "(?:on|yes|true|y)"
RULES = (
    Rule(_LIST, "{option} prints a list and ends: leave it out", r"^,(?:\w+=)?(?:[^,=]+,)?(?:help|\?),$"),
    # which machine, and from what state it begins
    Rule(
        "machine M",
        "{option} names the machine {type!r}: write that under 'machines', and here {kept}",
        r",type=(?P<type>[^,]*)(?=,)",
    ),
    Rule("incoming", f"{{option}} {_OURS}, it says where a stream comes in"),
    Rule("S preconfig", f"{{option}} {_OURS}, it says when the guest runs"),
    Rule("loadvm", "{option} brings in a state that no hop made: leave it out"),
    # who talks to the emulator
    Rule("qmp qmp-pretty mon", f"{{option}} {_OURS}, it talks to the emulator"),
    Rule(
        "monitor serial parallel debugcon",
        "{option} waits for a client, and none comes: add nowait",
        r"^(?!.*,(?:nowait|wait=(?:off|no|n|false)),).*,server(?:=(?:on|yes|y|true))?,",
    ),
    Rule("*", "names that begin with 'migmatrix' are the harness's own: choose another", r",id=migmatrix"),
    Rule("global", _MODE, rf",migration\.{_CAPABILITY}={_ON},"),
    Rule("global", _MODE, rf"^(?=.*,driver=migration,)(?=.*,value={_ON},).*,property={_CAPABILITY},"),
    # where it runs, and for how long
    Rule("daemonize", "{option} lets the emulator get away from the harness: leave it out"),
    Rule("pidfile", "{option} is a file that every emulator of the run would write: leave it out"),
    Rule("chroot runas", "{option} is decided by the sandbox of the build: leave it out"),
    Rule("run-with", "{option} is decided by the sandbox of the build: leave it out", r",(?:chroot|user)="),
    # what ends, or writes, instead of running a machine
    Rule("h help version audio-help dump-vmstate", "{option} prints and ends: leave it out"),
    Rule("writeconfig", "{option} writes a file for each emulator of the run: leave it out"),
    # a guest that runs talks by the debug port, and starts over by a reset
    Rule("no-reboot", "{option} ends a guest that starts over, as one that runs does here: leave it out", running=True),
    Rule(
        "action",
        "{option} ends a guest that starts over, as one that runs does here: leave it out",
        r",reboot=shutdown,",
        running=True,
    ),
    Rule("debugcon", f"{{option}} {_OURS}, it hears a guest that runs there", running=True),
    Rule("device", f"isa-debugcon {_OURS}, it hears a guest that runs there", r",driver=isa-debugcon,", running=True),
)  # fmt: skip
_IMPLIED = {"machine": "type", "M": "type", "device": "driver", "chardev": "backend", "cpu": "model"}
_ANY_VALUE = ("append",)  # may begin with a dash
_SECTION = re.compile(r'\[\s*(?P<name>[\w-]+)(?:\s+"(?P<id>[^"]*)")?\s*\]')
_SETTING = re.compile(r'(?P<key>[\w.-]+)\s*=\s*"(?P<value>[^"]*)"')


def collisions(arguments: Sequence[str], *, running: bool = False) -> Iterator[Collision]:
    """What collides in an argument list, in order; `running`: the guest does, in some cells."""
    for index, option, value in _options(arguments):
        found = _found(option, value or "", running=running)
        if found is None and option.lstrip("-") == "readconfig":
            found = _found_in_file(option, value or "", running=running)
        if found:
            by_value = value is not None and found[1]
            yield Collision(index + by_value, found[0])


def _options(arguments: Sequence[str]) -> Iterator[tuple[int, str, str | None]]:
    """Place, option and value; a word that begins with a dash is an option, except behind an `_ANY_VALUE`."""
    index = 0
    while index < len(arguments):
        option = arguments[index]
        if not _is_option(option):
            index += 1  # a disk image
            continue
        following = arguments[index + 1 : index + 2]
        has_value = bool(following) and (_name(option) in _ANY_VALUE or not _is_option(following[0]))
        yield index, option, following[0] if has_value else None
        index += 1 + has_value


def _is_option(word: str) -> bool:
    return word.startswith("-") and len(word) > 1


def _name(option: str) -> str:
    return re.sub("^--?", "", option)


def _found(option: str, value: str, *, running: bool) -> tuple[str, bool] | None:
    """What is wrong, and whether it is the value; None when nothing is."""
    text = _canonical(_name(option), value)
    for rule in RULES:
        if (running or not rule.running) and (rule.options == "*" or _name(option) in rule.options.split()):
            match = re.search(rule.value, text)
            if match:
                kept = (text[: match.start()] + text[match.end() :]).strip(",")
                words = match.groupdict() | {
                    "option": option,
                    "kept": f"{option} {kept}" if kept else "nothing",
                }
                return rule.wrong.format(**words), bool(rule.value)
    return None


def _canonical(name: str, value: str) -> str:
    """A value as rule 2 of the module has it; a doubled comma stays."""
    if value.startswith("{"):
        try:
            data = json.loads(value)
        except ValueError:
            data = None
        if isinstance(data, dict):
            return f",{','.join(f'{key}={data[key]}' for key in data)},"
    first = value.split(",", 1)[0]
    implied = f"{_IMPLIED[name]}=" if value and name in _IMPLIED and "=" not in first else ""
    return f",{implied}{value},"


def _found_in_file(option: str, file: str, *, running: bool) -> tuple[str, bool] | None:
    """The same for the sections of a configuration file, which nobody can know that cannot read it."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return (
            f"{option}: {file!r} cannot be read here, and it may name a machine: write it as arguments",
            True,
        )
    for section, value in _sections(text):
        if found := _found(f"-{section}", value, running=running):
            return f"{option}: {file!r}: {found[0]}", True
    return None


def _sections(text: str) -> Iterator[tuple[str, str]]:
    """Each section of a configuration file as an option and its value."""
    pieces = re.split(r"(?m)^\s*(?=\[)", text)
    for piece in pieces:
        if head := _SECTION.match(piece):
            named = [f"id={head['id']}"] if head["id"] else []
            settings = [f"{match['key']}={match['value']}" for match in _SETTING.finditer(piece, head.end())]
            yield head["name"], ",".join([*named, *settings])
