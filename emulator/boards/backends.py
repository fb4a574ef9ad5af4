# SPDX-License-Identifier: Apache-2.0
"""Guest memory from a backend of the user's: `-object memory-backend-ram,id=ram0,size=64M -machine memory-backend=ram0`.

The block has the backend's name. The memory itself is private and anonymous, whatever the backend's kind: a stream does
not show the difference, and what would (a file's content, memory shared with another process) is refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.options.keyvalue import size as read_size
from migmatrix.emulator.properties import ON_WORDS
from migmatrix.emulator.texts import text

if TYPE_CHECKING:
    from migmatrix.emulator.machine import Machine

__all__ = ["memory_backend"]

_PRIVATE: Final = ("memory-backend-ram", "memory-backend-memfd")
_CANONICAL: Final = "x-use-canonical-path-for-ramblock-id"


def memory_backend(machine: Machine, name: str, size: int) -> str:
    """The name of the RAM block of the backend `name`; FatalError when there is none, or not of `size` bytes."""
    found = next((b for b in machine.options.of("object") if b.id == name), None)
    if found is None or not found.kind.startswith("memory-backend-"):
        raise FatalError(f"Memory backend '{name}' not found")
    props = dict(found.props)
    if read_size("size", props.get("size", "0")) != size:
        raise FatalError(text(machine.release.name, "memory-backend-size"))
    if found.kind not in _PRIVATE or props.get("share") in ON_WORDS:
        raise FatalError(f"{found.where}: the emulator has no memory in files, and none that is shared")
    return f"/objects/{name}" if _canonical(machine, found.kind, props) else name


def _canonical(machine: Machine, kind: str, props: dict[str, str]) -> bool:
    """Whether the block is named by the backend's path: as given, else as the machine type's tables say."""
    tables = [e.value for e in machine.compat if e.device == kind and e.property == _CANONICAL]
    return props.get(_CANONICAL, tables[-1] if tables else "off") in ON_WORDS
