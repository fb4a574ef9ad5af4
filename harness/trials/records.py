# SPDX-License-Identifier: Apache-2.0
"""What can be run and need not be in any matrix, as plain records; start from `Trial`.

A `Trial` is a machine, arguments, and a path whose every step may have settings of its own. An `Attempt` is a trial
that was run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from migmatrix.harness.model import CellResult, Guest, Mode, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migmatrix.harness.model import Cell
    from migmatrix.harness.run.definition import Origin

__all__ = ["Attempt", "Setting", "Setup", "Side", "Step", "Trial", "plain", "setup_of", "texts", "trial_of"]

Setup = tuple[str, str, str, str]  # machine, profile, mode, guest: a cell without its path


class Side(StrEnum):
    """The emulators of the failing migration that a remedy is set on."""

    DESTINATION = "destination"
    SOURCE = "source"
    BOTH = "both"


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """A property set for every device of a type: ``-global type.name=value``."""

    type: str
    name: str
    value: str

    @property
    def text(self) -> str:
        """``virtio-blk-device.queue-size=1024``."""
        return f"{self.type}.{self.name}={self.value}"


@dataclass(frozen=True, slots=True)
class Step:
    """One build of a path, and what is set on it; `args` replace the build's own arguments, None leaves them."""

    build: str
    settings: tuple[Setting, ...] = ()
    args: tuple[str, ...] | None = None

    @property
    def arguments(self) -> tuple[str, ...]:
        """The settings as emulator arguments."""
        return tuple(word for setting in self.settings for word in ("-global", setting.text))

    @property
    def text(self) -> str:
        """``qemu-7.2`` or ``qemu-7.2(a.b=c)``."""
        return f"{self.build}({', '.join(s.text for s in self.settings)})" if self.settings else self.build


@dataclass(frozen=True, slots=True)
class Trial:
    """Something that can be run: every field says all of it, no name of a matrix is needed but those of builds."""

    machine: str
    arguments: tuple[str, ...]
    path: tuple[Step, ...]
    mode: Mode
    guest: Guest

    @property
    def route(self) -> str:
        """``A>B(x.y=z)``."""
        return ">".join(step.text for step in self.path)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A trial and what came of it; `hops`, by its published name, counts legs that no earlier trial had needed."""

    purpose: str
    trial: Trial
    result: CellResult
    hops: int

    @property
    def passed(self) -> bool:
        """Whether every leg completed."""
        return self.result.verdict is Verdict.PASS


def setup_of(cell: Cell) -> Setup:
    """What a cell runs, whatever its path."""
    return cell.machine, cell.profile, cell.mode, cell.guest


def trial_of(origin: Origin, cell: Cell) -> Trial:
    """A cell of a matrix as something that can be run and changed."""
    profile = origin.profiles[cell.profile]
    return Trial(
        machine=cell.machine,
        arguments=(*origin.default_args, *profile.args),
        path=tuple(Step(build) for build in cell.path),
        mode=origin.modes[cell.mode],
        guest=origin.guests[cell.guest],
    )


def plain(value: Any) -> Any:
    """Tuples as lists and enums as their values, all the way down."""
    if isinstance(value, dict):
        return {key: plain(below) for key, below in value.items()}
    if isinstance(value, tuple | list):
        return [plain(below) for below in value]
    return value.value if isinstance(value, StrEnum) else value


def texts(settings: Iterable[Setting]) -> str:
    """Settings as the arguments of a command line."""
    return " ".join(f"-global {setting.text}" for setting in settings)
