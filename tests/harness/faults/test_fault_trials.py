# SPDX-License-Identifier: Apache-2.0
"""Faults at random moments of a run, and in what it keeps: no lie is told or stored, nothing is lost or left.

``MIGMATRIX_TRIALS=15 pytest -m slow tests/harness/faults`` makes 15 trials of each row, ``MIGMATRIX_TRIALS_TABLE=FILE``
appends a line for each trial to a file. Trials are seeded by row and number; what a moment meets still differs.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from clock_shim import jump, jumping
from fault_field import Field, Score, remove
from lab import Lab, heeds, wait_until

from migmatrix.harness.model import Stage

if TYPE_CHECKING:
    import subprocess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

TRIALS = int(os.environ.get("MIGMATRIX_TRIALS", "1"))
TABLE = os.environ.get("MIGMATRIX_TRIALS_TABLE")

# seconds, of the rows in which something stands still; what does not meets it on a busy host, too
DEADLINE = 15.0
IMPATIENT = dict.fromkeys(map(str, Stage), DEADLINE)  # an emulator is stopped in any stage
# Four cells: most of a trial's time is the start of its two runs, and each row is tried often.
COMMON: dict[str, Any] = {
    "profiles": {"define": {"nic": {"args": ["-device", "e1000e"]}}},
    "paths": {"pairs": ["old>new", "new>old"]},
}
EMULATOR = {
    **COMMON,
    "builds": {"old": {"provider": "emulator", "release": "7.2"}, "new": {"provider": "emulator", "release": "8.0"}},
    "engine": "process",
    "machines": ["pc-q35-7.2"],
    "defaults": {"args": ["-m", "64", "-nodefaults", "-global", "pci-device.x-config-check=strict"]},
    "modes": ["snapshot", {"name": "live", "transport": "unix"}],
}  # fmt: skip
QEMU = {
    **COMMON,
    "builds": {"old": {"provider": "debian", "suite": "bullseye"}, "new": {"provider": "debian", "suite": "trixie"}},
    "engine": "docker",
    "machines": ["pc-q35-5.2"],
    "defaults": {"args": ["-m", "64", "-nodefaults", "-display", "none"]},
    "modes": ["snapshot", {"name": "live", "transport": "tcp"}],
}  # fmt: skip

Codes = dict[str, int | None]
Fault = Callable[[Field, Random], Codes]


# -- processes -----------------------------------------------------------------------------------


def harness_killed(field: Field, dice: Random) -> Codes:
    run = field.start()
    field.moment(dice, run)
    run.kill()
    return {"out": field.finish(run)}


def signalled(times: int, *, group: bool = False) -> Fault:
    def fault(field: Field, dice: Random) -> Codes:
        run = field.start()
        wait_until(lambda: heeds(run))
        field.moment(dice, run)
        for _ in range(times):
            with suppress(ProcessLookupError):
                number = dice.choice((signal.SIGINT, signal.SIGTERM))
                os.killpg(run.pid, number) if group else run.send_signal(number)
            time.sleep(dice.random() * 0.2)
        return {"out": field.finish(run)}

    return fault


def signalled_before_it_began(field: Field, dice: Random) -> Codes:
    run = field.start()
    wait_until(lambda: heeds(run))
    time.sleep(dice.random() * 0.3)
    run.send_signal(dice.choice((signal.SIGINT, signal.SIGTERM)))
    return {"out": field.finish(run)}


def one_of(found: Callable[[], list[psutil.Process]], run: subprocess.Popen[bytes], dice: Random) -> Any:
    """A process of those that there are when there are any; None when the run ended first."""
    while run.poll() is None:
        with suppress(psutil.NoSuchProcess):
            if there := found():
                return dice.choice(there)
    return None


def emulator_gets(*numbers: signal.Signals) -> Fault:
    """An emulator gets these, a moment apart."""

    def fault(field: Field, dice: Random) -> Codes:
        run = field.start()
        field.moment(dice, run)
        victim = one_of(field.emulators, run, dice)
        for number in numbers if victim else ():
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(number)
            time.sleep(dice.random() * 0.5)
        return {"out": field.finish(run)}

    return fault


def harness_stopped(field: Field, dice: Random) -> Codes:
    run = field.start()
    field.moment(dice, run)
    if run.poll() is None:
        run.send_signal(signal.SIGSTOP)
        time.sleep(DEADLINE + 1.0)
        run.send_signal(signal.SIGCONT)
    return {"out": field.finish(run)}


def supervisor_killed(field: Field, dice: Random) -> Codes:
    run = field.start()
    field.moment(dice, run)
    if victim := one_of(field.supervisors, run, dice):
        with suppress(psutil.NoSuchProcess):
            victim.kill()
    return {"out": field.finish(run)}


def supervisors_and_harness_killed(field: Field, dice: Random) -> Codes:
    run = field.start()
    field.moment(dice, run)
    victims: list[Any] = [*field.supervisors(), run]
    dice.shuffle(victims)
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.kill()
    return {"out": field.finish(run)}


def two_on_one_store(field: Field, dice: Random) -> Codes:
    runs = {"out": field.start(), "other": field.start("other", log="log-other")}
    field.moment(dice, *runs.values())
    runs[dice.choice(("out", "other"))].kill()
    return {out: field.finish(run) for out, run in runs.items()}


def two_on_one_out(field: Field, dice: Random) -> Codes:
    one = field.start()
    time.sleep(dice.random() * field.seconds / 2)
    other = field.start(log="log-other")
    codes = [field.finish(one), field.finish(other)]
    assert set(codes) <= {field.code, 2}, codes  # one after the other, or one was refused
    assert field.code in codes, codes
    return {"out": field.code}


# -- files ---------------------------------------------------------------------------------------


def some(paths: Iterator[Path], dice: Random) -> list[Path]:
    every = sorted(paths)
    return dice.sample(every, min(len(every), 5))


def flip(path: Path, dice: Random, bytes_: int = 1) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(bytes_):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    path.write_bytes(data)


def replaced(path: Path, dice: Random) -> None:
    """Put something else in the place of a file."""
    aside = path.with_name(f"moved-{path.name}")
    path.rename(aside)
    match dice.choice(("directory", "fifo", "link", "dangling")):
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to(aside)
        case "dangling":
            path.symlink_to("nowhere")


def swapped(path: Path, dice: Random) -> None:
    other = dice.choice([p for p in path.parents[2].glob(f"*/*/{path.name}") if p != path])
    mine = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(mine)


def damaged(pattern: str, damage: Callable[[Path, Random], object]) -> Fault:
    """The store is damaged between two runs; some legs are gone, so that streams are needed again."""

    def fault(field: Field, dice: Random) -> Codes:
        field.fill()
        for path in some(field.hops.glob(pattern), dice):
            damage(path, dice)
        for path in some(field.hops.glob("*/*"), dice):
            if not (path / "stream.zst").exists():
                remove(path)  # which may be a FIFO by now
        return {"out": field.finish(field.start())}

    return fault


def cut(path: Path, dice: Random) -> None:
    path.write_bytes(path.read_bytes()[: dice.randrange(path.stat().st_size)])


def garbage(path: Path, dice: Random) -> None:
    path.write_bytes(dice.randbytes(dice.randrange(1, 5000)))


def as_it_was(field: Field, name: str) -> Path:
    """A directory of the builds' cache, as it was before the first trial of it."""
    place, kept = field.lab.root / "store" / "builds" / name, field.lab.root / name
    if kept.exists():
        remove(place)
        shutil.copytree(kept, place, symlinks=True)
    else:
        shutil.copytree(place, kept, symlinks=True)
    return place


