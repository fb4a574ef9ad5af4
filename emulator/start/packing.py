# SPDX-License-Identifier: Apache-2.0
"""`python -m migmatrix.emulator.start.packing ROOT`: pack the packages in ROOT/code into one file that loads fast.

The harness calls this when it packs the emulator; `emulator.start.packed` reads the file and specifies its layout.
The file is ``ROOT/code.TAG`` and fits this Python version only, because it also holds the library modules that every
emulator needs. It leaves docstrings and assertions out, a third of the code.
"""

from __future__ import annotations

import marshal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.emulator.start.packed import Index

__all__ = ["pack"]

_STAND_INS: Final = {
    "typing": "migmatrix/emulator/start/typing_stub.py"
}  # module -> file that is packed instead
_LIBRARY: Final = (
    "__future__", "_weakrefset", "collections", "collections.abc", "enum", "functools", "keyword", "operator", "reprlib", "struct",
    "threading", "types",
)  # fmt: skip


def pack(code: Path) -> bytes:
    """The packed file for all modules below `code`."""
    index: Index = {}
    body = bytearray()
    for name, file, path in _modules(code):
        made = compile(path.read_bytes(), file, "exec", dont_inherit=True, optimize=2)
        data = marshal.dumps(made)
        index[name] = path.name == "__init__.py", file, len(body), len(data)
        body += data
    head = marshal.dumps(index)
    return len(head).to_bytes(8) + head + body


def _modules(code: Path) -> Iterator[tuple[str, str, Path]]:
    """Name, file as tracebacks show it, and where that file is."""
    for path in sorted(code.rglob("*.py")):
        file = path.relative_to(code)
        yield _name(file), file.as_posix(), path
    for name, stand_in in _STAND_INS.items():
        yield name, stand_in, code / stand_in
    for name in _LIBRARY:
        spec = find_spec(name)
        assert spec is not None  # noqa: S101 - the library has it
        if (
            spec.has_location and spec.origin
        ):  # else it is frozen, inside the interpreter, as `collections.abc` is in 3.13
            yield name, spec.origin, Path(spec.origin)


def _name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


if __name__ == "__main__":
    root = Path(sys.argv[1])
    (root / f"code.{sys.implementation.cache_tag}").write_bytes(pack(root / "code"))
