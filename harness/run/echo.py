# SPDX-License-Identifier: Apache-2.0
"""What a destination says right after a load, against what it was told: the evidence of the check ``equality``.

Only what differs is kept; what it means is the judge's business (`judge.equality`). Explained here is what takes both
streams to see:
1. Values that change by themselves, and fields that have another name only (`vmstate.view.compare`).
2. A zero for which the destination has no field, and a section without content.
3. The same bytes that the two versions divide into other fields, and zeros at the end of a longer buffer.

Added is what equal values hide: a section of one version and length whose fields lie elsewhere was read from
the wrong places.
"""

from __future__ import annotations

import asyncio
from dataclasses import astuple, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.judge.equality import ECHO, Difference
from migmatrix.harness.model import Stage
from migmatrix.vmstate.view.compare import content, diff, keyed, label, section_values
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping
    from pathlib import Path

    from migmatrix.harness.builds.facts import PreparedBuild
    from migmatrix.harness.model import LegEvidence
    from migmatrix.vmstate.view.compare import Change, Leaf
    from migmatrix.vmstate.view.stream import Stream

__all__ = ["compare", "echo_file", "with_echo"]

_ZERO: Final = "it was zero, and the destination has no such field"
_EMPTY: Final = "it held nothing, and the destination has no such section"
_BYTES: Final = "the same bytes, divided otherwise"
_SIZE: Final = "the same, but for zeros at the end of the longer buffer"
_SHOWN: Final = 16  # bytes of a part of a buffer
_GAP: Final = 16  # equal bytes that divide two parts


def echo_file(save_to: Path | None, draft: Path, *, paused: bool) -> Path:
    """Where a leg with the check saves what it loaded: for a guest that never runs that is its own state, saved once."""
    return save_to if save_to is not None and paused else draft.with_suffix(".echo")


async def with_echo(
    evidence: LegEvidence, incoming: Path, echo: Path, source: PreparedBuild, destination: PreparedBuild
) -> LegEvidence:
    """The evidence with what differs between the two streams, where both are whole."""
    done = any(stage.stage is Stage.EQUALITY and not stage.problem for stage in evidence.stages)
    if evidence.infrastructure or not done:
        return evidence
    told = {
        "source": source.facts.version,
        "same": source.facts.digest == destination.facts.digest,
        **await asyncio.to_thread(compare, incoming, echo),
    }
    return replace(evidence, facts={**evidence.facts, ECHO: told})


def compare(incoming: Path, echo: Path) -> dict[str, Any]:
    """Two streams in files: `changes`, each the fields of a `Difference`, and `unread`, why they are not all."""
    status = incoming.stat()
    sent, said = _read_sent(incoming, status.st_ino, status.st_mtime_ns), _read(echo)
    found = [[*astuple(change)] for change in _changes(sent, said)]
    flaws = [str(flaw) for stream in (sent, said) for flaw in (stream.error, stream.flaw) if flaw]
    return {"changes": found, "unread": "; ".join(flaws)}


@lru_cache(maxsize=4)  # of a guest that runs, tens of MB each
def _read_sent(path: Path, inode: int, modified: int) -> Stream:
    """A stream that was sent; all its destinations are compared with it, one after another."""
    del inode, modified  # they say that it is the same file as before
    return _read(path)


def _read(path: Path) -> Stream:
    return read_stream(path.read_bytes(), strict=False)


class _Side:
    """Some sections of one stream, by label: values by path, and bytes."""

    def __init__(self, stream: Stream, wanted: Container[str]) -> None:
        found = {label(key): (key, its) for key, its in keyed(stream).items() if label(key) in wanted}
        self.leaves = {name: section_values(stream, its, key[2]) for name, (key, its) in found.items()}
        self.bytes = {name: content(its) for name, (_, its) in found.items()}

    def leaf(self, change: Change) -> Leaf | None:
        return self.leaves.get(change.section, {}).get(change.path)


