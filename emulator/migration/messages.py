# SPDX-License-Identifier: Apache-2.0
"""Makes the lines that a destination prints when it refuses a stream, in the shape of its release.

Up to 10.x they are a stack, innermost first; from 11.0 one line, outermost first, beside lines that some checks print
by themselves. `explain` is pure. Every text was seen on QEMU 5.2, 7.2, 10.0 and 11.1, except those of nested lists
and trees, which come from the binaries' strings.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from migmatrix.emulator.migration.configuration import Disagreement
from migmatrix.emulator.migration.faults import LoadFault
from migmatrix.emulator.texts import signed
from migmatrix.vmstate.device.errors import Kind, VMStateError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migmatrix.emulator.migration.faults import LoadError, Where
    from migmatrix.emulator.migration.traits import Traits
    from migmatrix.vmstate.device.errors import Frame

__all__ = ["explain"]


class _Parts(NamedTuple):
    """Lines that are printed apart, the cause (old and new words), and the number that the loader returns."""

    said: tuple[str, ...]
    old: str
    new: str
    errno: int


def explain(error: LoadError, traits: Traits) -> list[str]:
    """Lines for stderr, without the program's name. The last one is also what `query-migrate` says."""
    fault = error.fault
    parts = _of_fault(fault) if isinstance(fault, LoadFault) else _of_state(fault)
    frames = fault.frames if isinstance(fault, VMStateError) else []
    if traits.joined_errors:
        return _joined(parts, error, fault)
    lines = [*parts.said, *filter(None, (parts.old,))]
    lines += [f"Failed to load {frame.vmsd}:{frame.name}" for frame in frames if frame.kind == "field"]
    if error.where is not None and not _outside(fault):
        lines.append(f"error while loading state {_section_words(error.where)}")
    return [*lines, f"load of migration failed: {os.strerror(parts.errno)}"]


def _joined(parts: _Parts, error: LoadError, fault: LoadFault | VMStateError) -> list[str]:
    where, said = error.where, parts.said
    chain = [parts.new]
    if isinstance(fault, VMStateError):
        printed, text = _carried(parts.new, fault)
        said, chain = (*said, *printed), [text]
    code = parts.errno
    if where is not None and not _outside(fault):
        if where.iterative:
            chain = [f"Failed to load vmstate version_id: {where.version_id}, ret: -{code}"]
        elif isinstance(fault, VMStateError):
            code = errno.EINVAL
        if not where.part:
            chain.insert(0, f"error while loading state {_section_words(where)}")
    elif isinstance(fault, VMStateError):
        code = errno.EINVAL
    last = ": ".join(filter(None, (f"load of migration failed: {os.strerror(code)}", *chain)))
    return [*said, last]


def _outside(fault: LoadFault | VMStateError) -> bool:
    """Whether it was refused before the section itself was asked."""
    return isinstance(fault, VMStateError) and fault.kind in (Kind.SECTION_TOO_NEW, Kind.UNKNOWN_SECTION)


def _section_words(where: Where) -> str:
    if where.part:
        return f"section id {signed(where.section_id)}({where.idstr})"
    return f"for instance {where.instance_id:#x} of device '{where.idstr}'"


def _of_fault(fault: LoadFault) -> _Parts:
    return _Parts(fault.said, fault.cause, fault.new, fault.errno)


# -- errors of descriptions ----------------------------------------------------------------------


def _of_state(error: VMStateError) -> _Parts:
    make = _MAKERS.get(error.kind)
    if make is None:
        text = str(error)
        return _Parts((), text, text, error.errno)
    return make(error)


def _same(template: str) -> Callable[[VMStateError], _Parts]:
    return _both(template, template)


def _both(old: str, new: str) -> Callable[[VMStateError], _Parts]:
    def make(error: VMStateError) -> _Parts:
        return _Parts((), old.format(**error.facts), new.format(**error.facts), error.errno)

    return make


def _equal(error: VMStateError) -> _Parts:
    local, incoming = (error.facts[side] & _word_of(error.facts[side]) for side in ("local", "incoming"))
    text = f"{local:x} != {incoming:x}"
    hint = error.facts.get("hint")
    old = f"{text}\n{hint}" if hint else text
    return _Parts((), old, f"{text}: {hint}" if hint else text, error.errno)


def _word_of(number: int) -> int:
    """A mask: QEMU prints a negative number as the 32 bits that it is."""
    return 0xFFFFFFFF if number < 0 else -1


