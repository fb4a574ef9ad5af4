# SPDX-License-Identifier: Apache-2.0
"""Streams of running guests, broken at random: seeded mutants of one good stream, and what a loader says of each.

1. `mutant(good, seed)` is a function of its arguments: a seed repeats a mutant for ever.
2. A mutant is a list of edits (offset, bytes that go, bytes that come), small enough to keep.
3. `Loads` starts one emulator for each; its deadline makes a hang a verdict.

As a program it compares real QEMU (containers) with the emulator and prints one JSON line for each mutant:
``python tests/support/mutants.py --line 7.2 --board q35 --first 0 --count 250 --out FILE``.
"""

from __future__ import annotations

import argparse
import json
import random
import select
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import needs
from guests import COMMON, IMAGES, ROOT, Guest, preloaded

from migmatrix.vmstate.view.outline import fields
from migmatrix.vmstate.view.stream import Stream, read_stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEADLINE = 30.0
RELEASES = {"7.2": "7.2.22", "11.1": "11.1"}
_CARDS = (
    "virtio-net-pci,romfile=", "virtio-rng-pci", "virtio-blk-pci,drive=disk", "virtio-balloon-pci",
    "virtio-serial-pci", "virtio-scsi-pci", "VGA,romfile=", "qemu-xhci",
)  # fmt: skip
_OWN = {
    "q35": ("pcie-root-port,id=rp0,chassis=1,slot=1", "e1000e,romfile=,bus=rp0", "pcie-pci-bridge,id=pb"),
    "i440fx": ("pci-bridge,id=pb,chassis_nr=3", "e1000,romfile="),
}
_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


class Edit(NamedTuple):
    """Replace `gone` bytes at `offset` by `come`."""

    offset: int
    gone: int
    come: bytes


class Mutant(NamedTuple):
    """What was done, in words, and the edits."""

    what: str
    edits: tuple[Edit, ...]

    def apply(self, good: bytes) -> bytes:
        """The broken stream."""
        data = good
        for edit in sorted(self.edits, reverse=True):
            data = data[: edit.offset] + edit.come + data[edit.offset + edit.gone :]
        return data


class Spot(NamedTuple):
    """Something of a stream that can be broken."""

    name: str
    offset: int
    size: int


class Good:
    """A good stream and its spots."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        stream = read_stream(data)
        self.sections = list(_sections(stream))
        self.values = {where.name: list(_values(stream, n, where)) for n, where in enumerate(self.sections)}
        self.values = {name: found for name, found in self.values.items() if found}
        self.memory = [s for s in self.sections if s.name.startswith("ram")]


def _sections(stream: Stream) -> Iterator[Spot]:
    starts = [section.start.offset for section in stream.sections]
    for n, (section, start) in enumerate(zip(stream.sections, starts, strict=True)):
        end = (
            section.footer.offset + 5
            if section.footer
            else starts[n + 1]
            if n + 1 < len(starts)
            else start + 13
        )
        yield Spot(f"{section.start.idstr}#{section.start.instance_id}@{n}", start, end - start)


def _values(stream: Stream, number: int, where: Spot) -> Iterator[Spot]:
    """Values of a device's section, each with the bytes up to the next."""
    found = stream.sections[number]
    if found.payload is None:
        return
    at = sorted({(f["offset"], f["path"]) for f in fields(stream, found) if f["offset"] >= where.offset})
    end = found.payload.offset + len(found.payload.raw)
    for (offset, path), (then, _) in zip(at, [*at[1:], (end, "")], strict=True):
        if then > offset:
            yield Spot(f"{where.name} {path}", offset, then - offset)


def mutant(good: Good, seed: int) -> Mutant:
    """The mutant of a seed."""
    rng = random.Random(seed)
    kinds = (_value, _value, _value, _bytes, _bytes, _head, _footer, _cut, _page, _command, _move, _name)
    weights = (20, 20, 20, 8, 7, 5, 3, 3, 4, 5, 3, 2)
    (kind,) = rng.choices(kinds, weights)
    return kind(good, rng)


def _value(good: Good, rng: random.Random) -> Mutant:
    spot = rng.choice(good.values[rng.choice(sorted(good.values))])
    size = min(spot.size, rng.choice((1, 2, 4, 8)))
    at = spot.offset + (0 if spot.size <= 8 else rng.randrange(spot.size - size + 1))
    old = int.from_bytes(good.data[at : at + size])
    new = rng.choice((*_EXTREMES, old + 1, old - 1, old ^ 1 << rng.randrange(8 * size), ~old))
    come = (new % (1 << 8 * size)).to_bytes(size)
    return Mutant(f"{spot.name} = {come.hex()}", (Edit(at, size, come),))


