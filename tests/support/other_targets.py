# SPDX-License-Identifier: Apache-2.0
"""Saves a stream of every machine of every emulator in some root directories, and holds the reader against QEMU's script.

    mmdebstrap --variant=minbase --include=qemu-system-arm,qemu-system-misc,... bookworm ROOT
    PYTHONPATH=tests/support python tests/support/other_targets.py ROOT... --out DIR --script analyze-migration.py

As root (`chroot`). Each guest is started paused and saved by `exec:`; x86 guests are saved with sets of capabilities and
migration properties too. DIR keeps the streams; a table is printed. A machine that does not start or save so (it wants
a kernel or a device) is not in it.

Where the script fails, something else holds our values (`other_check`): the same guest saved without what the script
does not know, or the stream without the one section that it does not read.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from analyze_migration import Opinion, Script, compare

from migmatrix.vmstate.view.accounting import account
from migmatrix.vmstate.view.compare import Change, diff, values
from migmatrix.vmstate.view.stream import Stream, read_stream
from migmatrix.vmstate.view.unread import unread
from migmatrix.vmstate.view.vmdesc import find_vmdesc

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
    properties: tuple[str, ...] = ()  # of the migration; the end of `argv`

    @property
    def row(self) -> str:
        """Where it stands in the table."""
        kind = " with capabilities" if self.capabilities else ""
        return f"{self.root.name} {self.binary.removeprefix('qemu-system-')}{kind}"

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
class Row:
    """Streams of one emulator by what came out; those in `fails` that another check holds are in `held` too."""

    told: int = 0
    equal: int = 0
    fails: int = 0
    held: int = 0
    different: int = 0

    def __str__(self) -> str:
        saved = self.told + self.equal + self.fails + self.different
        return f"{saved} | {self.equal} | {self.fails} | {self.held} | {self.different} | {self.told}"


@dataclass
class Figures:
    """What came out, by emulator; `reasons` are the script's words and what held these streams instead."""

    rows: dict[str, Row] = field(default_factory=dict)
    sets: set[tuple[str, ...]] = field(default_factory=set)
    told: list[str] = field(default_factory=list)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    values: int = 0
    explained: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        total = Row(*(sum(row[i] for row in map(_counts, self.rows.values())) for i in range(5)))
        head = "| saved | equal | the script fails | held otherwise | different | told, not read |"
        lines = [f"| emulator {head}", "|---" * 7 + "|"]
        lines += [f"| {name} | {row} |" for name, row in sorted(self.rows.items())]
        lines += [f"| **all {len(self.rows)}** | {total} |", ""]
        lines += [f"{self.values} values compared, {len(self.sets - {()})} sets of capabilities", ""]
        lines += [f"* {n} differences explained: {why}" for why, n in self.explained.most_common()]
        lines += [f"* {n} of the script: `{why}`; {held}" for (why, held), n in self.reasons.most_common()]
        return "\n".join([*lines, *(f"* told: {why}" for why in self.told)])


def _counts(row: Row) -> tuple[int, ...]:
    return row.told, row.equal, row.fails, row.held, row.different


