# SPDX-License-Identifier: Apache-2.0
"""Emulators as processes with a QMP connection, for tests and benchmarks that look at two of them from outside.

`emulated` is the reference emulator of a release, `contained` a real QEMU in a container of its image. Both are the
same `Guest`; every wait has a deadline. `MIGMATRIX_DELAYS` names the library of random delays (`delays.py`) for real QEMU.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ROOT = Path(__file__).parents[2]
IMAGES = needs.IMAGES
COMMON = ("-display", "none", "-nodefaults", "-qmp", "stdio")
DEADLINE = 60.0
ENDS = ("completed", "failed", "cancelled")


class QmpFailed(Exception):
    """An error reply; `desc` is its text."""

    def __init__(self, desc: str) -> None:
        super().__init__(desc)
        self.desc = desc


class Guest:
    """One emulator. `events` are (name, data) in the order in which they came; `container` is its name, if it is in one."""

    def __init__(self, argv: Sequence[str], container: str = "", root: Path = ROOT) -> None:
        self.container = container
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
        )  # fmt: skip
        self.events: list[tuple[str, Any]] = []
        # whether MIGRATION events are on; before 8.0 a destination tells of its setup all the same
        self.tells = False
        self._read()
        self.command("qmp_capabilities")

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise EOFError(self.ended()[1])
        return json.loads(line)

    def command(self, name: str, **arguments: Any) -> Any:
        """The reply of a command; QmpFailed, or EOFError when the process ended."""
        assert self.process.stdin is not None
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        try:
            self.process.stdin.write(json.dumps({"execute": name, "arguments": named}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise EOFError(self.ended()[1]) from error
        while True:
            message = self._read()
            if "event" in message:
                self.events.append((message["event"], message.get("data")))
            elif "error" in message:
                raise QmpFailed(message["error"]["desc"])
            else:
                return message["return"]

    def enable(self, *capabilities: str) -> None:
        """Switch migration capabilities on."""
        self.tells = self.tells or "events" in capabilities
        wanted = [{"capability": name, "state": True} for name in capabilities]
        self.command("migrate-set-capabilities", capabilities=wanted)

    def status(self, *wanted: str) -> dict[str, Any]:
        """`query-migrate` once its status is one of `wanted`; an end has been told where events are on, and is over."""
        answer: dict[str, Any] = {}

        def reached() -> bool:
            answer.clear()
            answer.update(self.command("query-migrate"))
            status = answer.get("status")
            # QEMU's migration thread sets a status first and tells it then: the main thread may answer in between
            untold = self.tells and self.statuses and status in ENDS and self.statuses[-1] != status
            return status in wanted and not untold

        self._wait(reached, lambda: f"still {answer}, told: {self.statuses}")
        if answer["status"] in ENDS:
            self._wait(self._over, lambda: f"migration has not let go after {answer['status']!r}")
        return answer

    def heard(self, event: str) -> None:
        """Wait until an event of this name has come."""

        def came() -> bool:
            self.command("query-status")
            return any(name == event for name, _ in self.events)

        self._wait(came, lambda: f"no {event}, only {self.events}")

    def _over(self) -> bool:
        """Whether an ended migration has let go of its connection, for which a child process has ended, too.

        The migration thread of real QEMU tells the end first; then it gives the guest its last state, and has the main
        thread do the rest. Until then a file is not whole, and another migration is refused.
        """
        try:
            return {"type": "migration"} not in self.command("query-yank")
        except QmpFailed:  # 5.2 has none; nor has the emulator, which lets go first
            if self.command("query-status")["status"] == "finish-migrate":
                return False
            self.command("query-status")  # its turn comes when what was planned before is done
            return True

    def _wait(self, done: Callable[[], bool], words: Callable[[], str]) -> None:
        """Ask again and again, each time for an answer of the emulator; `words` are asked for when it took too long."""
        until = time.monotonic() + DEADLINE
        while not done():
            assert time.monotonic() < until, f"{words()} after {DEADLINE} s"
            time.sleep(0.005)

    @property
    def statuses(self) -> list[str]:
        """Statuses that MIGRATION events told."""
        return [data["status"] for name, data in self.events if name == "MIGRATION"]

    def kill(self) -> None:
        """SIGKILL, whatever it does; returns when it has ended."""
        if self.container:
            subprocess.run(["docker", "kill", self.container], check=True, capture_output=True)
        else:
            self.process.kill()
        self.process.wait(DEADLINE)

    def ended(self) -> tuple[int, str]:
        """Exit status and standard error of a process that ends by itself."""
        _, err = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, err

    def close(self) -> None:
        """End it if it still runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.communicate(timeout=DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.communicate()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None and not pipe.closed:
                with suppress(BrokenPipeError):  # a command that nobody reads any more
                    pipe.close()


@contextmanager
def emulated(release: str, *arguments: str, root: Path = ROOT) -> Iterator[Guest]:
    """The reference emulator of `release`; of another checkout: its `root`."""
    guest = Guest(
        [sys.executable, "-m", "migmatrix.emulator", "--release", release, *COMMON, *arguments], root=root
    )
    try:
        yield guest
    finally:
        guest.close()


def preloaded(*libraries: str) -> list[str]:
    """What docker needs for processes with these libraries and, where they are wanted, random delays (`delays.py`)."""
    delays = os.environ.get("MIGMATRIX_DELAYS")
    words = ["-v", f"{delays}:/delays.so:ro"] if delays else []
    every = [*libraries, *(["/delays.so"] if delays else [])]
    return [*words, "-e", f"LD_PRELOAD={':'.join(every)}"] if every else []


# what docker needs for a destination of postcopy
USERFAULT = (
    "--user", "0:0", "--cap-add", "SYS_PTRACE", "--device", "/dev/userfaultfd",
    "--security-opt", f"seccomp={ROOT / 'harness' / 'engines' / 'seccomp-postcopy.json'}",
)  # fmt: skip


@contextmanager
def contained(release: str, shared: Path, *arguments: str, userfault: bool = False) -> Iterator[Guest]:
    """Real QEMU of `release`, without network; `shared` has the same path inside. `userfault`: for a postcopy."""
    needs.image(release)
    image = f"migmatrix/debian:{IMAGES[release]}"
    more = USERFAULT if userfault else ()
    name = f"migmatrix-test-{uuid.uuid4().hex}"
    named = ["docker", "run", "--rm", "-i", "--name", name, "--network", "none"]
    docker = [*named, "-v", f"{shared}:{shared}", *more, *preloaded(), image]
    guest = Guest([*docker, "qemu-system-x86_64", *COMMON, *arguments], name)
    try:
        yield guest
    finally:
        guest.close()
