# SPDX-License-Identifier: Apache-2.0
"""`digest(stream)`: one hash of the state that a guest can see.

Equal for two saves of the same paused guest; different when one visible value differs. It leaves out what a
loader ignores (order, section ids, framing, commands) and what changes by itself (`vmstate.view.volatile`).
Memory counts by block name, size and content.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from migmatrix.vmstate.view.compare import Key, Leaf, lookup, values
from migmatrix.vmstate.view.volatile import mask

if TYPE_CHECKING:
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
    for path, leaf in sorted(found.items()):
        value, _ = mask(key[0], path, leaf.value, other)
        hasher.update(f"{path}:{leaf.kind}={value!r}\n".encode())
    return hasher.hexdigest()
