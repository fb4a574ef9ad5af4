# SPDX-License-Identifier: Apache-2.0
"""Asks an emulator what it is and what it can do, once per digest.

`probe.sh` does the asking, in a container or on the host; `parse` turns its output into
`BuildFacts`, `ProbeCache` keeps them as `<cache>/probes/<digest>.json`. QMP as in QEMU's
documentation; `-device help` lists what a user may create.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, Strict, TypeAdapter, ValidationError

from migmatrix.harness.builds.cachefiles import write_atomically
from migmatrix.harness.builds.facts import BuildFacts, MachineType
from migmatrix.harness.errors import UnusableBuild
from migmatrix.harness.files import plain, sealed, unsealed

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ProbeCache", "ProbeOutput", "files_digest", "held", "parse", "script"]

Log = Callable[[str], None]

_DEVICE = re.compile(r'name "(?P<name>[\x21-\x7e]+?)"(?:.*\balias "(?P<alias>[\x21-\x7e]+?)")?')
_FACTS = TypeAdapter(BuildFacts)
_UNSEALED = b'{\n "digest":'
_NEWEST = b'"target":'  # what an entry of an older program lacks: probed again, without a word
NO_HASH = "-"  # what the script prints for a file when the image has no sha256sum
_HASHED = re.compile(r"(?P<hash>[0-9a-f]+|-)  (?P<path>/.+)")

# What the script asks for, as far as it is read. Names are printed, and stand on command lines.
_Word = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,200}$")]
_Number = Annotated[int, Field(ge=0, lt=1 << 31, strict=True)]


@dataclass(frozen=True, slots=True)
class _Numbers:
    major: _Number
    minor: _Number
    micro: _Number


@dataclass(frozen=True, slots=True)
class _Version:
    qemu: _Numbers
    package: Annotated[str, Field(pattern=r"^[\x20-\x7e]{0,200}$")]


@dataclass(frozen=True, slots=True)
class _MachineRow:
    name: _Word
    alias: _Word | None = None
    deprecated: Annotated[bool, Strict()] = False
    default_cpu: Annotated[_Word | None, Field(alias="default-cpu-type")] = None


@dataclass(frozen=True, slots=True)
class _Capability:
    capability: _Word


@dataclass(frozen=True, slots=True)
class _Target:
    arch: _Word = ""


@dataclass(frozen=True, slots=True)
class Replies:
    """What the emulator answers, by the id of the command: the members that are read."""

    version: _Version
    machines: Annotated[list[_MachineRow], Field(max_length=10_000)]
    capabilities: Annotated[list[_Capability], Field(max_length=10_000)]
    target: _Target | None = None


_REPLIES = TypeAdapter(Replies)
_READ = frozenset(field.name for field in fields(Replies))
_ASKED = _READ - {"target"}  # without its target an emulator can be used all the same


@dataclass(frozen=True, slots=True)
class ProbeOutput:
    """What the script printed: the emulator's path, hashes of files by path, and facts by section."""

    emulator: str
    files: Mapping[str, str]
    devices: tuple[str, ...]
    replies: Replies

    def facts(self, digest: str) -> BuildFacts:
        """The facts, given the digest of the files."""
        version, number = self.replies.version, self.replies.version.qemu
        return BuildFacts(
            digest=digest,
            version=f"{number.major}.{number.minor}.{number.micro}",
            package=version.package.rpartition(" ")[2],  # "Debian 1:10.0.13+ds-0+deb13u1"
            machines=tuple(sorted(map(_machine, self.replies.machines), key=lambda m: m.name)),
            devices=self.devices,
            capabilities=tuple(sorted(c.capability for c in self.replies.capabilities)),
            target=self.replies.target.arch if self.replies.target else "",
        )


def script() -> str:
    """The text of the probe's shell script; its one argument is the emulator."""
    return files("migmatrix.harness.builds").joinpath("probe.sh").read_text(encoding="utf-8")