def main() -> None:
    """Save what is not there yet, then compare all."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("roots", nargs="+", type=Path)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--script", type=Path, required=True)
    options.add_argument("--machines", type=int, default=20, help="most of one emulator")
    options.add_argument("--kept", action="store_true", help="take what DIR has, and try no other guest")
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    figures, script = Figures(), Script(given.script)
    for guest in (g for root in given.roots for g in guests(root, given.machines)):
        file = given.out / guest.name
        if file.exists() or (not given.kept and save(guest, file)):
            figures.sets.add(guest.capabilities)
            judge(guest, file, script, figures)
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
        properties = _PROPERTIES[i % len(_PROPERTIES)]
        argv = ("-M", f"microvm{backend}", "-m", "2", *_BITMAPS, *properties)
        found.append(Guest(root, "qemu-system-x86_64", f"{root.name}-x86-set{i}", argv, names, properties))
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


def judge(guest: Guest, file: Path, script: Script, figures: Figures) -> None:
    """Read one stream, decode all of its values, and compare them with the script's, or with another witness."""
    data = file.read_bytes()
    stream = read_stream(data, strict=False)
    row = figures.rows.setdefault(guest.row, Row())
    if problems := account(stream, data).problems:
        row.told += 1
        figures.told.append(f"{file.name}: {problems[0]}")
        return
    values(stream)
    try:
        opinion = opinion_of(stream, script(file))
    except RuntimeError as error:
        row.fails += 1
        held, why = other_check(guest, file, stream, script)
        row.held += held
        figures.reasons[str(error).removeprefix("analyze-migration.py: ")[:60], why] += 1
        return
    figures.values += opinion.values
    figures.explained.update(opinion.explained)
    row.equal += not opinion.unexplained
    row.different += bool(opinion.unexplained)
    if opinion.unexplained:
        print(f"{file.name}: {opinion}")


def opinion_of(stream: Stream, theirs: dict[str, Any]) -> Opinion:
    opinion = Opinion()
    compare(stream, theirs, opinion)
    return opinion


def other_check(guest: Guest, file: Path, stream: Stream, script: Script) -> tuple[bool, str]:
    """Whether our values hold by another witness than the script on this stream, and which that is."""
    if guest.capabilities:
        return _plain_check(guest, file, stream, script)
    section = "s390_css"
    rest = without(file.read_bytes(), stream, section)
    if rest is None:
        return False, "nothing else holds them"
    reduced = file.with_name(f"{file.name}.reduced")
    reduced.write_bytes(rest)
    try:
        opinion = opinion_of(read_stream(rest), script(reduced))
    finally:
        reduced.unlink()
    return not opinion.unexplained, f"without the section {section} it reads them, and they are equal"


def _plain_check(guest: Guest, file: Path, stream: Stream, script: Script) -> tuple[bool, str]:
    """Against the same guest without capabilities and migration properties: all devices, and memory where it is in the file."""
    plain = replace(guest, argv=guest.argv[: len(guest.argv) - len(guest.properties)], capabilities=())
    backend = "shared" if "memory-backend" in guest.argv[1] else "private"
    saved = file.with_name(f"{guest.root.name}-x86-plain-{backend}.witness")
    if not saved.exists() and not save(plain, saved):
        return False, "the guest without them was not saved"
    witness = read_stream(saved.read_bytes())
    known = not opinion_of(witness, script(saved)).unexplained
    memory = not unread(stream, devices=False)
    changes = [c for c in diff(witness, stream, ram=memory) if not (c.volatile or _of_the_way(c))]
    for change in changes:
        print(f"{file.name}: {change}")
    what = "devices and memory" if memory else "devices"
    return known and not changes, f"{what} as of the same guest without them, which the script reads"


def _of_the_way(change: Change) -> bool:
    """Whether a difference is one of how the guest was sent: what was announced, sections and words of capabilities."""
    added = ("dirty-bitmap#0", "globalstate#0")
    announced = change.kind in {"machine", "capability"} or change.section == "configuration"
    address = change.kind == "value" and change.path.endswith(".address")  # x-ignore-shared sends it
    return announced or address or (change.kind == "section" and change.section.startswith(added))


def without(data: bytes, stream: Stream, idstr: str) -> bytes | None:
    """The stream without one section and its description; None when it has none of that name."""
    section = next((s for s in stream.sections if s.start.idstr == idstr), None)
    place = find_vmdesc(memoryview(data))
    if section is None or section.footer is None or place is None:
        return None
    text = json.loads(data[place[0] + 5 :])
    text["devices"] = [device for device in text["devices"] if device["name"] != idstr]
    written = json.dumps(text).encode()
    head = data[: section.start.offset] + data[section.footer.offset + 5 : place[0]]
    return head + data[place[0] : place[0] + 1] + len(written).to_bytes(4) + written


if __name__ == "__main__":
    main()
