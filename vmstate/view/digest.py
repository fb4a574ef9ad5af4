# SPDX-License-Identifier: Apache-2.0
"""`digest(stream)`: one hash of the state that a guest can see.

Equal for two saves of the same paused guest; different when one visible value differs. It leaves out what a
loader ignores (order, section ids, framing, commands) and what changes by itself (`vmstate.view.volatile`).
Memory counts by block name, size and content. As in `vmstate.view.compare`, a value counts by its place: neither the
name of its field nor the type does, but the name of a subsection does.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from migmatrix.vmstate.view.compare import Key, Leaf, lookup, values
from migmatrix.vmstate.view.volatile import mask

if TYPE_CHECKING:
    from migmatrix.vmstate.view.decode import Value
    from migmatrix.vmstate.view.stream import Stream

__all__ = ["digest", "section_digests"]


def digest(stream: Stream) -> str:
    """Hex SHA-256 of the canonical form of a stream without an error."""
    hasher = hashlib.sha256()
    configuration = stream.configuration
    if configuration is not None:
        names = (configuration.machine, *sorted(configuration.capabilities))
        hasher.update(repr((names, configuration.value("uuid"))).encode())
    for name, part in sorted(section_digests(stream).items()):
        hasher.update(f"{name}={part}\n".encode())
    for block in sorted(stream.ram.blocks.values(), key=lambda block: block.name):
        hasher.update(f"ram {block.name!r} {block.used_length} {block.digest()}\n".encode())
    return hasher.hexdigest()


def section_digests(stream: Stream) -> dict[Key, str]:
    """Hex SHA-256 of the lasting values of each device section, by (idstr, instance id, nth)."""
    return {key: _section(key, found) for key, found in values(stream).items()}


def _section(key: Key, found: dict[str, Leaf]) -> str:
    hasher, other = hashlib.sha256(), lookup(found)
    parts = sorted((path for path, leaf in found.items() if leaf.kind == "subsection"), key=len, reverse=True)
    groups: dict[str, list[str]] = {}
    for path, leaf in found.items():
        value, _ = mask(key[0], path, leaf.value, other)
        inside = next((part for part in parts if path == part or path.startswith(f"{part}.")), "")
        groups.setdefault(inside, []).append(f"{_place(path, leaf)}={_plain(value)!r}")
    for name, values_ in sorted(groups.items()):
        hasher.update(f"{name}:{values_}\n".encode("utf-8", "surrogatepass"))
    return hasher.hexdigest()


def _place(path: str, leaf: Leaf) -> str:
    """What of a path tells the place: of registers, of which those that are zero may be left out, the offset."""
    return path[path.rfind("[0x") :] if leaf.kind == "register" else ""


def _plain(value: Value | str) -> Value | str:
    """Numbers for truth values, which are equal to them."""
    if isinstance(value, tuple):
        return tuple(map(int, value))
    return int(value) if isinstance(value, bool) else value