def parse(text: str, build: str, emulator: str) -> ProbeOutput:
    """Read the script's output; UnusableBuild when it was not given a working emulator."""
    sections = _sections(text)
    if "missing" in sections:
        raise UnusableBuild(build, _missing(emulator, sections["missing"]))
    replies = _replies(sections.get("qmp", ()))
    hashes = [match for line in sections.get("files", ()) if (match := _HASHED.fullmatch(line))]
    if not (replies.keys() >= _ASKED and sections.get("emulator") and hashes):
        said = _last_words(sections.get("qmp", []) if sections else text.splitlines())
        raise UnusableBuild(build, f"{emulator!r} is not an emulator that speaks QMP: {said}")
    return ProbeOutput(
        emulator=sections["emulator"][0],
        files={match["path"]: match["hash"] for match in hashes},
        devices=_devices(sections.get("devices", [])),
        replies=_checked(replies, build, emulator),
    )


def _checked(replies: Mapping[str, Any], build: str, emulator: str) -> Replies:
    """The replies, if they have the shape that an emulator's have."""
    try:
        return _REPLIES.validate_python({name: replies[name] for name in _READ & replies.keys()})
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(map(str, first["loc"]))
        problem = f"{emulator!r} says what no emulator says: query-{where}: {first['msg']}"
        raise UnusableBuild(build, problem) from err


def _missing(emulator: str, names: Sequence[str]) -> str:
    there = f": there is {' and '.join(map(repr, names))}" if names else ""
    return f"there is no emulator {emulator!r}{there}"


def held(text: str) -> tuple[str, ...]:
    """The emulators that are there, of the output of a script that was asked for none."""
    return tuple(_sections(text).get("missing", ()))


def files_digest(hashes: Mapping[str, str]) -> str:
    """Hex SHA-256 over ``<sha256>  <path>`` lines in the order of the paths."""
    lines = "".join(f"{hashes[path]}  {path}\n" for path in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()


def _sections(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("@"):
            lines = found.setdefault(line[1:], [])
        elif line:
            lines.append(line)
    return found


def _replies(lines: list[str] | tuple[()]) -> dict[str, Any]:
    messages = [message for line in lines if line.startswith("{") and (message := _message(line))]
    return {m["id"]: m["return"] for m in messages if isinstance(m.get("id"), str) and "return" in m}


def _message(line: str) -> dict[str, Any] | None:
    """The object that a line holds; None where an emulator was cut off, or prints what is no JSON."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _devices(lines: list[str]) -> tuple[str, ...]:
    """Names and aliases, sorted."""
    matches = [match for line in lines if (match := _DEVICE.match(line))]
    names = {name for match in matches for name in match.groups() if name}
    return tuple(sorted(names))


def _machine(row: _MachineRow) -> MachineType:
    return MachineType(row.name, row.alias or "", row.deprecated, row.default_cpu or "")


def _last_words(lines: Sequence[str]) -> str:
    """What was said instead of QMP."""
    said = [line for line in lines if line and not line.startswith("{")]
    return repr(said[-1]) if said else "it said nothing"


@dataclass(frozen=True, slots=True)
class ProbeCache:
    """`<root>/<digest>.json`, one file per set of emulator and firmware files."""

    root: Path
    log: Log

    def get(self, digest: str) -> BuildFacts | None:
        """The stored facts, or None when there are none; a damaged entry is said and counts as none."""
        path = self._path(digest)
        try:
            with plain(path) as file:
                data = unsealed(file.read(), _UNSEALED)
            facts = _FACTS.validate_json(data, strict=False)
        except FileNotFoundError:
            return None
        except (OSError, ValueError):  # no plain file; not what its check sum says; not facts
            self.log(f"probe cache entry {path.name!r} is damaged, probing again")
            return None
        if facts.digest != digest:
            self.log(f"probe cache entry {path.name!r} is of another build, probing again")
            return None
        return facts if _NEWEST in data else None

    def put(self, facts: BuildFacts) -> None:
        """Store `facts`; a reader sees the whole entry or none."""
        data = sealed(_FACTS.dump_json(facts, indent=1))
        path = self._path(facts.digest)
        if path.is_dir() and not path.is_symlink():  # nothing else is in the way of a rename
            path.rename(path.with_name(f".damaged-{secrets.token_hex(4)}"))
        write_atomically(path, data)

    def _path(self, digest: str) -> Path:
        return self.root / f"{digest}.json"
