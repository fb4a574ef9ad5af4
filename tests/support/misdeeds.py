# SPDX-License-Identifier: Apache-2.0
"""What a hostile emulator does to its job directory, its output, its supervisor and its process; `DEEDS` has them all.

A deed takes a `Hostile` (`hostile_qemu.py`) and draws from its `rng`. What it says over QMP is in `misdeeds_said.py`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostile_qemu import Hostile

# What it can name in its job directory: what the harness makes or reads there, and a name that nobody knows.
NAMES = ("stderr", "stdout", "run", "qmp", "stream", "saved", "console", "other")
SECONDS = 20.0  # what outlives the emulator ends by itself
HOSTILE_TEXTS = (
    "\x1b]0;title\x07\x1b[2J\x1b[31mred",
    "\u202eesrever\u2066\x9b31m",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "[a](javascript:alert) | `code` | ![x](http://host.invalid/x.png)\n# head\n::error::x",
    "\ud800\udfff\x00\x01\x7f\ufffe",
    "x" * 300_000,
    "\n" * 2000,
    "{%s} %n {{7*7}} ${PATH} $(id)",
)
HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, [], {}, "", -1, 0, 1 << 70, 10**4000, -(1 << 63), 1.5, float("nan"), float("inf"), [[]] * 3,
    {"a": {"b": [None]}}, {"status": "completed"}, ["completed"], *HOSTILE_TEXTS,
)  # fmt: skip


DEEDS: dict[str, Callable[[Hostile], object]] = {}


def deed(does: Callable[[Hostile], object]) -> Callable[[Hostile], object]:
    """Put a deed on the list."""
    DEEDS[does.__name__] = does
    return does


# ---- files: the job directory, and what is beside it -----------------------------------------------------------


def names(it: Hostile) -> list[Path]:
    """Some of its files."""
    return [it.box / name for name in it.rng.sample(NAMES, it.rng.randint(1, len(NAMES)))]


def gone(path: Path) -> None:
    """Make room for something else."""
    with contextlib.suppress(OSError):
        path.rename(path.with_name(f"{path.name}.was"))


def targets(it: Hostile) -> list[str]:
    """Where links lead."""
    canary = str(it.canary)
    up = "../" * 12
    return [
        f"{canary}/secret", canary, f"{up}{canary}/secret", f"{canary}/absent", "/proc/self/environ", "/proc/self/mem",
        "/proc/1/root/etc/shadow", "/dev/zero", "/dev/stdin", "/proc/kmsg", "stderr", ".", "..", "../1/stderr",
        "/etc/shadow", "/proc/self/fd/0", "/dev/tty", "/proc/self/fd/1",
    ]  # fmt: skip


@deed
def links(it: Hostile) -> None:
    for path in names(it):
        gone(path)
        path.symlink_to(it.rng.choice(targets(it)))


@deed
def link_loops(it: Hostile) -> None:
    for path in names(it):
        gone(path)
        path.symlink_to(path.name if it.rng.random() < 0.5 else f"../{it.box.name}/{path.name}")


@deed
def hard_links(it: Hostile) -> None:
    for path in names(it):
        gone(path)
        with contextlib.suppress(OSError):  # the kernel's protected_hardlinks
            os.link(it.canary / "secret", path)
        with contextlib.suppress(OSError):
            os.link(it.box / "run", path)


@deed
def fifos(it: Hostile) -> None:
    for path in names(it):
        gone(path)
        os.mkfifo(path)


@deed
def sockets(it: Hostile) -> None:
    for path in names(it):
        gone(path)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))


@deed
def devices(it: Hostile) -> None:
    for path in names(it):
        gone(path)
        os.mknod(path, 0o666 | 0o020000, os.makedev(1, 5))  # /dev/zero, where that is allowed


@deed
def directories(it: Hostile) -> None:
    for path in names(it):
        gone(path)
        path.mkdir()
        (path / "below").symlink_to(it.canary)


@deed
def deep_directories(it: Hostile) -> None:
    here = os.open(it.box, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.fchmod(here, 0)


@deed
def many_files(it: Hostile) -> None:
    for number in range(12_000):
        (it.box / f"file{number}").touch()


@deed
def sparse_files(it: Hostile) -> None:
    for path in names(it):
        gone(path)
        with path.open("wb") as file:
            file.truncate(1 << 40)


@deed
def deletions(it: Hostile) -> None:
    for path in names(it):
        path.unlink(missing_ok=True)


@deed
def no_rights(it: Hostile) -> None:
    for path in names(it):
        path.chmod(0)
    it.box.chmod(it.rng.choice((0, 0o100, 0o500, 0o777)))


@deed
def odd_names(it: Hostile) -> None:
    root = os.fsencode(it.box)
    for name in (b"\xff\xfe\x80", b"x" * 255, b"new\nline", b"\x1b[2J", "\u202ename".encode(), b"-rf", b" "):
        Path(os.fsdecode(root + b"/" + name)).touch()
        Path(os.fsdecode(root + b"/" + name[:200] + b".d")).mkdir()


@deed
def moved_box(it: Hostile) -> None:
    away = it.box.with_name(f"{it.box.name}.away")
    it.box.rename(away)
    it.box.symlink_to(it.canary)


@deed
def races(it: Hostile) -> None:
    paths = names(it)

    def race() -> None:
        end = time.monotonic() + SECONDS / 2
        while time.monotonic() < end:
            for path in paths:
                swap(it, path)

    outlive(race)


def swap(it: Hostile, path: Path) -> None:
    """Put one thing in the place of another, at once."""
    spare = path.with_name(f"{path.name}.swap")
    with contextlib.suppress(OSError):
        match it.rng.randrange(4):
            case 0:
                spare.symlink_to(it.canary / "secret")
            case 1:
                os.mkfifo(spare)
            case 2:
                spare.write_bytes(b"x" * 1000)
            case 3:
                spare.symlink_to(it.canary)
        spare.replace(path)


@deed
def a_next_job(it: Hostile) -> None:
    """What the next jobs of the sandbox will want to make."""
    number = int(it.box.name) if it.box.name.isdecimal() else 0
    for more in range(1, 5):
        it.box.with_name(str(number + more)).symlink_to(it.canary)


@deed
def link_directory(it: Hostile) -> None:
    """The directory that the emulators of a run share."""
    inside = Path("/migmatrix/link")
    shared = inside if inside.is_dir() else it.box.parent.parent / "link"
    (shared / "more").symlink_to(it.canary)
    for found in list(shared.iterdir()):
        gone(found)
        found.symlink_to(it.canary / "secret")


# ---- output ------------------------------------------------------------------------------------------------------


@deed
def floods_stderr(it: Hostile) -> None:
    for _ in range(it.rng.choice((4, 200))):
        os.write(2, b"x" * (1 << 20))


@deed
def floods_stdout(_: Hostile) -> None:
    for _times in range(100):
        os.write(1, b"y\n" * (1 << 19))


@deed
def hostile_texts(it: Hostile) -> None:
    for text in it.rng.sample(HOSTILE_TEXTS, 3):
        os.write(2, b"qemu-system-x86_64: " + text.encode(errors="surrogatepass") + b"\xff\xc3\n")


@deed
def huge_stream(it: Hostile) -> None:
    path = it.box / "stream"
    with contextlib.suppress(OSError), path.open("ab") as file:
        file.write(bytes(64 << 20))
        file.truncate(3 << 30)


# ---- the supervisor and the process ---------------------------------------------------------------------------------


@deed
def forged_lines(it: Hostile) -> None:
    jobs = [it.box.name, *(str(number) for number in range(4))]
    values = ("0", "1", "139", "137", "9" * 30, "-1", "x", "", "\xb2", "256", "255", "0x1")
    lines = [
        f"{it.rng.choice(('exit', 'saved', 'ready'))} {it.rng.choice(jobs)} {it.rng.choice(values)}"
        for _ in range(50)
    ]
    write_fifo(it, "events", "\n".join(lines).encode() + b"\n" + bytes(range(256)) + b"\n")


@deed
def endless_line(it: Hostile) -> None:
    for _ in range(100):
        write_fifo(it, "events", b"exit " * 10_000)


@deed
def forged_commands(it: Hostile) -> None:
    write_fifo(
        it, "commands", b"start ..\nstart /etc\nsignal x y\n\xff\x00\nstart " + it.box.name.encode() + b"\n"
    )


@deed
def stolen_commands(it: Hostile) -> None:
    fd = os.open(it.box.parent / "commands", os.O_RDONLY | os.O_NONBLOCK)
    threading.Thread(
        target=lambda: [os.read(fd, 1 << 16) for _ in iter(lambda: time.sleep(0.01), 1)], daemon=True
    ).start()


def write_fifo(it: Hostile, name: str, data: bytes) -> None:
    """Write to one of the sandbox's FIFOs."""
    fd = os.open(it.box.parent / name, os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        os.write(fd, data)
    os.close(fd)


def outlive(work: Callable[[], object]) -> None:
    """Do something in a process that belongs to nobody."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with contextlib.suppress(BaseException):
                work()
        os._exit(0)


@deed
def leaves_a_process(_: Hostile) -> None:
    outlive(lambda: time.sleep(SECONDS))


@deed
def leaves_a_deaf_process(_: Hostile) -> None:
    def work() -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(SECONDS)

    outlive(work)


@deed
def forks(_: Hostile) -> None:
    for _times in range(20):
        if os.fork() == 0:
            time.sleep(SECONDS)
            os._exit(0)


@deed
def stops_itself(_: Hostile) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@deed
def is_deaf(_: Hostile) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    threading.Event().wait()


@deed
def closes_all(_: Hostile) -> None:
    os.closerange(0, 256)
    time.sleep(SECONDS)


@deed
def ends_by_signal(it: Hostile) -> None:
    os.kill(os.getpid(), it.rng.choice([n for n in range(1, 65) if n not in (32, 33)]))


@deed
def ends(it: Hostile) -> None:
    os._exit(it.rng.choice((0, 1, 2, 127, 128, 137, 139, 200, 255)))
