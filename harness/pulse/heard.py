# SPDX-License-Identifier: Apache-2.0
"""What `pulse` says on the console of one emulator: lines with a sum each, one after another.

1. A line that an emulator's start or end cut in two is nobody's: the first and the last are dropped when incomplete.
   Any other line whose sum is wrong is counted, and a fault of the machine.
2. A change is told once, on the emulator that the guest was on when it looked.
3. A round counts for an emulator when it began and ended there.
4. Hostile output takes bounded memory: so many lines of a kind are kept, the others are counted.

The words are those of `docs/pulse.md`.
"""

from __future__ import annotations

import base64
import re
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["PULSE", "Change", "Heard", "changes_of", "records_of", "sum_of"]

# The fact of a leg that has what `pulse` said: of each of its emulators, in the order of the evidence.
PULSE: Final = "pulse"
_LINE: Final = re.compile(rb"@(?P<words>[ -~]*) #(?P<sum>[0-9a-f]{8})")
_MOST_LINES: Final = 4096
_MOST_BYTES: Final = 4 << 20
_LONGEST: Final = 65536
# What is kept of a line, as texts; others are of no use to the harness.
_KEPT: Final = ("bad", "panic", "was", "new", "gone")


def sum_of(words: bytes) -> int:
    """FNV-1a of 32 bits."""
    value = 0x811C9DC5
    for byte in words:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


@dataclass(frozen=True, slots=True)
class Change:
    """A record that is not what it was; `old` is empty for one that is new, `new` for one that is gone."""

    kind: str
    name: str
    old: bytes
    new: bytes


@dataclass
class Heard:
    """Takes the bytes of a console as they come; see the rules above."""

    beats: int = 0  # lines
    last_beat: int = 0
    rounds: int = 0  # whole ones
    dumped: bool = False  # the first round, which tells all
    damaged: int = 0
    starts: int = 0
    said: list[list[str]] = field(default_factory=list)
    records: list[str] = field(default_factory=list)  # `KIND NAME HEX`
    _rest: bytes = b""
    _began: str = ""
    _lines: int = 0
    _bytes: int = 0

    def feed(self, data: bytes) -> None:
        """More output."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_LONGEST:]
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        self._lines += 1
        found = _LINE.fullmatch(line)
        if found is None or int(found["sum"], 16) != sum_of(found["words"]):
            self.damaged += self._lines > 1
            return
        word, *rest = found["words"].decode("ascii").split(" ")
        self._note(word, rest)

    def _note(self, word: str, rest: list[str]) -> None:
        match word, rest:
            case "pulse", _:
                self.starts += 1
            case "beat", [count, *_]:
                self.beats += 1
                self.last_beat = int(count)
            case "round", [number]:
                self._began = number
            case "done", [number, *_]:
                self.rounds += number == self._began
                self.dumped |= number == self._began == "0"
            case "is", [_, _, _] if self._has_room(rest):
                self.records.append(" ".join(rest))
            case _ if word in _KEPT and self._has_room(rest):
                self.said.append([word, *rest])

    def _has_room(self, rest: list[str]) -> bool:
        self._bytes += sum(map(len, rest))
        return self._bytes < _MOST_BYTES and len(self.said) < _MOST_LINES

    @property
    def panicked(self) -> bool:
        """Whether the program has stopped for good, and said so."""
        return any(word == "panic" for word, *_ in self.said)

    def facts(self) -> dict[str, Any]:
        """What a leg's evidence keeps, as JSON."""
        found: dict[str, Any] = {"beats": self.beats, "last": self.last_beat, "rounds": self.rounds}
        if self.starts:
            found["starts"] = self.starts
        if self.damaged:
            found["damaged"] = self.damaged
        if self.said:
            found["said"] = self.said
        if self.dumped:
            text = "\n".join(self.records).encode()
            found["dump"] = base64.b64encode(zlib.compress(text, 9)).decode("ascii")
        return found


def records_of(facts: Mapping[str, Any]) -> dict[tuple[str, str], bytes]:
    """The dump that a leg's evidence holds, by kind and name; empty where it holds none."""
    text = zlib.decompress(base64.b64decode(facts["dump"])).decode("ascii") if "dump" in facts else ""
    rows = (line.split(" ") for line in text.splitlines())
    return {(kind, name): _bytes(content) for kind, name, content in rows}


def changes_of(said: list[list[str]]) -> list[Change]:
    """The records that changed while the lines were said: of each the first old and the last new content."""
    found: dict[tuple[str, str], Change] = {}
    for change in _told(said):
        before = found.get((change.kind, change.name))
        old = change.old if before is None else before.old
        found[change.kind, change.name] = Change(change.kind, change.name, old, change.new)
    return [change for change in found.values() if change.old != change.new]


def _told(said: list[list[str]]) -> Iterator[Change]:
    for line in said:
        match line:
            case ["was", kind, name, old, new]:
                yield Change(kind, name, _bytes(old), _bytes(new))
            case ["new", kind, name, new]:
                yield Change(kind, name, b"", _bytes(new))
            case ["gone", kind, name, old]:
                yield Change(kind, name, _bytes(old), b"")


def _bytes(text: str) -> bytes:
    return b"" if text == "-" else bytes.fromhex(text)
