# SPDX-License-Identifier: Apache-2.0
"""Fields of a decoded section as a flat list in wire order, each with its path."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.vmstate.view.decode import Node

__all__ = ["Item", "Key", "items_of", "last_name", "subsections_of"]

Key = tuple[str, int]  # name and size of a field

_INSIDE: Final = re.compile(r"[.\[]")


def last_name(path: str) -> str:
    """The last step of a path, without the number of an element."""
    return path.rpartition(".")[2].partition("[")[0]


class Item(NamedTuple):
    """A field with bytes; `path` as ``ahci.dev[0].port``."""

    path: str
    node: Node

    @property
    def name(self) -> str:
        """The last step of the path, without the number of an element."""
        return last_name(self.path)

    def is_in(self, name: str) -> bool:
        """Whether this is that field, an element of it or inside of it."""
        return self.path == name or self.path.startswith((f"{name}.", f"{name}["))

    @property
    def above(self) -> Iterator[str]:
        """Its path, and those of what it is inside of."""
        yield self.path
        yield from (self.path[: mark.start()] for mark in _INSIDE.finditer(self.path))

    @property
    def key(self) -> Key:
        """By which two sides' fields are matched: structs come and go, names of fields stay."""
        return self.path.rpartition(".")[2], self.node.size


def items_of(node: Node, path: str = "") -> Iterator[Item]:
    """Fields with bytes, in wire order, without those of subsections."""
    for child in node.children:
        if child.kind == "subsection":
            continue
        name = f"{path}.{child.name}" if path else child.name
        if child.children:
            yield from items_of(child, name)
        else:
            yield Item(name, child)


def subsections_of(node: Node) -> Iterator[Node]:
    """Subsections of a description and of the structs in it, not those inside subsections."""
    for child in node.children:
        if child.kind == "subsection":
            yield child
        else:
            yield from subsections_of(child)
