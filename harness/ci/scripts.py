# SPDX-License-Identifier: Apache-2.0
"""What the jobs of a night do, as shell text that all CI servers share.

1. The scripts are POSIX shell and end with the exit code that their server is to act on. Codes mean what
   `migmatrix run` means by them: 3 may be tried again, because the host failed; 0, 1 and 2 would only be the same again.
2. A shard with regressions (1) has done its work: the merged run says so, once. The codes that fail a shard's job are
   `FAILED`.
3. No ``$(`` and no ``${{`` stand in any script, nor in what `quote` returns: CI servers and Kubernetes replace these
   before a shell sees them.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from migmatrix.harness.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AGAIN",
    "FAILED",
    "IMAGES",
    "NIGHT",
    "STORE",
    "Night",
    "merge",
    "prepare",
    "quote",
    "settled",
    "shard",
]

AGAIN: Final = ExitCode.INCOMPLETE  # the one code after which the same command may end otherwise
FAILED: Final = (ExitCode.USAGE, ExitCode.INCOMPLETE, ExitCode.BUG)

# Where things are, relative to the directory that a job works in.
STORE: Final = ".migmatrix/store"
HISTORY: Final = ".migmatrix/history"
SIGNED: Final = "signed"
IMAGES: Final = "images"
NIGHT: Final = "nightly"


@dataclass(frozen=True, slots=True)
class Night:
    """What is run: a matrix `file` as its jobs name it, cut into `shards`.

    `contained` says that builds run in containers, whose images one job makes for all. `install` is the command that
    installs `migmatrix`, `schedule` five fields of cron, `every` how often a run is to come (``24h``). With a `policy`
    the merged run is signed, if it meets it.
    """

    file: str
    shards: int
    contained: bool
    install: str
    schedule: str
    every: str = "24h"
    policy: str = ""


def quote(text: str) -> str:
    """One word of a shell, in which nothing but a shell finds something to replace (rule 3)."""
    return shlex.quote(text).replace("$", "$''")


def _matrix(night: Night) -> str:
    """``-f FILE``; a name that begins like an option stays a name."""
    return f"--file={quote(night.file)}"


def prepare(night: Night) -> list[str]:
    """Get the builds ready; of those in containers write the images to `IMAGES`, for the engines of other jobs."""
    if not night.contained:
        return [f"migmatrix builds prepare {_matrix(night)} --store {STORE}"]
    return [
        f"migmatrix builds prepare --refresh {_matrix(night)} --store {STORE}",
        f"migmatrix builds export {_matrix(night)} --store {STORE} --out {IMAGES}",
    ]


def shard(night: Night, index: str, *, out: str, store: str = STORE) -> list[str]:
    """Run one shard; `index` is the shell's word for I/N, `out` the one for the run directory."""
    run = f'migmatrix run {_matrix(night)} --shard "{index}" --store {store} --out "{out}" --quiet'
    return [*_images(night), run]


def _images(night: Night) -> list[str]:
    return [f"migmatrix builds import {IMAGES}"] if night.contained else []


def settled(commands: Sequence[str]) -> str:
    """The commands, the last of them again if the host failed; only a code of `FAILED` is a failure (rule 2).

    For servers that cannot decide by an exit code. The second try is told.
    """
    *before, last = commands
    return "\n".join(
        [
            *before,
            "code=0",
            f"{last} || code=$?",
            f'if [ "$code" -eq {AGAIN:d} ]; then',
            '  echo "the host failed: trying once more" >&2',
            "  code=0",
            f"  {last} || code=$?",
            "fi",
            f'if [ "$code" -eq {ExitCode.REGRESSIONS:d} ]; then',
            '  echo "this shard has regressions: the merged run tells them" >&2',
            "  code=0",
            "fi",
            'exit "$code"',
        ]
    )


def merge(night: Night, shards: str, *, history: str = HISTORY, key: str = "", top: str = "") -> str:
    """Combine the shards to one run, remember it, sign it if there is a policy; ends as the merged run does.

    `shards` is a glob of their directories, `history` and `key` are the shell's words for the history and for the file of
    the signing key, `top` is the one for the directory that the policy is named from, with a slash, where it is another
    than the current one. A run that is green and not signed ends as `migmatrix sign-off` does.
    """
    signing = (
        [
            f"  migmatrix sign-off {NIGHT} --policy {top}{quote(night.policy)} --key {key} --out {SIGNED} || signed=$?",
            '  [ "$code" -ne 0 ] || code=$signed',
        ]
        if night.policy
        else []
    )
    return "\n".join(
        [
            f"set -- {shards}",
            'if [ ! -d "$1" ]; then',
            '  echo "no shard left a run" >&2',
            f"  exit {AGAIN:d}",
            "fi",
            "code=0",
            "signed=0",
            f'migmatrix merge "$@" --out {NIGHT} || code=$?',
            'case "$code" in',
            f"{ExitCode.OK:d} | {ExitCode.REGRESSIONS:d} | {ExitCode.INCOMPLETE:d})",
            f"  migmatrix history add {NIGHT} --db {history} --every {quote(night.every)} || exit $?",
            *signing,
            "  ;;",
            "esac",
            'exit "$code"',
        ]
    )
