# SPDX-License-Identifier: Apache-2.0
"""A YAML file as plain data plus the position of every key and value.

1. PyYAML's node tree is read (`compose`); no object is ever constructed from it, and tags are refused.
2. Every key is text and stands once. A scalar is text, a decimal number, true, false, null or a date.
3. What YAML 1.1 reads as something else than it looks like (`on`, `1_000`, `017`, `12:30`) is an error.
4. Size, depth and the number of values after aliases are followed are bounded.

Every error is a `ConfigError` whose position counts lines and columns from 1. What a value should be is not
known here; `records.py` asks for that.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from migmatrix.harness.errors import ConfigError, Position, UserError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Document", "Loc", "describe_plain", "read_document"]

Loc: TypeAlias = "tuple[str | int, ...]"

MAX_CHARACTERS = 4_000_000
MAX_DEPTH = 40
MAX_VALUES = 200_000

_TAG = "tag:yaml.org,2002:"
_MERGE = "'<<' is not supported: write the keys out"
_DECIMAL = {
    "int": re.compile(r"[-+]?(0|[1-9][0-9]{0,30})"),
    "float": re.compile(r"[-+]?(0|[1-9][0-9]{0,30})\.[0-9]*([eE][-+][0-9]{1,2})?"),
}
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


@dataclass(slots=True)
class Document:
    """Plain data of a file and where each part of it stands; a `Loc` is the way to a part."""

    file: str
    data: Any = None
    values: dict[Loc, Position] = field(default_factory=dict)
    keys: dict[Loc, Position] = field(default_factory=dict)
    plain: dict[Loc, str] = field(default_factory=dict)  # source text of unquoted scalars

    def position(self, loc: Loc) -> Position:
        """Where the value at `loc` begins, or the nearest value around it that exists."""
        while loc and loc not in self.values:
            loc = loc[:-1]
        return self.values[loc]

    def key_position(self, loc: Loc) -> Position:
        """Where the key of `loc` begins; for an item of a list the item itself."""
        return self.keys.get(loc) or self.position(loc)


def read_document(path: Path, name: str | None = None) -> Document:
    """Read a YAML file; `name` is how positions call it (default: `path` as given).

    UserError when the file cannot be read, ConfigError for what it holds.
    """
    name = name or str(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {name!r}: {error.strerror}") from error
    return parse_document(_decode(raw, name), name)


def parse_document(text: str, name: str) -> Document:
    """The document that `text` holds; ConfigError as in `read_document`."""
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"the file is larger than {MAX_CHARACTERS} characters", Position(name, 1, 1))
    document = Document(name)
    document.data = _Reader(document).value(_compose(text, name), ())
    return document


def describe_plain(text: str, value: Any) -> str:
    """How an unquoted scalar is read where text is wanted, and what to write instead."""
    kind = {bool: "a boolean", int: "a number", float: "a number", dt.date: "a date"}[type(value)]
    loses = f" ({value})" if isinstance(value, int | float) and str(value) not in (text, text.title()) else ""
    return f"{text} unquoted is {kind}{loses}, not text: write {json.dumps(text)}"


def _decode(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            "the file is not UTF-8", _offset(raw.decode("latin-1"), error.start, name)
        ) from error


def _offset(text: str, index: int, name: str) -> Position:
    """The position of the character at `index`."""
    return Position(name, text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


def _mark(name: str, mark: Any) -> Position:
    return Position(name, mark.line + 1, mark.column + 1)


class _Loader(yaml.SafeLoader):
    """Composes nodes only, to a bounded depth and without tags."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it untyped
        mark = event.start_mark
        if getattr(event, "tag", None):
            raise yaml.composer.ComposerError(None, None, "tags are not supported", mark)
        if self.depth == MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"more than {MAX_DEPTH} levels", mark)
        self.depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(text: str, name: str) -> yaml.Node:
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        problem = error.problem or "not YAML"
        if problem.startswith("but "):  # "expected a single document ..., but found another"
            problem = f"{error.context}, {problem}"
        where = _mark(name, error.problem_mark or error.context_mark)
        raise ConfigError(problem.replace("\n", " "), where) from error
    except yaml.reader.ReaderError as error:
        where = _offset(text, int(error.position), name)
        raise ConfigError("a character that YAML does not allow", where) from error
    if node is None:
        raise ConfigError("the file is empty", Position(name, 1, 1))
    return node


class _Reader:
    """Turns nodes into plain data and fills the positions of one document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._open: set[int] = set()  # nodes being read: an alias to one of them has no end

    def value(self, node: yaml.Node, loc: Loc) -> Any:
        self._document.values[loc] = self._position(node)
        if len(self._document.values) > MAX_VALUES or len(loc) > MAX_DEPTH:
            limits = f"{MAX_VALUES} values or {MAX_DEPTH} levels"
            raise self._error(f"more than {limits} when aliases are followed", node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, loc)
        if id(node) in self._open:
            raise self._error("an alias to something that it is part of", node)
        self._open.add(id(node))
        result = self._mapping(node, loc) if isinstance(node, yaml.MappingNode) else self._list(node, loc)
        self._open.remove(id(node))
        return result

    def _list(self, node: yaml.Node, loc: Loc) -> list[Any]:
        return [self.value(item, (*loc, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key in result:
                first = self._document.keys[*loc, key]
                raise self._error(f"duplicate key {key!r}, first on line {first.line}", key_node)
            self._document.keys[*loc, key] = self._position(key_node)
            result[key] = self.value(value_node, (*loc, key))
        return result

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._error("a key must be text", node)
        if node.tag == _TAG + "merge":
            raise self._error(_MERGE, node)
        value = self._read(node)
        if isinstance(value, str):
            return value
        problem = "a key must be text" if value is None else "key " + describe_plain(node.value, value)
        raise self._error(problem, node)

    def _scalar(self, node: yaml.ScalarNode, loc: Loc) -> Any:
        if node.style is None:
            self._document.plain[loc] = node.value
        return self._read(node)

    def _read(self, node: yaml.ScalarNode) -> Any:
        """The plain value of a scalar; ConfigError for the traps of YAML 1.1."""
        text, kind = node.value, node.tag.removeprefix(_TAG)
        if kind == "str":
            return text
        if kind in ("bool", "null") and text in _WORDS:
            return _WORDS[text]
        if kind in _DECIMAL and _DECIMAL[kind].fullmatch(text):
            return int(text) if kind == "int" else float(text)
        if kind == "timestamp" and re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return self._date(node)
        raise self._error(_trap(text), node)

    def _date(self, node: yaml.ScalarNode) -> dt.date:
        try:
            return dt.date.fromisoformat(node.value)
        except ValueError as error:
            raise self._error(f"{node.value} is not a date", node) from error

    def _position(self, node: yaml.Node) -> Position:
        return _mark(self._document.file, node.start_mark)

    def _error(self, message: str, node: yaml.Node) -> ConfigError:
        return ConfigError(message, self._position(node))


def _trap(text: str) -> str:
    """What YAML 1.1 makes of `text`, and what to write instead."""
    quoted = json.dumps(text)
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return f"{text} unquoted has a meaning of its own in YAML: write {quoted}"
    if value is None or isinstance(value, bool):
        word = {None: "null", True: "true", False: "false"}[value]
        return f"{text} unquoted is read as {word}: write {quoted} for text, or {word}"
    if isinstance(value, int | float):
        return f"{text} unquoted is read as {value}: write {quoted} for text, or a decimal number"
    return f"{text} unquoted is read as a time: write {quoted}"
