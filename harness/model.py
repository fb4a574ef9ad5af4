# SPDX-License-Identifier: Apache-2.0
"""The words of the project as plain records; no I/O, no policy, imported by every other module.

Verdicts and outcomes are defined in `docs/words.md`. A *hop* is one migration of a path: ``A>B>C`` has two,
number 1 (A to B) and number 2 (B to C). A *leg* is one emulator's part of a path, and what the store keeps:
``leg(stream in, build, machine, profile, mode, guest) -> (evidence, stream out)``. In snapshot mode a leg is one
emulator that starts, perhaps loads, is checked, and perhaps saves, so ``A>B>C`` has three; a live leg is one hop.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Cause",
    "Cell",
    "CellResult",
    "Course",
    "EmulatorEvidence",
    "Guest",
    "LegEvidence",
    "Mode",
    "ModeSide",
    "Outcome",
    "Profile",
    "QmpMessage",
    "Role",
    "Stage",
    "StageEvidence",
    "StreamInfo",
    "Verdict",
]


class Verdict(StrEnum):
    """What happened to a cell."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    UNSUPPORTED = "unsupported"
    BLOCKED = "blocked"
    ERROR = "error"


class Outcome(StrEnum):
    """The verdict against what was expected."""

    OK = "ok"
    REGRESSION = "regression"
    KNOWN = "known"
    WRONG_FAILURE = "wrong-failure"
    FIXED = "fixed"
    SKIPPED = "skipped"
    INCOMPLETE = "incomplete"
    FLAKY = "flaky"


class Stage(StrEnum):
    """The step of a leg in which something happened, in the order of time."""

    START = "start"  # until the QMP greeting and the capabilities are set
    LOAD = "load"  # the incoming migration
    EQUALITY = (
        "equality"  # saved again right after the load, before anything runs, and compared with what was sent
    )
    CHECK = "check"  # the guest is as it should be after a load
    RUN = "run"  # the guest runs for its bounded time before the next save
    SAVE = "save"  # the outgoing migration
    MIGRATE = "migrate"  # a live migration, both sides at once
    QUIT = "quit"


class Role(StrEnum):
    """Which end of a migration an emulator is."""

    SOURCE = "source"
    DESTINATION = "destination"


@dataclass(frozen=True, slots=True)
class Profile:
    """A named list of emulator arguments; `machines` and `architectures` are globs of what it is meant for.

    An `explicit` profile takes part in the explicit paths that name it, not in "all".
    """

    name: str
    args: tuple[str, ...]
    machines: tuple[str, ...] = ("*",)
    description: str = ""
    explicit: bool = False
    architectures: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True)
class ModeSide:
    """What a mode sets on one side: capabilities to true, and the arguments of `migrate-set-parameters`."""

    capabilities: tuple[str, ...]
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Mode:
    """How a hop is done. `transport` is empty for `snapshot`, else tcp, unix, exec, fd or file.

    `capabilities` and `parameters` are for both sides, `source_*` and `destination_*` for one; ask `side` for what
    one side gets. With `postcopy` the source is asked for it after `passes` passes of precopy. A `cut_within` that is not 0
    breaks the link in the postcopy phase, before that many bytes have gone, at one that `cut_seed` draws. `tls` is over
    every channel, `memory` the guest's: "shared" between the sides, of "hugepages", or "compared" at the end. With
    `refused` the mode is to be refused, in words that hold these. `check` is what is asked beside "did it arrive": of a
    snapshot "equality", that each destination says what it was told.

    A field that came later (those from `passes` on) has a default that means "as before": see `fields`.
    """

    name: str
    transport: str = ""
    capabilities: tuple[str, ...] = ()
    parameters: tuple[tuple[str, Any], ...] = ()
    source_capabilities: tuple[str, ...] = ()
    source_parameters: tuple[tuple[str, Any], ...] = ()
    destination_capabilities: tuple[str, ...] = ()
    destination_parameters: tuple[tuple[str, Any], ...] = ()
    postcopy: bool = False
    passes: int = 0
    cut_within: int = 0  # bytes
    cut_seed: int = 0
    tls: bool = False
    memory: str = ""
    refused: str = ""
    check: str = ""

    def fields(self) -> dict[str, Any]:
        """All fields by name, less those that came later and say nothing: what is kept of older modes stays the same."""
        before = asdict(_PLAIN)
        later = tuple(before)[tuple(before).index("passes") :]
        return {k: v for k, v in asdict(self).items() if k not in later or v != before[k]}

    @property
    def live(self) -> bool:
        """Whether both sides run at the same time."""
        return bool(self.transport)

    def side(self, role: Role) -> ModeSide:
        """What one side gets; its own parameters win over those of both."""
        source = role is Role.SOURCE
        names = self.source_capabilities if source else self.destination_capabilities
        parameters = self.source_parameters if source else self.destination_parameters
        return ModeSide((*self.capabilities, *names), dict((*self.parameters, *parameters)))


