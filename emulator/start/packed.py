# SPDX-License-Identifier: Apache-2.0
"""Loads modules from one file: a packed emulator runs this first (see `emulator.start.packing`).

An emulator lives for some hundredths of a second. Finding, opening and reading a hundred modules in directories would
take as long as the rest of a hop. Here a module costs one read and the run of its body.

1. The file is the length of its index (8 bytes), the index, then the code that it points at: {module name: (is a
   package, file as tracebacks show it, offset, size)}; offsets count from the end of the index.
2. The interpreter finds a name that the index does not have, in its usual way.
"""

from __future__ import annotations

import gc
import sys
from _frozen_importlib import ModuleSpec  # importlib.machinery's, without the rest of importlib
from marshal import loads
from posix import pread

TYPE_CHECKING = False  # type checkers know this name; `typing` is what is not to be loaded from its directory
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any

__all__ = ["Finder", "Index", "install"]

Index = dict[str, tuple[bool, str, int, int]]


class Finder:
    """Finds and loads the modules of an open packed file; an entry of `sys.meta_path`. `code` is for `__file__`."""

    def __init__(self, fd: int, start: int, index: Index, code: str) -> None:
        self._fd = fd
        self._start = start
        self._index = index
        self._code = code

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: object = None
    ) -> ModuleSpec | None:
        """What `sys.meta_path` asks for."""
        del path, target
        found = self._index.get(name)
        if found is None:
            return None
        package, file, _, _ = found
        loader: Any = self  # `Loader` is a class of importlib, of which one need not be
        spec = ModuleSpec(name, loader, origin=file if file[0] == "/" else f"{self._code}/{file}")
        spec.has_location = True
        if package:  # its other modules may be beside it
            spec.submodule_search_locations = [str(spec.origin).rpartition("/")[0]]
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """None: an ordinary module."""
        del spec
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        _, _, offset, size = self._index[module.__name__]
        exec(loads(pread(self._fd, size, self._start + offset)), module.__dict__)  # noqa: S102, S302 - our own code


def install(fd: int, start: int, index: Index, code: str) -> None:
    """Have everything in `index` found first; garbage is not looked for until the machine stands (`emulator.main`)."""
    gc.disable()
    sys.meta_path.insert(0, Finder(fd, start, index, code))
