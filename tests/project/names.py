# SPDX-License-Identifier: Apache-2.0
"""Names of the code, found in its syntax trees: what a backticked name in a docstring can mean.

1. A name is resolved from the module that uses it: as something in it, beside it, in a package above it, or from the
   top (`harness.model.Cell`, with `migmatrix.` or without).
2. A name that begins with a class of the project means a member of it, or of a class that it inherits from.
3. A name that begins with anything else (a parameter, an attribute) has a last part that the project defines somewhere.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import re
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PACKAGES = ("harness", "emulator", "vmstate")
PACKAGE = ROOT / "migmatrix"
# `a.b`, `a.b()`, `a()`, `a.py`, `a/b.py`; nothing with spaces, hyphens or other signs is taken for a name of the code,
# and no file that is written while the program runs
_NAME = re.compile(r"(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?P<call>\([^`]*\))?")
_FILE = re.compile(r"[\w./]+\.(?:py|yaml|sh|toml)")
_OTHER_FILE = re.compile(r".*\.(?:json|jsonl|xml|md|db|html|js|c|h|vmstate)")
# QEMU's: a memory block and a field
_FOREIGN = {"vga.vram", "vga.hw_cursor_x"}
_QUOTED = re.compile(r"`+([^`\n]+)`+")


@dataclass(frozen=True)
class Used:
    """A backticked name: in which module, at which line its docstring begins."""

    module: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.module} (line {self.line}): `{self.name}`"


@dataclass
class Class:
    """Names that a class body or a method's `self.x = ` defines, and the names of its bases."""

    members: set[str] = field(default_factory=set)
    bases: tuple[str, ...] = ()


class Module:
    """What one module defines, imports and says; `name` is dotted, without `migmatrix`."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.tree = ast.parse(path.read_text())
        self.package = path.name == "__init__.py"
        self.classes: dict[str, Class] = {}
        self.names: set[str] = set()
        for node in ast.walk(self.tree):
            self._take(node)

    def _take(self, node: ast.AST) -> None:
        match node:
            case ast.ClassDef():
                self.names.add(node.name)
                bases = tuple(word for base in node.bases for word in re.findall(r"\w+", ast.unparse(base)))
                self.classes[node.name] = Class(
                    {name for item in ast.walk(node) for name in _defined(item)}, bases
                )
            case ast.Import() | ast.ImportFrom():
                self.names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            case _:
                self.names |= set(_defined(node))

    def docstrings(self) -> Iterator[tuple[int, str]]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body
                if body and isinstance(body[0], ast.Expr) and (text := ast.get_docstring(node, clean=False)):
                    yield body[0].lineno, text


def _defined(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            yield node.name
        case ast.Name(ctx=ast.Store()):
            yield node.id
        case ast.Attribute(ctx=ast.Store()):
            yield node.attr
        case ast.arg():
            yield node.arg
        case ast.Constant(value=str(text)) if text.isidentifier():
            yield text  # a key, a name in `__slots__`, a field that a table gives


class Code:
    """All modules of the three packages."""

    @cached_property
    def modules(self) -> dict[str, Module]:
        found = {}
        for package in PACKAGES:
            top = (PACKAGE / package).resolve()
            for path in sorted(top.rglob("*.py")):
                parts = (package, *path.relative_to(top).with_suffix("").parts)
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                found[name] = Module(name, path)
        return found

    @cached_property
    def classes(self) -> dict[str, list[Class]]:
        found: dict[str, list[Class]] = {}
        for module in self.modules.values():
            for name, class_ in module.classes.items():
                found.setdefault(name, []).append(class_)
        return found

    @cached_property
    def names(self) -> set[str]:
        return {name for module in self.modules.values() for name in module.names} | set(dir(builtins))

    @cached_property
    def callables(self) -> set[str]:
        defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        nodes = (node for module in self.modules.values() for node in ast.walk(module.tree))
        return {node.name for node in nodes if isinstance(node, defined)} | set(dir(builtins))

    def used(self) -> Iterator[Used]:
        """Backticked names in docstrings that have a dot or a call, file names included."""
        for module in self.modules.values():
            for line, text in module.docstrings():
                yield from (
                    Used(module.name, line, quoted) for quoted in _QUOTED.findall(text) if _is_name(quoted)
                )

    def exists(self, used: Used) -> bool:
        if _FILE.fullmatch(used.name):
            return self._is_file(used.name)
        match = _NAME.fullmatch(used.name)
        assert match is not None
        parts = match["name"].removeprefix("migmatrix.").split(".")
        if len(parts) == 1:
            # `callback(events)` shows how to call a parameter, `callback()` names a function
            return parts[0] in (self.callables if match["call"] == "()" else self.names)
        return (
            self._below_a_module(used.module, parts)
            or self._of_class(parts)
            or self._elsewhere(used.module, parts)
        )

    def _is_file(self, name: str) -> bool:
        tops = [PACKAGE / package for package in PACKAGES] + [
            PACKAGE / "data" / "machines",
            PACKAGE / "data" / "compat",
        ]
        if (ROOT / name).exists() or (PACKAGE / "data" / name).exists():
            return True
        return any(
            path.as_posix().endswith(f"/{name}")
            for top in tops
            for path in top.resolve().rglob(Path(name).name)
        )

    def _below_a_module(self, module: str, parts: list[str]) -> bool:
        """Rule 1."""
        above = module.split(".")
        for count in range(len(above), -1, -1):
            for taken in range(len(parts), 0, -1):
                base = ".".join((*above[:count], *parts[:taken]))
                if base in self.modules and self._inside(self.modules[base], parts[taken:]):
                    return True
        return False

    def _inside(self, module: Module, rest: list[str]) -> bool:
        match rest:
            case []:
                return True
            case [name]:
                return name in module.names
            case [name, *more]:
                return name in module.classes and self._of_class([name, *more])
        return False

    def _of_class(self, parts: list[str]) -> bool:
        """Rule 2."""
        if parts[0] not in self.classes:
            return False
        return self._has_member(parts[0], parts[1], set()) and (len(parts) == 2 or parts[-1] in self.names)

    def _has_member(self, name: str, member: str, seen: set[str]) -> bool:
        seen.add(name)
        bases = set()
        for class_ in self.classes.get(name, []):
            if member in class_.members:
                return True
            bases |= set(class_.bases)
        return any(self._has_member(base, member, seen) for base in bases - seen)

    def _elsewhere(self, module: str, parts: list[str]) -> bool:
        """Rule 3, and what other packages define."""
        if parts[0] in self.classes or self._is_module_here(module, parts[0]):
            return False
        return (parts[0] in self.names and parts[-1] in self.names) or _importable(parts)

    def _is_module_here(self, module: str, name: str) -> bool:
        above = module.split(".")
        return any(".".join((*above[:count], name)) in self.modules for count in range(len(above) + 1))


def _is_name(quoted: str) -> bool:
    if quoted in _FOREIGN or _OTHER_FILE.fullmatch(quoted):
        return False
    if _FILE.fullmatch(quoted):
        return True
    match = _NAME.fullmatch(quoted)
    return match is not None and ("." in match["name"] or match["call"] is not None)


def _importable(parts: list[str]) -> bool:
    """Whether the standard library or a dependency has it."""
    if parts[0] not in sys.stdlib_module_names | {"qemu", "docker", "typer", "pytest", "numpy"}:
        return False
    for taken in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:taken]))
        except ImportError:
            continue
        for name in parts[taken:]:
            found = getattr(found, name, None)
        return found is not None
    return False