def _bytes(good: Good, rng: random.Random) -> Mutant:
    spot = rng.choice([s for s in good.sections if s not in good.memory])
    edits = []
    for _ in range(rng.randint(1, 4)):
        at = spot.offset + rng.randrange(spot.size)
        edits.append(Edit(at, 1, bytes((rng.choice((0, 1, 0xFF, rng.randrange(256))),))))
    unique = {e.offset: e for e in edits}
    return Mutant(f"{spot.name} bytes", tuple(unique.values()))


def _head(good: Good, rng: random.Random) -> Mutant:
    spot = rng.choice(good.sections)
    at = rng.randrange(min(spot.size, 40))
    return Mutant(f"{spot.name} head+{at}", (Edit(spot.offset + at, 1, rng.randbytes(1)),))


def _footer(good: Good, rng: random.Random) -> Mutant:
    spot = rng.choice(good.sections)
    at = spot.offset + spot.size - 1 - rng.randrange(5)
    return Mutant(f"{spot.name} footer", (Edit(at, 1, rng.randbytes(1)),))


def _cut(good: Good, rng: random.Random) -> Mutant:
    spot = rng.choice(good.sections)
    at = max(1, spot.offset + rng.randrange(spot.size))
    return Mutant(f"{spot.name} cut at {at}", (Edit(at, len(good.data) - at, b""),))


def _page(good: Good, rng: random.Random) -> Mutant:
    """A word near the beginning of a part of memory: block list, page heads, end of the part."""
    spot = rng.choice(good.memory)
    near = rng.choice((0, max(0, spot.size - 64)))
    at = spot.offset + near + rng.randrange(min(spot.size, 64))
    return Mutant(f"{spot.name} word", (Edit(at, 1, rng.randbytes(1)),))


def _command(good: Good, rng: random.Random) -> Mutant:
    spot = rng.choice(good.sections)
    number, length = rng.choice((*range(16), 0xFFFF)), rng.choice((0, 1, 2, 4, 4, 8, 16, 40))
    data = rng.choice((bytes(length), rng.randbytes(length)))
    told = rng.choice((length, length, length, length + 1, 0xFFFF))
    come = b"\x08" + number.to_bytes(2) + told.to_bytes(2) + data
    return Mutant(f"command {number} ({told}) before {spot.name}", (Edit(spot.offset, 0, come),))


def _move(good: Good, rng: random.Random) -> Mutant:
    spot, other = rng.choice(good.sections), rng.choice(good.sections)
    data = good.data[spot.offset : spot.offset + spot.size]
    drop = Edit(spot.offset, spot.size, b"")
    if rng.random() < 0.5 or spot.size > 1 << 16:
        return Mutant(f"{spot.name} dropped", (drop,))
    return Mutant(f"{spot.name} again before {other.name}", (Edit(other.offset, 0, data),))


def _name(good: Good, rng: random.Random) -> Mutant:
    """A letter of a subsection's name, or of any text in a device's section."""
    spot = rng.choice([s for s in good.sections if s not in good.memory])
    data = good.data[spot.offset : spot.offset + spot.size]
    at = data.rfind(b"/")
    at = rng.randrange(spot.size) if at < 0 else min(at + 1 + rng.randrange(4), spot.size - 1)
    return Mutant(f"{spot.name} name+{at}", (Edit(spot.offset + at, 1, rng.randbytes(1)),))


# -- loads ---------------------------------------------------------------------------------------


class Told(NamedTuple):
    """`verdict` is taken, refused, hang or crash; `lines` what was printed, without the program's name."""

    verdict: str
    lines: tuple[str, ...]


def arguments(line: str, board: str) -> list[str]:
    """The command line of both sides, after COMMON."""
    cards = [word for card in (*_OWN[board], *_CARDS) for word in ("-device", card)]
    return [
        "-M",
        f"pc-{board}-{line}",
        "-m",
        "32",
        "-blockdev",
        "null-co,node-name=disk,size=1048576",
        *cards,
    ]


