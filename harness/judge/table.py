# SPDX-License-Identifier: Apache-2.0
"""The table of message patterns: reads `patterns.yaml`, checks it, compiles it once.

The file's head documents its keys. Whatever is wrong with it is a `TableError` that names the line and the entry;
nothing is compiled until the first message is judged. Everything that differs by kind is declared there, so that a
new kind is one line of the file.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from importlib.resources import files
from string import Formatter
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from migmatrix.harness.judge.versions import ALL, Versions
from migmatrix.harness.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "Class",
    "Kind",
    "Pattern",
    "Place",
    "Role",
    "Table",
    "TableError",
    "Tells",
    "load_table",
    "parse_table",
    "table_digest",
]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times as fast, where PyYAML has it
_Choice = TypeVar("_Choice", bound=str)
# this one first, then those of `equality` and of `pulse.changes`
_TABLES = (
    ("migmatrix.harness.judge", "patterns.yaml"),
    ("migmatrix.harness.judge", "equality.yaml"),
    ("migmatrix.harness.pulse", "allowed.yaml"),
)
_ROOT_KEYS = {"kinds", "aliases", "patterns"}
_KIND_KEYS = {"class", "place", "verdict", "signature", "tells", "vague"}
_PATTERN_KEYS = {
    *("kind", "role", "regex", "device", "field", "message", "bits", "where", "versions", "seen"),
}
_SIGNATURE_PARTS = {"device", "field"}


class TableError(ValueError):
    """The table is not as it should be; the message names the line and the entry."""


class Role(StrEnum):
    """What a pattern is for; see the head of patterns.yaml."""

    LEAF = "leaf"
    TAIL = "tail"
    WRAPPER = "wrapper"
    NOISE = "noise"


class Class(StrEnum):
    """What sort of problem a kind of cause is."""

    NOT_MIGRATABLE = "not migratable"
    CRASH = "crash"
    HANG = "hang"
    VERSION = "version bump"
    SUBSECTION = "missing subsection"
    DEVICE = "missing device"
    SIZE = "memory or ROM size"
    BLOCK = "missing memory block"
    LAYOUT = "layout"
    MACHINE = "machine type"
    VALUE = "value"


class Place(StrEnum):
    """Where in a stream a kind of cause is looked for; see the head of patterns.yaml."""

    FIELD = "field"
    VERSION = "version"
    SECTION = "section"
    MEMORY = "memory"
    NONE = "none"


class Tells(StrEnum):
    """How much a kind of cause tells, most first."""

    HOST = "host"
    CRASH = "crash"
    CAUSE = "cause"
    END = "end"
    SYMPTOM = "symptom"

    @property
    def rank(self) -> int:
        """Its number in the order above, from 0."""
        return list(Tells).index(self)


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of cause means for a cell, and which parts of a cause make its signature."""

    class_: Class = Class.VALUE
    place: Place = Place.FIELD
    verdict: Verdict = Verdict.FAIL
    signature: tuple[str, ...] = ("device", "field")
    tells: Tells = Tells.CAUSE
    vague: bool = False


@dataclass(frozen=True, slots=True)
class Pattern:
    """One entry; `device` and `field` are templates over the regex's groups, None to use the group."""

    role: Role
    regex: re.Pattern[str]
    kind: str = ""
    device: str | None = None
    field: str | None = None
    whole_line: bool = False
    bits: tuple[str, str] | None = None
    qmp_only: bool = False
    versions: Versions = ALL

    def applies(self, release: tuple[int, ...]) -> bool:
        """Whether it is meant for releases of this line (major, minor); (), unknown, is every line."""
        return self.versions.hold(release)


@dataclass(frozen=True, slots=True)
class Table:
    """All of it, patterns in order of precedence."""

    kinds: Mapping[str, Kind]
    aliases: Mapping[str, str]
    patterns: tuple[Pattern, ...] = field(repr=False)

    def role(self, role: Role) -> Iterable[Pattern]:
        """The patterns of one role, in order."""
        return (p for p in self.patterns if p.role is role)

    def kind(self, name: str) -> Kind:
        """What `name` means; a kind that the table does not have, of a run of another version, is a plain failure."""
        return self.kinds.get(name, Kind())


@cache
def load_table() -> Table:
    """The table that comes with the package, read and compiled on first use."""
    return parse_table(_read(*_TABLES[0]).decode("utf-8"))


def table_digest() -> str:
    """Hex SHA-256 of all tables that a verdict rests on: another one may judge the same evidence otherwise."""
    return hashlib.sha256(b"\0".join(_read(package, name) for package, name in _TABLES)).hexdigest()


def _read(package: str, name: str) -> bytes:
    return files(package).joinpath(name).read_bytes()


def parse_table(text: str) -> Table:
    """The table in `text` (YAML); TableError when it is not one."""
    try:
        data = yaml.load(text, _LOADER)  # noqa: S506 - a safe loader, with or without libyaml
    except yaml.YAMLError as err:
        raise TableError(f"not YAML: {err}") from err
    root = _mapping(data, "the table", _ROOT_KEYS)
    kinds: dict[str, Kind] = {}
    for name, entry in _part(root, "kinds", dict).items():
        with _line_of(text, "kinds", name):
            kinds[name] = _kind(name, entry)
    patterns: list[Pattern] = []
    for number, entry in enumerate(_part(root, "patterns", list), 1):
        with _line_of(text, "patterns", number - 1):
            patterns.append(_pattern(number, entry, kinds))
    return Table(kinds, _part(root, "aliases", dict), tuple(patterns))


