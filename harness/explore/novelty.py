# SPDX-License-Identifier: Apache-2.0
"""Which candidates saved a state that none had saved before: those are worth varying, as in a coverage-guided fuzzer.

What counts as new is a section, its version, a subsection, a field with its size or with another class of its count
(none, one, few, many), as the stream's own VM description tells them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.vmdesc import find_vmdesc, parse_vmdesc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.harness.explore.records import Candidate
    from migmatrix.vmstate.view.vmdesc import VmsdDesc

__all__ = ["Seen"]

_FEW = 8
_FRAMING = 5  # a type byte and the length, before the text


@dataclass
class Seen:
    """All that was seen in streams so far, and the candidates that showed it first."""

    features: set[str] = field(default_factory=set)
    corpus: list[Candidate] = field(default_factory=list)

    def is_new(self, stream: bytes) -> bool:
        """Whether a state has something that was not seen; nothing is remembered."""
        return not self.features.issuperset(_features(stream))

    def look(self, candidate: Candidate, stream: bytes) -> bool:
        """Whether this candidate's state shows something new; it is remembered then."""
        new = set(_features(stream)) - self.features
        self.features |= new
        if new:
            self.corpus.append(candidate)
        return bool(new)


def _features(stream: bytes) -> Iterator[str]:
    """What the description of a stream names; nothing where it has none, or none that can be read."""
    view = memoryview(stream)
    found = find_vmdesc(view)
    if found is None:
        return
    offset, length = found
    try:
        described = parse_vmdesc(view[offset + _FRAMING : offset + _FRAMING + length], offset)
    except StreamError:
        return
    for device in described.devices:
        yield from _of_vmsd(device.vmsd, device.vmsd.name or device.name.rpartition("/")[2])


def _of_vmsd(vmsd: VmsdDesc, name: str) -> Iterator[str]:
    yield f"{name}@{vmsd.version}"
    for field_ in vmsd.fields:
        yield f"{name}.{field_.name}:{field_.type}:{field_.size}:{_class(field_.count)}"
        if field_.struct is not None:
            yield from _of_vmsd(field_.struct, f"{name}.{field_.name}")
    for below in vmsd.subsections:
        yield from _of_vmsd(below, below.name)


def _class(number: int | None) -> str:
    if number is None or number <= 1:
        return str(number)
    return "few" if number <= _FEW else "many"
