# SPDX-License-Identifier: Apache-2.0
"""The error tree and the exit codes.

    MigmatrixError
    ├── UserError            the user's mistake: one line, exit 2
    │   ├── ConfigError      with file:line:column
    │   └── UnusableBuild    of a named build, whose place the matrix knows
    └── InfrastructureError  the harness or the host failed: verdict `error`, exit 3
        ├── EngineError      the container engine or a supervisor
        │   └── SandboxDied  one sandbox, of whose build's doing it may be; others may do well
        ├── BuildError       an emulator build cannot be prepared
        └── StoreError       the leg store or a run directory

Everything else that escapes is a bug: one line, the traceback in a file, exit 70 (sysexits.h's EX_SOFTWARE).
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from enum import IntEnum
from os.path import commonprefix
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "BuildError",
    "ConfigError",
    "EngineError",
    "ExitCode",
    "InfrastructureError",
    "MigmatrixError",
    "Position",
    "SandboxDied",
    "StoreError",
    "UnusableBuild",
    "UserError",
    "did_you_mean",
    "together",
]


_MANY = 20  # known words that a message lists


class ExitCode(IntEnum):
    """What `migmatrix` returns to the shell."""

    OK = 0
    REGRESSIONS = 1
    USAGE = 2
    INCOMPLETE = 3
    BUG = 70
    INTERRUPTED = 130
    # 128 + SIGPIPE, as a shell says it
    CLOSED_PIPE = 141


class Position(NamedTuple):
    """A place in a text file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class MigmatrixError(Exception):
    """Base of every error this package raises on purpose."""


class UserError(MigmatrixError):
    """A mistake of the user's; the message is one line, lower case, no full stop."""


class ConfigError(UserError):
    """A mistake in a file, with its position: ``file:line:column: message``."""

    def __init__(self, message: str, position: Position) -> None:
        super().__init__(f"{position}: {message}")
        self.position = position


class UnusableBuild(UserError):
    """What a build names is not there, or is no emulator."""

    def __init__(self, build: str, problem: str, key: str = "") -> None:
        super().__init__(f"build {build!r}: {problem}")
        self.build = build
        self.key = key  # of the build's keys the one that is wrong, where one is


class InfrastructureError(MigmatrixError):
    """The harness or the host failed; never a failure of the product under test."""


class EngineError(InfrastructureError):
    """The container engine or an in-container supervisor failed."""


class SandboxDied(EngineError):
    """A sandbox that was up is gone."""


class BuildError(InfrastructureError):
    """A build could not be fetched, installed or probed."""


class StoreError(InfrastructureError):
    """The leg store or a run directory could not be read or written."""


def together(mistakes: Sequence[UserError]) -> UserError:
    """Several mistakes as one error, a line for each; ValueError for none."""
    if not mistakes:
        raise ValueError("no mistake")
    return mistakes[0] if len(mistakes) == 1 else UserError("\n".join(map(str, mistakes)))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A suggestion to append to "unknown ...": the word that is near, else one with a part in common, else the known."""
    words = list(dict.fromkeys(known))
    near = difflib.get_close_matches(word, words, n=1) or _related(word, words)
    versions = [known for known in words if _other_number(word, known)]
    if near and not (near[0] in versions and len(versions) <= _MANY):
        return f"did you mean {near[0]!r}?"
    if not words:
        return "none is known"
    told = versions or (_folded(words) if len(words) > _MANY else words)
    more = f" and {len(told) - _MANY} more" if len(told) > _MANY else ""
    return f"known: {', '.join(told[:_MANY])}{more}"


def _other_number(one: str, other: str) -> bool:
    """Whether two names differ in a number only: of ``qemu-6.0`` none knows which version is meant."""
    return _unnumbered(one) == _unnumbered(other) and re.sub(r"[^0-9]", "", one) != re.sub(
        r"[^0-9]", "", other
    )


def _unnumbered(name: str) -> str:
    return re.sub(r"[0-9.]+", "", name)


def _folded(words: Sequence[str]) -> list[str]:
    """Names that differ in a number only as one: ``pc-q35-*``."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for word in words:
        groups[_unnumbered(word)].append(word)
    return [commonprefix(group) + "*" * (len(group) > 1) for group in groups.values()]  # noqa: RUF071 - names, no paths


def _related(word: str, known: Sequence[str]) -> list[str]:
    """The most alike of the words that share a part of three or more characters: ``usb-xhci`` for ``qemu-xhci``."""
    parts = [part for part in re.split(r"[^a-zA-Z0-9]+", word) if len(part) > 2]  # noqa: PLR2004 - said above
    sharing = [name for name in known if any(part in re.split(r"[^a-zA-Z0-9]+", name) for part in parts)]
    return difflib.get_close_matches(word, sharing, n=1, cutoff=0.4)
