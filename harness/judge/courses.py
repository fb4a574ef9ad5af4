# SPDX-License-Identifier: Apache-2.0
"""The course of a migration: the statuses and events of each side, in order, read from the QMP exchange in the evidence.

1. A course begins at the first status `setup` after the command for it. What it said before belongs to what it did before.
2. Statuses stand as they are, events in capitals. One that is repeated at once stands once: how often precopy goes over
   memory is no build's choice.
3. What a guest does, and what the harness asks for at the end, is left out: it depends on the moment.
4. An emulator may say anything: words are of a bounded form and number.

Programs that drive QEMU wait for certain statuses and have broken on new ones, so builds are compared by these words.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.model import Course, Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from migmatrix.harness.model import EmulatorEvidence, LegEvidence, QmpMessage

__all__ = ["course_of", "courses"]

_MOST: Final = 64  # words; a recovery has a dozen
_WORD: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
_STRANGE: Final = "?"
_CUT_OFF: Final = "..."
_COMMANDS: Final = {"migrate": Role.SOURCE, "migrate-incoming": Role.DESTINATION}
# Of QEMU's events (qapi/*.json) those of guests and their devices, and of the end.
_OTHERS: Final = re.compile(
    "RESET|SHUTDOWN|POWERDOWN|RTC_CHANGE|WATCHDOG|SUSPEND.*|WAKEUP|GUEST_.*|NIC_.*|NETDEV_.*|VSERPORT_.*|BALLOON_.*"
    "|DEVICE_.*|BLOCK_.*|JOB_.*|QUORUM_.*|SPICE_.*|VNC_.*|ACPI_.*|MEM.*|CPU_.*|VFU_.*|VIRTIO_.*|PR_.*|XEN_.*|DUMP_.*"
)


def courses(legs: Sequence[LegEvidence], *, live: bool, migrations: int) -> tuple[Course, ...]:
    """The courses of a path's migrations, both sides of each, in order; `legs` are those of `judge_cell`."""
    found = (course for index, leg in enumerate(legs) for course in _of_leg(leg, index, live=live))
    return tuple(sorted((c for c in found if c.hop <= migrations), key=lambda c: c.hop))


def course_of(emulator: EmulatorEvidence) -> Iterator[tuple[Role, tuple[str, ...]]]:
    """Each migration that an emulator took part in: on which side, and what it said."""
    asked: Role | None = None  # for a migration that has not begun
    found: list[tuple[Role, list[str]]] = []
    for is_command, word in _words(emulator.qmp):
        if is_command:
            asked = _COMMANDS[word]
        elif asked is not None and word == "setup":
            found.append((asked, [word]))
            asked = None
        elif asked is None and found:
            _add(found[-1][1], word)
    return ((role, tuple(words)) for role, words in found)


def _add(words: list[str], word: str) -> None:
    if words[-1] != word and len(words) <= _MOST:
        words.append(word if len(words) < _MOST else _CUT_OFF)


def _of_leg(leg: LegEvidence, index: int, *, live: bool) -> Iterator[Course]:
    """In a live leg each emulator has one side, and its log goes back to the leg before; a snapshot's leg has both."""
    for emulator in leg.emulators:
        told = list(course_of(emulator))
        if live:
            told = [one for one in told if one[0].value == emulator.role][-1:]
        for role, words in told:
            hop = index + 1 if live or role is Role.SOURCE else index
            yield Course(hop, role.value, emulator.build, words)


def _words(said: Iterable[QmpMessage]) -> Iterator[tuple[bool, str]]:
    """Commands that begin a migration (true), and statuses and events."""
    for one in said:
        message = one.message
        command = message.get("execute")
        if one.direction == ">" and command in _COMMANDS and not _resumes(message):
            yield True, str(command)
        elif one.direction == "<" and "event" in message:
            word = _word(message)
            if not _OTHERS.fullmatch(word):
                yield False, word


def _resumes(message: dict[str, Any]) -> bool:
    return bool(message.get("arguments", {}).get("resume"))


def _word(message: dict[str, Any]) -> str:
    word: Any = message["event"]
    if word == "MIGRATION":
        data = message.get("data")
        word = data.get("status") if isinstance(data, dict) else None
    return word if isinstance(word, str) and _WORD.fullmatch(word) else _STRANGE
