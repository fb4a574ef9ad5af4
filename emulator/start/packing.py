"""`python -m emulator.start.packing ROOT`: the packages in ROOT/code as one file, from which modules are loaded fast.

For whoever packs the emulator, such as the harness; `emulator.start.packed` reads it and says how it is laid out. The file
is ``ROOT/code.TAG``, for this very Python alone: what the emulator always needs of the library is in it too.
Docstrings and assertions, which are for people and type checkers, are left out: a third of the code.
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

_STAND_INS: Final = {"typing": "migmatrix/emulator/start/typing_stub.py"}  # module -> what takes its place
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
