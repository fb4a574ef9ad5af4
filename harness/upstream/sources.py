# SPDX-License-Identifier: Apache-2.0
"""Where the sources of two builds describe a state, and what differs there: file, line, entries, commits.

1. A source tree is a directory that somebody unpacked or cloned; which of its files are looked at is `_SUFFIXES`. Nothing in
   it is run, and links are not followed.
2. A description is a ``VMStateDescription`` of C whose ``.name`` is the wanted one, with the parts that its entries name.
   Its entries are versions, marks, conditions, fields with their macro, and parts: facts; the code stays where it is.
3. Commits are told where the destination's tree is a git repository that has the source's revision: those between the two
   that touched an entry which differs (``git log -G``).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from migmatrix.harness.errors import UserError
from migmatrix.harness.files import is_plain, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["Compared", "Described", "Sources", "Trees", "compare", "described", "parse"]

_SUFFIXES = (".c", ".h", ".inc")
_LARGEST = 4 << 20  # bytes of a file that is looked at
_COMMITS = 8
_DESCRIPTION = re.compile(r"\bVMStateDescription\s+(\w+)\s*=\s*\{")
_NAME = re.compile(r"\.name\s*=\s*\"([^\"]+)\"")
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_ENTRY = re.compile(
    r"\.(?:minimum_)?version_id\s*=\s*\w+|\.unmigratable\s*=\s*\w+|\.needed\s*=\s*\w+|\bVMSTATE_\w+\s*\([^()]*(?:\([^()]*\)[^()]*)*\)|&\w+"
)

Trees = dict[str, Path]


@dataclass(frozen=True, slots=True)
class Described:
    """A description in a tree: `file` relative to it, `line` from 1, its C name, and its entries, white space made one."""

    file: str
    line: int
    identifier: str
    entries: tuple[str, ...]

    @property
    def unmigratable(self) -> bool:
        """Whether it is marked so: a machine that has such a state does not migrate."""
        marks = [entry for entry in self.entries if entry.startswith(".unmigratable")]
        return any(entry.split()[-1] not in ("0", "false") for entry in marks)


@dataclass(frozen=True, slots=True)
class Compared:
    """One name at both sides; `lines` say what differs, for people."""

    name: str
    source: tuple[Described, ...]
    destination: tuple[Described, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sources:
    """What two trees say of `names`; `found` are those that a tree describes."""

    names: tuple[str, ...]
    found: tuple[Compared, ...]


def parse(words: Iterable[str], builds: Iterable[str]) -> Trees:
    """Trees of ``BUILD=DIR``; UserError for a build that is not there, or no directory."""
    known, found = list(builds), Trees()
    for word in words:
        build, sign, directory = word.partition("=")
        if not sign or build not in known:
            raise UserError(f"--sources {word!r}: want BUILD=DIR with one of {', '.join(known)}")
        if not Path(directory).is_dir():
            raise UserError(f"--sources {word!r}: {directory!r} is no directory")
        found[build] = Path(directory)
    return found


def compare(names: Iterable[str], source: Path, destination: Path) -> list[Compared]:
    """Each of the names that a tree describes, in the order of `names`; UserError when a tree cannot be read."""
    wanted = list(dict.fromkeys(names))
    here, there = described(source, wanted), described(destination, wanted)
    found = []
    for name in wanted:
        ours, theirs = tuple(here[name]), tuple(there[name])
        if ours or theirs:
            lines = tuple(_differences(ours, theirs, source, destination))
            found.append(Compared(name, ours, theirs, lines))
    return found


def described(tree: Path, names: Iterable[str]) -> dict[str, list[Described]]:
    """The descriptions of each name, and behind each those of its parts, each once; UserError when a tree cannot be read."""
    try:
        every = list(_all(tree))
    except OSError as err:
        raise UserError(f"--sources: cannot read {str(err.filename)!r}: {err.strerror}") from err
    named: dict[str, list[Described]] = {name: [] for name in names}
    for name, described in every:
        if name in named:
            named[name].append(described)
    by_identifier: dict[str, list[Described]] = defaultdict(list)
    for _, described in every:
        by_identifier[described.identifier].append(described)
    return {name: _with_parts(found, by_identifier) for name, found in named.items()}


def _with_parts(found: list[Described], by_identifier: Mapping[str, list[Described]]) -> list[Described]:
    """Descriptions and those that their entries name: of the same file, or the only one that is called so."""
    found = [*found]
    for one in found:
        for word in re.findall(r"\w+", " ".join(one.entries)):
            called = by_identifier.get(word, [])
            near = [other for other in called if other.file == one.file] or called
            found += [other for other in near[:1] if len(near) == 1 and other not in found]
    return found


def _all(tree: Path) -> Iterator[tuple[str, Described]]:
    """Every description of a tree with its name, empty where that is no plain text."""
    for path in sorted(_files(tree)):
        with plain(path) as opened:
            content = opened.read(_LARGEST)
        if b"VMStateDescription" not in content:
            continue
        text = content.decode("utf-8", "replace")
        for identifier, line, body in _bodies(text):
            named = _NAME.search(body)
            file = path.relative_to(tree).as_posix()
            yield named[1] if named else "", Described(file, line, identifier, _entries(body))


def _files(tree: Path) -> Iterator[Path]:
    for directory, below, files in os.walk(tree, onerror=_raise):
        below[:] = [name for name in below if not name.startswith(".")]
        yield from (
            path for name in files if name.endswith(_SUFFIXES) and is_plain(path := Path(directory, name))
        )


def _raise(err: OSError) -> NoReturn:
    raise err


def _bodies(text: str) -> Iterator[tuple[str, int, str]]:
    """Identifier and line of each description, and what is between its braces, without comments."""
    for begun in _DESCRIPTION.finditer(text):
        depth, at = 1, begun.end()
        while depth and at < len(text):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        yield begun[1], text.count("\n", 0, begun.start()) + 1, _COMMENT.sub(" ", text[begun.end() : at - 1])


def _entries(body: str) -> tuple[str, ...]:
    found = (" ".join(entry.split()) for entry in _ENTRY.findall(body))
    return tuple(entry for entry in found if not entry.startswith("VMSTATE_END"))


def _differences(
    ours: tuple[Described, ...], theirs: tuple[Described, ...], source: Path, destination: Path
) -> Iterator[str]:
    if not ours or not theirs:
        yield f"only the {'source' if ours else 'destination'} describes it under this name"
        return
    one, two = (Counter(entry for part in side for entry in part.entries) for side in (ours, theirs))
    only = [*((entry, "source") for entry in one - two), *((entry, "destination") for entry in two - one)]
    if not only:
        yield "the entries are the same; what fills or reads them may differ"
        return
    yield from (f"only the {side} has {_said(entry)}" for entry, side in only)
    yield from _commits(source, destination, {part.file for part in theirs}, [entry for entry, _ in only])


def _commits(source: Path, destination: Path, files: Iterable[str], entries: Iterable[str]) -> Iterator[str]:
    """Rule 3."""
    old = _git(source, "rev-parse", "HEAD")
    if old is None or _git(destination, "cat-file", "-e", f"{old}^{{commit}}") is None:
        yield "which commit is not known: the destination's tree is no git repository that has the source's revision"
        return
    words = "|".join(sorted({_word(entry) for entry in entries}))
    asked = (
        "log",
        "--no-ext-diff",
        "--no-textconv",
        "--format=%h %s",
        f"-{_COMMITS}",
        "-P",
        rf"-G\b({words})\b",
    )
    log = _git(destination, *asked, f"{old}..HEAD", "--", *sorted(files)) or ""
    yield from (f"commit {line}" for line in log.splitlines())
    if not log:
        yield "which commit is not known: none between the two revisions touches these entries in these files"


def _said(entry: str) -> str:
    """An entry for people, as a fact."""
    words = re.findall(r"\w+", entry)
    if entry.startswith("VMSTATE_"):
        return f"{_word(entry)} ({words[0]})"
    if entry.startswith(".needed"):
        return f"the condition {_word(entry)}"
    return f"the part {_word(entry)}" if entry.startswith("&") else " ".join(words)


def _word(entry: str) -> str:
    """What an entry is about: a field, a function, a part, or that it is a version."""
    words: list[str] = re.findall(r"\w+", entry)
    return (
        words[1]
        if len(words) > 1 and not entry.startswith((".version", ".minimum", ".unmigratable"))
        else words[0]
    )


def _git(tree: Path, *words: str) -> str | None:
    """What git says of a tree that is the top of a repository; None where it is none, or git cannot say it."""
    if not (tree / ".git").exists() or shutil.which("git") is None:
        return None
    command = ["git", "--no-pager", "-c", "core.fsmonitor=false", "-C", str(tree), *words]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return done.stdout.strip() if done.returncode == 0 else None