def _subsection(error: VMStateError) -> _Parts:
    name = error.facts["name"].partition("\0")[0]  # a C string to QEMU
    new = f"VM subsection '{name}' in '{error.facts['parent']}' does not exist"
    return _Parts((), "", new, error.errno)


def _section_too_new(error: VMStateError) -> _Parts:
    incoming = signed(error.facts["incoming"])
    text = f"unsupported version {incoming} for '{error.facts['idstr']}' v{error.facts['local']}"
    return _Parts((), f"savevm: {text}", text, error.errno)


def _truncated(error: VMStateError) -> _Parts:
    vmsd = next((frame.vmsd for frame in error.frames), "")
    new = f"Failed to load {vmsd} state: stream error: -{errno.EIO}" if vmsd else ""
    return _Parts((), "", new, error.errno)


def _hook(word: str) -> Callable[[VMStateError], _Parts]:
    def make(error: VMStateError) -> _Parts:
        facts, cause = error.facts, error.__cause__
        head = (
            f"{word} load hook failed for: {facts['name']}, version_id: {facts['version']}, "
            f"minimum_version: {facts['minimum']}"
        )
        if isinstance(cause, Disagreement):
            old = "" if cause.said else cause.cause
            return _Parts(cause.said, old, f"{head}: {cause.cause}", error.errno)
        said = tuple(filter(None, (facts["message"],)))
        return _Parts(said, "", f"{head}, ret: -{error.errno}", error.errno)

    return make


def _custom(error: VMStateError) -> _Parts:
    """A type of the device's own prints its reason itself, unless it is one that passes it on."""
    cause = error.__cause__
    if isinstance(cause, Disagreement):
        return _Parts((), cause.cause, cause.cause, error.errno)
    new = _element(error.frames[0]) if error.frames else ""
    return _Parts(tuple(filter(None, (error.facts["message"],))), "", new, error.errno)


def _element(frame: Frame) -> str:
    return f"Failed to load element of type {frame.type} for {frame.name}"


# Not a table of `emulator.texts`: an entry makes both shapes, and a text may need the chain of causes.
_MAKERS: Final[dict[Kind, Callable[[VMStateError], _Parts]]] = {
    Kind.TRUNCATED: _truncated,
    Kind.SECTION_TOO_NEW: _section_too_new,
    Kind.TOO_NEW: _same("{name}: incoming version_id {incoming} is too new for local version_id {local}"),
    Kind.TOO_OLD: _both(
        "{name}: incoming version_id {incoming} is too old for local minimum version_id  {local}",
        "{name}: incoming version_id {incoming} is too old for local minimum version_id {local}",
    ),
    Kind.UNKNOWN_SUBSECTION: _subsection,
    Kind.EQUAL: _equal,
    Kind.NOT_LE: _same("Invalid value {incoming} expecting positive value <= {local}"),
    Kind.VALIDATE: _both(
        "Input validation failed: {name}/{check}",
        "Input validation failed: {name}/{check} version_id: {version}",
    ),
    Kind.NULL_MARKER: _same("vmstate: get_nullptr expected VMS_NULLPTR_MARKER"),
    Kind.ELEMENT_VERSION: _same("{name} {problem}"),
    Kind.PRE_LOAD: _hook("pre"),
    Kind.POST_LOAD: _hook("post"),
    Kind.CUSTOM: _custom,
}


_APART: Final = ("virtio", "virtqueue_extra_state")


def _carried(text: str, error: VMStateError) -> tuple[tuple[str, ...], str]:
    """Lines that are printed apart, and the words for the rest of the chain.

    What is inside the fields `_APART` is loaded by code that prints why that failed and passes on only that it did.
    """
    said, inner = [], 0
    for place, frame in enumerate(error.frames):
        if frame.type in _APART and (place or error.kind is not Kind.CUSTOM):
            said.append(_wrapped(text, error.frames[inner:place]))
            text, inner = _element(frame), place + 1
    return tuple(said), _wrapped(text, error.frames[inner:])


def _wrapped(text: str, frames: Sequence[Frame]) -> str:
    """The cause inside the subsections that it passed through, outermost first."""
    for frame in frames:
        if frame.kind == "subsection":
            text = f"Loading VM subsection '{frame.name}' in '{frame.vmsd}' failed: {text}"
    return text