_PLAIN = Mode("")


@dataclass(frozen=True, slots=True)
class Guest:
    """What runs inside: `paused` never runs; `firmware` runs for `seconds` before each hop; `pulse` is a program of ours.

    `tasks` are what `pulse` is asked to do beside what it always does.
    """

    name: str
    kind: str  # "paused" | "firmware" | "pulse"
    seconds: float = 0.0
    tasks: tuple[str, ...] = ()

    def fields(self) -> dict[str, Any]:
        """All fields by name, less `tasks` where there are none: what is kept of older guests stays the same."""
        return {k: v for k, v in asdict(self).items() if k != "tasks" or v}


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """The unit that is planned, run, judged and reported; every field is a name from the matrix."""

    machine: str
    profile: str
    path: tuple[str, ...]
    mode: str = "snapshot"
    guest: str = "paused"

    @property
    def id(self) -> str:
        """``machine/profile/A>B>C/mode/guest``: unique in a matrix, stable between runs."""
        return f"{self.machine}/{self.profile}/{'>'.join(self.path)}/{self.mode}/{self.guest}"

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the id; shards are cut by it."""
        return hashlib.sha256(self.id.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a cell failed. `field` is a field name, a register offset such as ``0x10a``, or empty."""

    kind: str
    device: str = ""
    field: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class QmpMessage:
    """One QMP object: `direction` is ``>`` sent, ``<`` received; `at` seconds since the leg began."""

    at: float
    direction: str
    message: dict[str, Any]


@dataclass(frozen=True, slots=True)
class EmulatorEvidence:
    """What one emulator process was given and what it did.

    `exit` is the exit status, negative for a signal, None when it was not seen to end by itself
    (it was told to quit or killed by the harness after its work).
    """

    role: str  # "source" | "destination"
    build: str
    version: str
    argv: tuple[str, ...]
    stderr: str = ""
    exit: int | None = None
    qmp: tuple[QmpMessage, ...] = ()


