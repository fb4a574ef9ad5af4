# SPDX-License-Identifier: Apache-2.0
"""Saves a stream of every machine of every emulator in some root directories, and holds the reader against QEMU's script.

    mmdebstrap --variant=minbase --include=qemu-system-arm,qemu-system-misc,... bookworm ROOT
    PYTHONPATH=tests/support python tests/support/other_targets.py ROOT... --out DIR --script analyze-migration.py

As root (`chroot`). Each guest is started paused and saved by `exec:`; x86 guests are saved with sets of capabilities and
migration properties too. DIR keeps the streams; the figures are printed. A machine that does not start or save so
(it wants a kernel or a device) is counted as such.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from analyze_migration import Opinion, Script, compare

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.accounting import account
from migmatrix.vmstate.view.compare import values
from migmatrix.vmstate.view.stream import read_stream

_SECONDS: Final = 60
_LARGEST: Final = 1 << 26  # bytes of a stream that is kept
_CAPABILITIES: Final = (
    "xbzrle",
    "compress",
    "zero-blocks",
    "events",
    "validate-uuid",
    "x-ignore-shared",
    "auto-converge",
    "release-ram",
    "mapped-ram",
    "background-snapshot",
    "dirty-bitmaps",
    "late-block-activate",
    "return-path",
    "postcopy-ram",
    "multifd",
    "pause-before-switchover",
)
_SETS: Final = 160  # tried; half of them no build has, or takes together
_PROPERTIES: Final = (
    (),
    ("-global", "migration.send-section-footer=off"),
    ("-global", "migration.send-configuration=off"),
    ("-global", "migration.store-global-state=off"),
)
_GOING_ON: Final = ("setup", "active", "device", "pre-switchover")
_BITMAPS: Final = (
    *("-blockdev", "driver=null-co,node-name=d0,size=1073741824"),
    *("-object", "memory-backend-file,id=m0,share=on,mem-path=/tmp/mem0,size=2M"),
    *("-uuid", "01234567-89ab-cdef-0123-456789abcdef"),
)


@dataclass(frozen=True)
class Guest:
    """One guest to save: `name` is the stream's, `capabilities` are turned on."""

    root: Path
    binary: str
    name: str
    argv: tuple[str, ...]
    capabilities: tuple[str, ...] = ()

    @property
    def commands(self) -> list[dict[str, Any]]:
        """QMP commands, in order."""
        wanted = [{"capability": name, "state": True} for name in self.capabilities]
        bitmap = {"node": "d0", "name": "b0", "granularity": 65536}
        uri = "file:/tmp/stream" if "mapped-ram" in self.capabilities else "exec:cat > /tmp/stream"
        return [
            {"execute": "qmp_capabilities"},
            *([{"execute": "block-dirty-bitmap-add", "arguments": bitmap}] if "d0" in str(self.argv) else []),
            *(
                [{"execute": "migrate-set-capabilities", "arguments": {"capabilities": wanted}}]
                if wanted
                else []
            ),
            {"execute": "migrate", "arguments": {"uri": uri}},
        ]


@dataclass
class Figures:
    """What came out, by target and in all."""

    tried: Counter[str] = field(default_factory=Counter)
    saved: Counter[str] = field(default_factory=Counter)
    sets: set[tuple[str, ...]] = field(default_factory=set)
    whole: int = 0
    told: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    opinion: Opinion = field(default_factory=Opinion)

    def __str__(self) -> str:
        told = "".join(f"\n  {n:4} told: {why}" for why, n in self.told.most_common())
        return (
            f"{sum(self.saved.values())} of {sum(self.tried.values())} saved, {len(self.saved)} targets, "
            f"{len(self.sets - {()})} sets of capabilities\n{self.whole} read whole{told}\n"
            f"{self.unread} that the script cannot read\n{self.opinion}"
        )


