# SPDX-License-Identifier: Apache-2.0
"""QEMU's own `analyze-migration.py` as a second opinion: found or fetched, run as a program, never kept.

`$MIGMATRIX_ANALYZE` names the script; else Debian's QEMU source package is fetched with apt from the mirror that
the host uses. Its output is compared field by field: bytes, and the number where it prints one.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from debian_source import fetch_source

from migmatrix.vmstate.view.decode import decode, leaves
from migmatrix.vmstate.view.vmdesc import find_vmdesc
from migmatrix.vmstate.wire.constants import SectionType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.vmstate.view.decode import Node
    from migmatrix.vmstate.view.stream import Section, Stream

__all__ = ["EXPLAINED", "Difference", "Opinion", "Script", "compare", "find_script", "misled"]

SUITE: Final = "trixie"  # QEMU 10.0, whose script reads the streams of all five builds
_SCRIPT: Final = "scripts/analyze-migration.py"
_INDEX: Final = re.compile(r"\[\d+\]")
_NUMBER: Final = re.compile(r"0x(?P<hex>[0-9a-f]*)(?: \((?P<number>-?\d+)\))?")

_PRINTED_AS_BYTES: Final = ("timer", "CPU_Double_U")


class Difference(NamedTuple):
    """What the script prints otherwise: a pattern of a section's name, a path and all below it, and why.

    The bytes below the path must be the same all the same.
    """

    section: str
    path: str
    why: str


_TEMPORARY: Final = (
    "a struct made for the wire (VMSTATE_WITH_TMP) is printed whole, its description is not read"
)

EXPLAINED: Final[tuple[Difference, ...]] = (
    Difference("cpu", "env.fpregs.tmp", _TEMPORARY),
    Difference("cpu", "cpu.fpu.env.fregs.tmp", _TEMPORARY),  # m68k
    Difference("cpu", "cpu.fpu.env.fp_result.tmp", _TEMPORARY),
    Difference("*ipmi*", "kcs", _TEMPORARY),
    Difference("virtio-mem-device-early", "tmp", _TEMPORARY),
    Difference("nvme", "namespace.tmp", _TEMPORARY),
)


# -- the script ----------------------------------------------------------------------------------


def find_script(directory: Path) -> Path | str:
    """The script's path, fetched into `directory` when need be; else what is missing, in words."""
    named = os.environ.get("MIGMATRIX_ANALYZE")
    if named:
        return Path(named) if Path(named).is_file() else f"the file {named!r} of $MIGMATRIX_ANALYZE"
    if why := fetch_source(directory, SUITE, [_SCRIPT]):
        return f"$MIGMATRIX_ANALYZE or {why}"
    return directory / _SCRIPT