def bundle_damaged(field: Field, dice: Random) -> Codes:
    bundles = as_it_was(field, "emulators")
    damage = dice.choice((flip, cut, garbage, lambda path, _: path.unlink()))
    damage(dice.choice(sorted(p for p in bundles.rglob("*") if p.is_file() and p.stat().st_size)), dice)
    return {"out": field.finish(field.start())}


def probes_damaged(field: Field, dice: Random) -> Codes:
    damage = dice.choice((flip, cut, garbage, replaced))
    damage(dice.choice(sorted(as_it_was(field, "probes").glob("*.json"))), dice)
    return {"out": field.finish(field.start())}


def run_damaged(damage: Callable[[Path, Random], object]) -> Fault:
    def fault(field: Field, dice: Random) -> Codes:
        field.fill()
        field.finish(field.start())
        damage(field.lab.root / "out" / "run.db", dice)
        return {"out": field.finish(field.start())}

    return fault


def run_gone(field: Field, dice: Random) -> Codes:
    """What is left could be anybody's: it is refused and left alone."""
    codes = run_damaged(lambda path, _: path.unlink())(field, dice)
    assert codes == {"out": 2}
    remove(field.lab.root / "out")
    return {}


def run_locked(field: Field, dice: Random) -> Codes:
    del dice
    field.fill()
    field.finish(field.start())
    with closing(sqlite3.connect(field.lab.root / "out" / "run.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        return {"out": field.finish(field.start())}


# -- clocks and surroundings -----------------------------------------------------------------------


def clocks_jump(*, wall: bool, forward: bool) -> Fault:
    """The clocks of the harness and of all its processes jump; containers keep theirs."""

    def fault(field: Field, dice: Random) -> Codes:
        run = field.start(environment=jumping(field.lab.root))
        field.moment(dice, run)
        seconds = dice.choice((-400 * 86400, -3600, 60, 86400, 20000 * 86400))
        jump(field.lab.root, seconds * wall, abs(seconds) % (30 * 86400) * forward)
        return {"out": field.finish(run)}

    return fault


def odd_surroundings(field: Field, dice: Random) -> Codes:
    odd = field.lab.root / "a b\n\u00fc"
    odd.mkdir(exist_ok=True)
    environment = dice.choice(
        (
            {"HOME": ""},
            {"HOME": "/nowhere"},
            {"XDG_CACHE_HOME": str(odd)},
            {"XDG_CACHE_HOME": "relative"},
            {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"},
            {"TERM": "", "COLUMNS": "1"},
            {"TZ": "Nowhere/Land"},
            {"PATH": "/usr/bin:/bin", "SHELL": "/bin/false"},
            {"TMPDIR": "/proc/nowhere"},
            {"TMPDIR": str(odd)},
        )
    )
    return {"out": field.finish(field.start(environment=environment))}


def descriptors_run_out(field: Field, dice: Random) -> Codes:
    """From a moment on the harness gets no new descriptor, or few."""
    run = field.start()
    field.moment(dice, run)
    few = dice.randrange(4, 64)
    if run.poll() is None:
        with suppress(ProcessLookupError):
            resource.prlimit(run.pid, resource.RLIMIT_NOFILE, (few, few))
    return {"out": field.finish(run)}


ROWS: dict[str, Fault] = {
    "harness killed": harness_killed,
    "signalled once": signalled(1),
    "signalled twice": signalled(2),
    "signalled three times, as a group": signalled(3, group=True),
    "signalled before it began": signalled_before_it_began,
    "emulator killed": emulator_gets(signal.SIGKILL),
    "emulator paused": emulator_gets(signal.SIGSTOP, signal.SIGCONT),
    "supervisor killed": supervisor_killed,
    "supervisors and harness killed": supervisors_and_harness_killed,
    "two runs on one store, one killed": two_on_one_store,
    "two runs on one out": two_on_one_out,
}
STILL: dict[str, Fault] = {
    "emulator stopped": emulator_gets(signal.SIGSTOP),
    "harness stopped": harness_stopped,
}
FILES: dict[str, Fault] = {
    "evidence cut": damaged("*/*/evidence.json", cut),
    "evidence garbage": damaged("*/*/evidence.json", garbage),
    "evidence swapped": damaged("*/*/evidence.json", swapped),
    "evidence flipped": damaged("*/*/evidence.json", flip),
    "evidence no plain file": damaged("*/*/evidence.json", replaced),
    "stream cut": damaged("*/*/stream.zst", cut),
    "stream garbage": damaged("*/*/stream.zst", garbage),
    "stream swapped": damaged("*/*/stream.zst", swapped),
    "stream flipped": damaged("*/*/stream.zst", flip),
    "stream no plain file": damaged("*/*/stream.zst", replaced),
    "lock no plain file": damaged("*/*/lock", replaced),
    "entry no directory": damaged("*/*", replaced),
    "bundle damaged": bundle_damaged,
    "probes damaged": probes_damaged,
    "run.db flipped": run_damaged(lambda path, dice: flip(path, dice, dice.choice((1, 1, 100)))),
    "run.db cut": run_damaged(cut),
    "run.db garbage": run_damaged(garbage),
    "run.db gone": run_gone,
    "run.db no plain file": run_damaged(replaced),
    "run.db locked": run_locked,
}
AROUND: dict[str, Fault] = {
    "wall clocks jump": clocks_jump(wall=True, forward=False),
    "all clocks jump": clocks_jump(wall=True, forward=True),
    "odd surroundings": odd_surroundings,
    "descriptors run out": descriptors_run_out,
}


def field_of(matrix: dict[str, Any], **policy: Any) -> Iterator[Field]:
    root = Path(tempfile.mkdtemp(prefix="mm-", dir="/tmp"))
    root.chmod(0o755)
    # what a shell runs in the background ignores SIGINT, and so would the commands that are started here
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    field = Field.of(Lab(root), {**matrix, "policy": policy})
    yield field
    signal.signal(signal.SIGINT, before)
    remove(root)


@pytest.fixture(scope="module")
def emulator_field() -> Iterator[Field]:
    yield from field_of(EMULATOR)


@pytest.fixture(scope="module")
def impatient_field() -> Iterator[Field]:
    yield from field_of(EMULATOR, deadline=IMPATIENT)


@pytest.fixture(scope="module")
def qemu_field(container_engine: object) -> Iterator[Field]:
    del container_engine
    yield from field_of(QEMU)


@pytest.fixture(scope="module")
def impatient_qemu_field(container_engine: object) -> Iterator[Field]:
    del container_engine
    yield from field_of(QEMU, deadline=IMPATIENT)


def hold_trials(field: Field, row: str, fault: Fault) -> None:
    """Make the trials of a row; none may show anything."""
    scores: list[Score] = []
    for number in range(TRIALS):
        field.clear()
        codes = fault(field, Random(f"{row} {number}"))
        scores.append(field.score(codes))
        if TABLE:
            with Path(TABLE).open("a") as file:
                file.write(f"{row}: {number}: {'clean' if scores[-1].clean() else scores[-1]}\n")
    assert [(n, s) for n, s in enumerate(scores) if not s.clean()] == []


@pytest.mark.parametrize("row", [*ROWS, *FILES, *AROUND])
def test_the_reference_emulator(emulator_field: Field, row: str) -> None:
    hold_trials(emulator_field, row, {**ROWS, **FILES, **AROUND}[row])


@pytest.mark.parametrize("row", STILL)
def test_the_reference_emulator_with_short_deadlines(impatient_field: Field, row: str) -> None:
    hold_trials(impatient_field, row, STILL[row])


@pytest.mark.qemu
@pytest.mark.parametrize("row", ROWS)
def test_real_qemu(qemu_field: Field, row: str) -> None:
    hold_trials(qemu_field, f"qemu: {row}", ROWS[row])


@pytest.mark.qemu
@pytest.mark.parametrize("row", STILL)
def test_real_qemu_with_short_deadlines(impatient_qemu_field: Field, row: str) -> None:
    hold_trials(impatient_qemu_field, f"qemu: {row}", STILL[row])
