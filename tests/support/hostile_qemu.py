# SPDX-License-Identifier: Apache-2.0
"""A fake emulator that does, at random moments, what a hostile build can do to its job directory, its output and QMP.

It is `fake_qemu` with `-fake misbehave=SEED`: the seed draws one to four of `DEEDS` (`misdeeds.py`) and the moment for each, so that the
same build does the same at each start that comes to that moment. `-fake canary=DIR` names a directory of the host that
the links lead to. `python hostile_qemu.py tell SEED...` prints what seeds mean.

`-fake as=NAME` does one deed by name at the moment `when=NAME`.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import misdeeds_said
from fake_qemu import Fake
from misdeeds import DEEDS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Hostile", "drawn", "misdeeds_said"]

# Before the greeting; with the answer to a command; when all is done.
MOMENTS = (
    "start", "greeting", "qmp_capabilities", "migrate-set-capabilities", "migrate-incoming", "query-status",
    "migrate", "saved", "getfd", "quit", "end",
)  # fmt: skip

NOBODY = 65534


class Hostile(Fake):
    """One hostile emulator."""

    def __init__(self, version: str, argv: list[str]) -> None:
        super().__init__(version, argv)
        sys.set_int_max_str_digits(0)
        seed = self.fakes.get("misbehave", "")
        self.rng = random.Random(seed)
        named = self.fakes.get("as")
        self.plan = [(self.fakes["when"], named)] if named else drawn(self.rng) if seed else []
        self.canary = Path(self.fakes.get("canary", "/root"))
        self.twist: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self.box = Path(self.plain.get("-qmp", "unix:./qmp").removeprefix("unix:").partition(",")[0]).parent

    def at(self, moment: str) -> None:
        """Do what is planned for a moment; what the box does not let happen does not."""
        for when, name in self.plan:
            if when == moment:
                with contextlib.suppress(OSError):
                    DEEDS[name](self)

    def run(self) -> None:
        if not self.plain.get("-qmp", "").startswith("unix:"):
            super().run()  # a probe
            return
        if os.geteuid() == 0:  # without a container: what happens to the canary is the harness's doing
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        self.at("start")
        with contextlib.suppress(BrokenPipeError, ConnectionError):
            super().run()
        self.at("end")

    def answer(self, command: str, arguments: Any) -> Any:
        self.at(command)
        return super().answer(command, arguments)

    def write(self, uri: str, *, running: bool) -> None:
        super().write(uri, running=running)
        self.at("saved")

    def send(self, message: dict[str, Any]) -> None:
        if "QMP" in message:
            self.at("greeting")
        twist, self.twist = self.twist, None
        if twist is not None:
            message = twist(message)
        self.say(json.dumps(message).encode() + b"\r\n")

    def say(self, data: bytes) -> None:
        """Write anything to the QMP session, once there is one."""
        if self.out is None:
            return
        with self.sending:
            self.out.buffer.write(data)
            self.out.flush()


def drawn(rng: random.Random) -> list[tuple[str, str]]:
    """Moments and names of deeds."""
    deeds = rng.choices(list(DEEDS), k=rng.choice((1, 1, 2, 3, 4)))
    return [(rng.choice(MOMENTS), deed) for deed in deeds]


def tell(seeds: list[str]) -> None:
    """Print what seeds mean."""
    for seed in seeds:
        print(seed, *(f"{name} at {moment}" for moment, name in drawn(random.Random(seed))), sep="; ")


if __name__ == "__main__":
    tell(sys.argv[2:]) if sys.argv[1] == "tell" else Hostile(sys.argv[1], sys.argv[2:]).run()