def load(argv: Sequence[str], stream: Path) -> Told:
    """Start `argv`, let it load, and say how that ended."""
    words = [*argv, "-S", "-incoming", f"exec:cat {stream}"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(words, bufsize=0, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe)
    verdict = _watch(process)
    try:
        _, err = process.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        _, err = process.communicate()
        verdict = "hang"
    if verdict == "ended":
        verdict = "refused" if process.returncode == 1 else "crash"
    said = [
        line.partition(": ")[2] if line.startswith("qemu-sys") else line
        for line in err.decode("utf-8", "replace").splitlines()
    ]
    if any("Traceback" in line for line in said):
        verdict = "crash"
    return Told(verdict, tuple(said))


def _watch(process: subprocess.Popen[bytes]) -> str:
    """Ask for the status until it is final."""
    assert process.stdin is not None and process.stdout is not None  # noqa: PT018
    until = time.monotonic() + DEADLINE
    out, ask = process.stdout, b'{"execute":"query-migrate","id":1}\n'
    try:
        process.stdin.write(b'{"execute":"qmp_capabilities"}\n' + ask)
        process.stdin.flush()
        while time.monotonic() < until:
            if not select.select([out], [], [], max(0, until - time.monotonic()))[0]:
                break
            reply = out.readline()
            if not reply:
                return "ended"
            answer = json.loads(reply)
            if answer.get("return", {}).get("status") == "completed":
                process.stdin.write(b'{"execute":"quit"}\n')
                out.readline()  # QEMU drops a command whose client has gone
                return "taken"
            if answer.get("id"):
                time.sleep(0.01)
                process.stdin.write(ask)
                process.stdin.flush()
    except BrokenPipeError:
        return "ended"
    process.kill()
    return "hang"


@contextmanager
def container(line: str, shared: Path) -> Iterator[list[str]]:
    """A container that stays up; the start of a command line inside it."""
    needs.image(line)
    image = f"migmatrix/debian:{IMAGES[line]}"
    command = [
        "docker",
        "run",
        "-d",
        "--rm",
        "--network",
        "none",
        "-v",
        f"{shared}:{shared}",
        *preloaded(),
        "--init",
        image,
    ]
    name = subprocess.run(
        [*command, "sleep", "100000"], check=True, capture_output=True, text=True
    ).stdout.strip()
    kill = f"{int(DEADLINE) + 5}"
    try:
        yield ["docker", "exec", "-i", name, "timeout", "-s", "KILL", kill, "qemu-system-x86_64", *COMMON]
    finally:
        subprocess.run(["docker", "rm", "-f", name], check=True, capture_output=True)


def emulator(line: str) -> list[str]:
    """The start of the emulator's command line."""
    return [sys.executable, "-m", "migmatrix.emulator", "--release", RELEASES[line], *COMMON]


def born(prefix: Sequence[str], words: Sequence[str], target: Path) -> bytes:
    """The stream of a real guest whose firmware has found nothing to boot, which it says on its debug port."""
    said = target.with_name(f"{target.name}.said")
    said.touch()
    port = ("-chardev", f"file,id=said,path={said}", "-device", "isa-debugcon,iobase=0x402,chardev=said")
    guest = Guest([*prefix, *words, *port])
    try:
        until = time.monotonic() + DEADLINE
        while b"No bootable device" not in said.read_bytes():
            assert time.monotonic() < until, said.read_bytes()
            guest.command("query-status")
        return _sent(guest, target)
    finally:
        guest.close()


def sent(argv: Sequence[str], target: Path) -> bytes:
    """The stream of a guest as it starts."""
    guest = Guest(argv)
    try:
        return _sent(guest, target)
    finally:
        guest.close()


def _sent(guest: Guest, target: Path) -> bytes:
    guest.command("migrate", uri=f"exec:cat > {target}")
    assert guest.status("completed", "failed")["status"] == "completed"
    return target.read_bytes()


def compare(line: str, board: str, seeds: Sequence[int], shared: Path) -> Iterator[dict[str, Any]]:
    """Each mutant's verdict by real QEMU and by the emulator."""
    words = arguments(line, board)
    with container(line, shared) as prefix, ThreadPoolExecutor(2) as pool:
        good = Good(born(prefix, words, shared / f"good-{line}-{board}"))

        def one(seed: int) -> dict[str, Any]:
            broken = mutant(good, seed)
            path = shared / f"{line}-{board}-{seed}"
            path.write_bytes(broken.apply(good.data))
            real, ours = load([*prefix, *words], path), load([*emulator(line), *words], path)
            path.unlink()
            edits = [(e.offset, e.gone, e.come.hex()) for e in broken.edits]
            return {
                "line": line, "board": board, "seed": seed, "what": broken.what, "edits": edits,
                "real": real._asdict(), "ours": ours._asdict(),
            }  # fmt: skip

        yield from pool.map(one, seeds)


def main() -> None:
    """Compare and print what differs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--line", default="7.2")
    parser.add_argument("--board", default="q35")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=250)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    shared = Path(tempfile.mkdtemp(prefix="mutants"))
    shared.chmod(0o755)
    with given.out.open("w") as out:
        for row in compare(given.line, given.board, range(given.first, given.first + given.count), shared):
            out.write(json.dumps(row) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