def _changes(sent: Stream, said: Stream) -> Iterator[Difference]:
    found = diff(sent, said)
    clear = {change.section for change in found if not change.volatile or not (change.a and change.b)}
    there, here = _Side(sent, clear), _Side(said, clear)
    yield from _moved(there, here)
    for change in found:
        x, y = there.leaf(change), here.leaf(change)
        if not change.volatile and (buffers := _buffers(x, y)):
            yield from _runs(change, *buffers)
        else:
            why = change.volatile or _explained(change.section, x, y, there, here)
            yield Difference(change.kind, change.section, change.path, change.a, change.b, why)


def _buffers(sent: Leaf | None, said: Leaf | None) -> tuple[bytes, bytes] | None:
    """The values of two buffers of one size; None for anything else."""
    x, y = sent.value if sent else None, said.value if said else None
    if isinstance(x, bytes) and isinstance(y, bytes) and len(x) == len(y):
        return x, y
    return None


def _runs(change: Change, sent: bytes, said: bytes) -> Iterator[Difference]:
    """A buffer by its parts that differ, so that one that is expected hides no other."""
    at = 0
    while (at := next((i for i in range(at, len(sent)) if sent[i] != said[i]), -1)) >= 0:
        end = next((i for i in range(at, len(sent)) if sent[i : i + _GAP] == said[i : i + _GAP]), len(sent))
        path = f"{change.path}[{at:#x}]"
        yield Difference(change.kind, change.section, path, _shown(sent[at:end]), _shown(said[at:end]))
        at = end


def _shown(part: bytes) -> str:
    """The bytes, of many the first; one that all of them are is said once."""
    if len(part) > _SHOWN:
        same = len(set(part)) == 1
        return f"{part[:1].hex()} x {len(part)}" if same else f"{part[:_SHOWN].hex()}... ({len(part)} bytes)"
    return part.hex()


def _explained(section: str, sent: Leaf | None, said: Leaf | None, there: _Side, here: _Side) -> str:
    """Why a field that one side does not have, or has of another size, is no change; or a section that is sent only."""
    one, other = there.bytes.get(section, b""), here.bytes.get(section, b"")
    if section in there.bytes and section not in here.bytes and not one:
        return _EMPTY
    leaf = sent or said
    if leaf is not None and leaf.offset >= 0 and leaf.size and len(one) == len(other):
        place = slice(leaf.offset, leaf.offset + leaf.size)
        if one[place] == other[place]:
            return _BYTES
    if sent is not None and said is not None:
        return _SIZE if _padded(sent.value, said.value) else ""
    return _ZERO if sent is not None and _is_zero(sent) else ""


def _padded(sent: object, said: object) -> bool:
    """Whether two buffers are the same but for zeros at the end of the longer."""
    if not (isinstance(sent, bytes) and isinstance(said, bytes)):
        return False
    short, long = sorted((sent, said), key=len)
    return len(short) < len(long) and long.startswith(short) and not any(long[len(short) :])


def _is_zero(leaf: Leaf) -> bool:
    """Whether a value says nothing; that a subsection is there says something."""
    value = leaf.value
    if leaf.kind in ("subsection", "version"):
        return False
    return not any(value) if isinstance(value, bytes | tuple) else not value


def _moved(sent: _Side, said: _Side) -> Iterator[Difference]:
    """The first field of each section that was read from another place than it was written to.

    A version writes a section as it reads one of that number: where number and length are the same and a field of one
    name lies elsewhere, the destination took other bytes for it, whatever they were.
    """
    for section in [name for name in sent.leaves if name in said.leaves]:
        there, here = sent.leaves[section], said.leaves[section]
        alike = len(sent.bytes[section]) == len(said.bytes[section]) and _inside(there) == _inside(here)
        if not alike or there[""].value != here[""].value:
            continue
        both = (p for p, leaf in there.items() if p in here and leaf.offset >= 0 and _is_named(p))
        path = next((path for path in both if there[path].offset != here[path].offset), None)
        if path is not None:
            x, y = (f"at byte {side[path].offset:#x}" for side in (there, here))
            yield Difference("place", section, path, x, y)


def _is_named(path: str) -> bool:
    """Whether it is one field by its name: in no subsection, and no hole, all of which have one name."""
    return "/" not in path and not path.rpartition(".")[2].startswith("unused")


def _inside(leaves: Mapping[str, Leaf]) -> set[str]:
    """What is in subsections, which are found by name and may stand in any order."""
    return {path for path in leaves if "/" in path}