class Script:
    """QEMU's script, compiled once and run inside this process: starting Python and printing take half the time."""

    def __init__(self, path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # the script has some
            self._code = compile(path.read_bytes(), str(path), "exec")
        self._names: dict[str, Any] = {}

    def __call__(self, stream: Path) -> dict[str, Any]:
        """What `-d state` prints of a stream, before it is text: sections as ``name (section id)``.

        RuntimeError when the script fails.
        """
        try:
            if not self._names:
                self._names = self._defined(stream)
            dump = self._names["MigrationDump"](str(stream))
            dump.read(dump_memory=False)
            found: dict[str, Any] = dump.getDict()
        except Exception as error:  # its own, of any kind
            raise RuntimeError(f"analyze-migration.py: {error!r:.500}") from error
        return found

    def _defined(self, stream: Path) -> dict[str, Any]:
        """Its names; it has no main guard, so that it prints the description of some stream on the way."""
        names: dict[str, Any] = {"__name__": "__main__"}
        before, sys.argv = sys.argv, ["analyze-migration.py", "-d", "desc", "-f", str(stream)]
        try:
            with redirect_stdout(StringIO()):
                exec(self._code, names)  # noqa: S102 - how a script is run inside a process
        finally:
            sys.argv = before
        return names


# -- the comparison ------------------------------------------------------------------------------


class Part(NamedTuple):
    """One printed value: its bytes on the wire, and the number that they mean where it is one."""

    data: bytes
    number: int | None = None


Parts = list[tuple[str, Part]]  # in wire order, paths without indexes


@dataclass
class Opinion:
    """What was compared; `unexplained` by section's last name and path, with an example of each."""

    streams: int = 0
    unread: int = 0  # streams that mislead the script
    sections: int = 0
    values: int = 0
    explained: Counter[str] = field(default_factory=Counter)
    unexplained: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As JSON-able data."""
        return dict(vars(self))

    def add(self, record: dict[str, Any]) -> None:
        """Add another opinion, as `record` gives it."""
        for name in ("streams", "unread", "sections", "values"):
            setattr(self, name, getattr(self, name) + record[name])
        self.explained.update(record["explained"])
        self.unexplained.update(record["unexplained"])
        self.examples = record["examples"] | self.examples

    def __str__(self) -> str:
        whys = "".join(f"\n  {n:6} explained: {why}" for why, n in self.explained.most_common())
        bad = "".join(f"\n  {n:6} NOT EXPLAINED: {k} {self.examples[k]}" for k, n in self.unexplained.items())
        unread = f" ({self.unread} more mislead the script)" if self.unread else ""
        return f"{self.streams} streams{unread}, {self.sections} sections, {self.values} values compared{whys}{bad}"


def misled(stream: bytes) -> bool:
    """Whether the script cannot find the description: it takes a length with a byte ``{`` for its begin."""
    place = find_vmdesc(memoryview(stream))
    return place is not None and b"{" in stream[place[0] + 1 : place[0] + 5]


def compare(stream: Stream, theirs: dict[str, Any], opinion: Opinion) -> None:
    """Compare all devices' sections of a stream with the script's output for it."""
    opinion.streams += 1
    seen: Counter[tuple[str, int]] = Counter()
    for section in stream.sections:
        if section.payload is None or section.start.kind is not SectionType.FULL:
            continue
        nth, seen[section.key] = seen[section.key], seen[section.key] + 1
        opinion.sections += 1
        printed = theirs[f"{section.start.idstr} ({section.start.section_id})"]
        _compare(section, _ours(stream, section, nth), list(_parts(printed, "")), opinion)


def _compare(section: Section, ours: Parts, theirs: Parts, opinion: Opinion) -> None:
    opinion.values += len(ours)
    left, right = _by_path(ours), _by_path(theirs)
    name = section.start.idstr.rpartition("/")[2]
    for path in [*left, *(p for p in right if p not in left)]:
        if left.get(path) == right.get(path):
            continue
        if why := _why(name, path, ours, theirs):
            opinion.explained[why] += 1
        else:
            opinion.unexplained[f"{name} {path}"] += 1
            opinion.examples.setdefault(f"{name} {path}", f"{left.get(path)!r:.200} {right.get(path)!r:.200}")


def _by_path(parts: Parts) -> dict[str, list[Part]]:
    found: dict[str, list[Part]] = {}
    for path, part in parts:
        found.setdefault(path, []).append(part)
    return found


def _why(name: str, path: str, ours: Parts, theirs: Parts) -> str:
    """The reason of the entry that covers this difference; its bytes must agree nevertheless."""
    for entry in EXPLAINED:
        if fnmatchcase(name, entry.section) and (path == entry.path or path.startswith(f"{entry.path}.")):
            same = _below(ours, entry.path) == _below(theirs, entry.path)
            return entry.why if same else ""
    return ""


def _below(parts: Parts, prefix: str) -> bytes:
    """All bytes of a path and what is in it, in wire order."""
    return b"".join(part.data for path, part in parts if path == prefix or path.startswith(f"{prefix}."))


@lru_cache(maxsize=1 << 14)
def _normal(path: str) -> str:
    """Indexes are left out, subsections are fields: as the script has it."""
    return _INDEX.sub("", path).replace("/", ".").lstrip(".")


def _ours(stream: Stream, section: Section, nth: int) -> Parts:
    desc = stream.vmdesc.find(*section.key, nth) if stream.vmdesc else None
    assert desc is not None
    assert section.payload is not None
    raw = bytes(section.payload.raw)
    return [
        (_normal(path), part) for path, leaf in leaves(decode(desc, raw)) for part in _elements(leaf, raw)
    ]


def _elements(leaf: Node, raw: bytes) -> Iterator[Part]:
    values = leaf.value if isinstance(leaf.value, tuple) else (leaf.value,)
    width = leaf.size // len(values) if values else 0
    for at, value in enumerate(values):
        start = leaf.offset + at * width
        number = value if type(value) is int and leaf.kind not in _PRINTED_AS_BYTES else None
        yield Part(raw[start : start + width], number)


def _parts(value: Any, path: str) -> Iterator[tuple[str, Part]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _parts(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from _parts(inner, path)
    else:
        yield _normal(path), _part(value)


def _part(value: Any) -> Part:
    """What a printed value means; the script makes text of what is no string yet when it prints."""
    return Part(bytes([value])) if isinstance(value, bool) else _meant(str(value))


@lru_cache(maxsize=1 << 14)
def _meant(value: str) -> Part:
    if value == "nullptr":
        return Part(b"0")
    if number := _NUMBER.fullmatch(value):
        return Part(bytes.fromhex(number["hex"]), int(number["number"] or value, 0))
    return Part(bytes.fromhex(value))
