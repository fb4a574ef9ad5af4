# SPDX-License-Identifier: Apache-2.0
"""What real QEMU answered, kept below tests/data/recorded, and the conversations that ask an emulator the same.

A recording is a list of rows ``{"ask": ..., "answers": {release: answer}}``; an answer holds until a later release has
another, and null stands for "as nobody can know" (a number of a process, a time). `tests/support/record.py` makes
recordings from real QEMU; tests put the same questions to the emulator. Both use the functions here, so that a
question means the same to either.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "IMAGES",
    "RELEASES",
    "Said",
    "Talk",
    "answer_in",
    "converse",
    "emulator",
    "fold",
    "grouped",
    "read",
    "start",
]

ROOT = Path(__file__).parents[2]
DIRECTORY = ROOT / "tests" / "data" / "recorded"
IMAGES = {"5.2": "bullseye", "7.2": "bookworm", "10.0": "trixie", "11.1": "trixie-backports"}
RELEASES = tuple(IMAGES)
_PATIENCE = 60.0  # seconds
_NEGOTIATE = '{"execute": "qmp_capabilities"}'
_MARK_ID = "the next text begins"
_MARK = json.dumps({"execute": "query-version", "id": _MARK_ID})
_QUIT = '{"execute": "quit", "id": "the end"}'

Row = dict[str, Any]


class Said(NamedTuple):
    """How a process ended: exit status and the lines of standard error, without the program's name."""

    status: int
    lines: list[str]


class Talk(NamedTuple):
    """Answers in the order of the requests, and events in the order in which they came."""

    answers: list[Any]
    events: list[Any]


def emulator(release: str, *words: str) -> list[str]:
    """The command line of the reference emulator; `release` comes first, as a matrix gives it."""
    return [sys.executable, "-m", "migmatrix.emulator", "-release", release, *words]


def converse(argv: Sequence[str], requests: Iterable[str]) -> Talk:
    """All requests at once on ``-qmp stdio``, between a negotiation and a quit that are not counted.

    An answer that is no JSON (QEMU prints ``inf``) is the line itself.
    """
    given = "\n".join((_NEGOTIATE, *requests, _QUIT, ""))
    _, output, _ = _run([*argv, "-qmp", "stdio"], given.encode())
    messages = [_message(line) for line in output.splitlines()]
    answers = [m for m in messages if isinstance(m, str) or not {"event", "QMP"} & m.keys()]
    ended = (
        isinstance(answers[-1], dict) and answers[-1].get("id") == "the end"
    )  # it may be gone before it answers
    return Talk(answers[1:-1] if ended else answers[1:], [m for m in messages if "event" in m])


def grouped(argv: Sequence[str], texts: Iterable[str]) -> list[list[Any]]:
    """As `converse`, for texts that may be no request or several: the answers to each, told apart by marks."""
    marked = [line for text in texts for line in (text, _MARK)]
    groups: list[list[Any]] = [[]]
    for answer in converse(argv, marked).answers:
        if isinstance(answer, dict) and answer.get("id") == _MARK_ID:
            groups.append([])
        else:
            groups[-1].append(answer)
    return groups[:-1]


def _message(line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return line


def _run(argv: Sequence[str], given: bytes) -> tuple[int, str, str]:
    """Status and output; its input stays open until it ends: real QEMU may hang when that ends while it quits."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(argv, cwd=ROOT, **pipes) as process:  # type: ignore[call-overload]  # a dict of keywords
        alarm = threading.Timer(_PATIENCE, process.kill)
        alarm.start()
        feeder = threading.Thread(target=_feed, args=(process.stdin, given), daemon=True)
        errors: list[bytes] = []
        drain = threading.Thread(target=lambda: errors.append(process.stderr.read()), daemon=True)
        feeder.start()
        drain.start()
        output = process.stdout.read()
        drain.join()
        status = process.wait()
        feeder.join()
        alarm.cancel()
    return status, output.decode(errors="replace"), errors[0].decode(errors="replace")


def _feed(pipe: IO[bytes], given: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):  # it may end before it has read all
        pipe.write(given)
        pipe.flush()


def start(argv: Sequence[str], given: bytes = b"") -> Said:
    """What a process says that ends by itself, or because of what it is told."""
    status, _, errors = _run(argv, given)
    return Said(status, [line.removeprefix("qemu-system-x86_64: ") for line in errors.splitlines()])


def read(name: str) -> list[Row]:
    """The rows of a recording."""
    rows: list[Row] = json.loads((DIRECTORY / f"{name}.json").read_text())["rows"]
    return rows


def answer_in(row: Row, release: str) -> Any:
    """What QEMU of `release` answered."""
    return [said for since, said in row["answers"].items() if lives(since, "", release)][-1]


def fold(asked: Any, answers: dict[str, Any]) -> Row:
    """A row without answers that only repeat those of the release before."""
    kept: dict[str, Any] = {}
    last: list[Any] = []
    for release, said in answers.items():
        if last != [said]:
            kept[release] = said
        last = [said]
    return {"ask": asked, "answers": kept}