@dataclass(frozen=True, slots=True)
class StageEvidence:
    """One step of a leg; `problem` is empty when it went well, else what the harness saw.

    ``exited`` an emulator ended; ``deadline`` not done in time; ``qmp-error`` a command was refused
    (`detail` is the error's text); ``migration-failed`` the status went to failed (`detail` is
    error-desc); ``wrong-status`` the guest is not in the state it should be in (`detail` says);
    ``silent`` the guest runs but its output does not go on; ``absent`` `pulse` was never heard; ``malformed`` an emulator did or said what none does
    (`detail` says what, in the harness's words). `waited` is the deadline that made it a problem.
    """

    stage: Stage
    seconds: float
    problem: str = ""
    detail: str = ""
    role: str = ""  # which side the problem was seen on
    waited: float = 0.0  # seconds


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """The stream that a leg left: SHA-256 (hex) and length of the uncompressed bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class LegEvidence:
    """Everything recorded about one leg; a verdict can be computed from it again.

    `infrastructure` is the text of a host or engine failure and empty otherwise; such evidence is
    never stored for reuse. `free_bytes` is the least free space seen where the stream was written. `again` is what
    came of the leg when it was done a second time, as a crash or a deadline does not count alone. `began` is when the
    leg began (ISO 8601, UTC), `host` the kernel that it ran on; evidence of before has neither. No verdict depends on them.
    """

    key: str
    stages: tuple[StageEvidence, ...]
    emulators: tuple[EmulatorEvidence, ...]
    stream: StreamInfo | None = None
    infrastructure: str = ""
    free_bytes: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)  # what else was observed, by name
    again: LegEvidence | None = None
    began: str = ""
    host: str = ""

    @property
    def failed(self) -> StageEvidence | None:
        """The stage that had a problem, if any; at most one has, the last."""
        return next((s for s in self.stages if s.problem), None)

    def impatient(self, deadlines: Mapping[Stage, float]) -> bool:
        """Whether it failed only because it was not waited for as long as these seconds allow."""
        return self.failed is not None and 0 < self.failed.waited < deadlines[self.failed.stage]

    def failed_at(self, stage: Stage) -> bool:
        """Whether that stage had a problem."""
        return self.failed is not None and self.failed.stage is stage


@dataclass(frozen=True, slots=True)
class Course:
    """The statuses and events (in capitals) of one side of a migration, in order; `hop` counts from 1."""

    hop: int
    role: str  # "source" | "destination"
    build: str
    said: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The published form."""
        return {"hop": self.hop, "role": self.role, "build": self.build, "said": list(self.said)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Course:
        """Inverse of `to_json`; KeyError when `data` is not of that form."""
        return cls(data["hop"], data["role"], data["build"], tuple(data["said"]))


@dataclass(frozen=True, slots=True)
class CellResult:
    """One line of `results.jsonl` (schema: docs/results.schema.json).

    `hop` is the number of the migration that went wrong (1 = A to B). `reason` is plain text for
    cells that were not run or whose outcome needs a word; `known_issue` the id that matched.
    `legs` are the keys of the legs that the verdict rests on, in the order of the path; their published name is
    `hops`, which older runs have too. `notes` say what the sides
    of a cell that passed were told otherwise (`judge.notes`), `courses` what they said (`judge.courses`); older runs
    have none.
    """

    cell: Cell
    verdict: Verdict
    outcome: Outcome
    hop: int | None = None
    stage: Stage | None = None
    cause: Cause | None = None
    signature: str | None = None
    seconds: float = 0.0
    reason: str = ""
    known_issue: str | None = None
    legs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    courses: tuple[Course, ...] = ()

    @property
    def failing_pair(self) -> tuple[str, str] | None:
        """Source and destination build of the migration that went wrong; None when `hop` names none of the path."""
        path, hop = self.cell.path, self.hop
        return (path[hop - 1], path[hop]) if hop is not None and 1 <= hop < len(path) else None

    def to_json(self) -> dict[str, Any]:
        """The published form, keys in the documented order."""
        cause = self.cause
        return {
            "cell": self.cell.id,
            "machine": self.cell.machine,
            "profile": self.cell.profile,
            "path": list(self.cell.path),
            "mode": self.cell.mode,
            "guest": self.cell.guest,
            "verdict": self.verdict.value,
            "outcome": self.outcome.value,
            "hop": self.hop,
            "stage": self.stage.value if self.stage else None,
            "cause": None
            if cause is None
            else {
                "kind": cause.kind,
                "device": cause.device,
                "field": cause.field,
                "message": cause.message,
            },
            "signature": self.signature,
            "seconds": round(self.seconds, 4),
            "reason": self.reason,
            "known_issue": self.known_issue,
            "hops": list(self.legs),
            "notes": list(self.notes),
            "courses": [course.to_json() for course in self.courses],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> CellResult:
        """Inverse of `to_json`; KeyError or ValueError when `data` is not of that form."""
        cause = data["cause"]
        return cls(
            cell=Cell(data["machine"], data["profile"], tuple(data["path"]), data["mode"], data["guest"]),
            verdict=Verdict(data["verdict"]),
            outcome=Outcome(data["outcome"]),
            hop=data["hop"],
            stage=Stage(data["stage"]) if data["stage"] else None,
            cause=None if cause is None else Cause(**cause),
            signature=data["signature"],
            seconds=data["seconds"],
            reason=data["reason"],
            known_issue=data["known_issue"],
            legs=tuple(data["hops"]),
            notes=tuple(data.get("notes", ())),
            courses=tuple(map(Course.from_json, data.get("courses", ()))),
        )