def main() -> None:
    """Save what is not there yet, then compare all."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("roots", nargs="+", type=Path)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--script", type=Path, required=True)
    options.add_argument("--machines", type=int, default=20, help="most of one emulator")
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    figures, script = Figures(), Script(given.script)
    for guest in (g for root in given.roots for g in guests(root, given.machines)):
        file = given.out / guest.name
        figures.tried[guest.binary] += 1
        if file.exists() or save(guest, file):
            figures.saved[guest.binary] += 1
            figures.sets.add(guest.capabilities)
            judge(file, script, figures)
    print(figures)


# -- guests --------------------------------------------------------------------------------------


def guests(root: Path, most: int) -> list[Guest]:
    """Every machine of every emulator of a root, then sets of capabilities of the x86 one."""
    found = []
    for path in sorted((root / "usr/bin").glob("qemu-system-*")):
        for machine in machines(root, path.name)[:most]:
            name = f"{root.name}-{path.name.removeprefix('qemu-system-')}-{machine}"
            found.append(Guest(root, path.name, name, ("-M", machine)))
    return [*found, *with_capabilities(root)]


def machines(root: Path, binary: str) -> list[str]:
    """Names of machine types without aliases, as ``-M help`` lists them."""
    run = subprocess.run(["chroot", root, binary, "-M", "help"], capture_output=True, text=True, check=False)
    lines = [line for line in run.stdout.splitlines()[1:] if line and "(alias" not in line]
    return [line.split()[0] for line in lines if "xenfv" not in line and "xenpv" not in line]


def with_capabilities(root: Path) -> list[Guest]:
    """One, two and three capabilities, with and without migration properties; the same ones each time."""
    every = {n: list(combinations(_CAPABILITIES, n)) for n in (1, 2, 3)}
    draw = random.Random(1)
    chosen = [*every[1], *draw.sample(every[2], 80), *draw.sample(every[3], 80)]
    draw.shuffle(chosen)
    found = []
    for i, names in enumerate(chosen[:_SETS]):
        backend = ",memory-backend=m0" if i % 2 else ""
        argv = ("-M", f"microvm{backend}", "-m", "2", *_BITMAPS, *_PROPERTIES[i % len(_PROPERTIES)])
        found.append(Guest(root, "qemu-system-x86_64", f"{root.name}-x86-set{i}", argv, names))
    return found


def save(guest: Guest, file: Path) -> bool:
    """Whether the guest was saved to `file`."""
    inside = guest.root / "tmp/stream"
    inside.unlink(missing_ok=True)
    argv = [
        "chroot",
        str(guest.root),
        guest.binary,
        "-S",
        "-display",
        "none",
        "-qmp",
        "stdio",
        "-accel",
        "tcg",
    ]
    process = subprocess.Popen(
        ["timeout", str(_SECONDS), *argv, *guest.argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    )
    done = _talk(process, guest.commands)
    process.wait()
    if not done or not inside.exists() or not 0 < inside.stat().st_size <= _LARGEST:
        return False
    inside.rename(file)
    return True


def _talk(process: subprocess.Popen[bytes], commands: list[dict[str, Any]]) -> bool:
    """Give the commands; whether the migration completed."""
    assert process.stdout is not None
    if b"QMP" not in process.stdout.readline():
        return False
    for command in commands:
        if "error" in _ask(process, command):
            _ask(process, {"execute": "quit"})
            return False
    while (
        status := _ask(process, {"execute": "query-migrate"}).get("return", {}).get("status")
    ) in _GOING_ON:
        if status == "pre-switchover":
            _ask(process, {"execute": "migrate-continue", "arguments": {"state": status}})
    _ask(process, {"execute": "quit"})
    return bool(status == "completed")


def _ask(process: subprocess.Popen[bytes], command: dict[str, Any]) -> dict[str, Any]:
    """The answer to a command; an error when the emulator is gone."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(command).encode() + b"\n")
        for line in process.stdout:
            answer: dict[str, Any] = json.loads(line)
            if "event" not in answer:
                return answer
    except (BrokenPipeError, ValueError):
        pass
    return {"error": "it is gone"}


# -- the comparison ------------------------------------------------------------------------------


def judge(file: Path, script: Script, figures: Figures) -> None:
    """Read one stream, decode all of its values, and compare them with the script's."""
    data = file.read_bytes()
    stream = read_stream(data, strict=False)
    problems = account(stream, data).problems
    if problems:
        figures.told[f"{file.name}: {problems[0]}"] += 1
        return
    figures.whole += 1
    values(stream)
    try:
        theirs = script(file)
        compare(stream, theirs, figures.opinion)
    except (RuntimeError, KeyError, StreamError) as error:
        figures.unread += 1
        print(f"{file.name}: the script: {error!r:.120}")


if __name__ == "__main__":
    main()