@contextmanager
def _line_of(text: str, part: str, entry: str | int) -> Iterator[None]:
    """Put the line of an entry before what is wrong with it; lines are only counted then."""
    try:
        yield
    except TableError as err:
        raise TableError(f"line {_line(yaml.compose(text, yaml.SafeLoader), part, entry)}: {err}") from err


def _line(root: Any, part: str, entry: str | int) -> int:
    """The line of an entry in PyYAML's node tree: of an item of a list, or of a key of a mapping."""
    nodes = next(value for key, value in root.value if key.value == part).value
    node = nodes[entry] if isinstance(entry, int) else next(key for key, _ in nodes if key.value == entry)
    return int(node.start_mark.line) + 1


def _part(root: dict[str, Any], key: str, kind: type) -> Any:
    value = root.get(key, kind())
    if not isinstance(value, kind):
        raise TableError(f"{key!r} should be a {kind.__name__}, found {type(value).__name__}")
    return value


def _mapping(data: Any, what: str, known: set[str]) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise TableError(f"{what} should be a mapping, found {type(data).__name__}")
    if unknown := sorted(str(key) for key in data if key not in known):
        raise TableError(f"{what}: unknown key {unknown[0]!r}")
    return data


def _kind(name: str, entry: Any) -> Kind:
    what = f"kind {name!r}"
    data = _mapping(entry, what, _KIND_KEYS)
    if missing := [key for key in ("class", "place") if key not in data]:
        raise TableError(f"{what}: has no {missing[0]}")
    parts = tuple(data.get("signature", ("device", "field")))
    if wrong := [part for part in parts if part not in _SIGNATURE_PARTS]:
        raise TableError(f"{what}: unknown part of a signature {wrong[0]!r}")
    try:
        verdict = Verdict(data.get("verdict", "fail"))
    except ValueError as err:
        raise TableError(f"{what}: {err}") from err
    return Kind(
        class_=_choice(data["class"], Class, what),
        place=_choice(data["place"], Place, what),
        verdict=verdict,
        signature=parts,
        tells=_choice(data.get("tells", "cause"), Tells, what),
        vague=bool(data.get("vague", False)),
    )


def _pattern(number: int, entry: Any, kinds: Mapping[str, Kind]) -> Pattern:
    what = f"pattern {number}" + (
        f" ({entry['kind']!r})" if isinstance(entry, dict) and "kind" in entry else ""
    )
    data = _mapping(entry, what, _PATTERN_KEYS)
    role = _choice(data.get("role", "leaf"), Role, what)
    kind = data.get("kind", "")
    if role in (Role.LEAF, Role.TAIL) and kind not in kinds:
        raise TableError(f"{what}: kind {kind!r} is not in the list of kinds")
    if not data.get("seen"):
        raise TableError(f"{what}: says not where it was seen")
    regex = _regex(data.get("regex"), what)
    for key in ("device", "field"):
        _check_template(data.get(key), regex, f"{what}: {key}")
    return Pattern(
        role=role,
        regex=regex,
        kind=kind,
        device=data.get("device"),
        field=data.get("field"),
        whole_line=_choice(data.get("message", "match"), ("match", "line"), what) == "line",
        bits=_bits(data.get("bits"), regex, what),
        qmp_only=_choice(data.get("where", "any"), ("any", "qmp"), what) == "qmp",
        versions=_versions(data.get("versions", "all"), what),
    )


def _choice(value: Any, choices: Iterable[_Choice], what: str) -> _Choice:
    allowed = list(choices)
    for choice in allowed:
        if choice == value:
            return choice
    raise TableError(f"{what}: {value!r} is none of {', '.join(allowed)}")


def _regex(text: Any, what: str) -> re.Pattern[str]:
    if not isinstance(text, str) or not text:
        raise TableError(f"{what}: has no regex")
    try:
        return re.compile(text, re.MULTILINE)
    except re.error as err:
        raise TableError(f"{what}: bad regex {text!r}: {err}") from err


def _check_template(template: Any, regex: re.Pattern[str], what: str) -> None:
    if template is None:
        return
    if not isinstance(template, str):
        raise TableError(f"{what} should be a text, found {template!r}")
    names = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    if missing := sorted(names - set(regex.groupindex)):
        raise TableError(f"{what}: the regex has no group {missing[0]!r}")


def _bits(value: Any, regex: re.Pattern[str], what: str) -> tuple[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != len(("received", "allowed")):
        raise TableError(f"{what}: bits should be two groups, found {value!r}")
    if missing := [name for name in value if name not in regex.groupindex]:
        raise TableError(f"{what}: the regex has no group {missing[0]!r}")
    return value[0], value[1]


def _versions(text: Any, what: str) -> Versions:
    try:
        return Versions.parse(text)
    except ValueError as err:
        raise TableError(f"{what}: {err}") from err
