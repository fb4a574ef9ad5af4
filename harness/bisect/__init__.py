# SPDX-License-Identifier: Apache-2.0
"""Since when: the build, release or commit that changed the verdict of a path. Start from `bisect_builds`.

`decide` is the whole procedure, a pure function of the runs so far; `search` is what it believes of them. `walk` runs
what `decide` wants and writes it to a `Journal`; `CellProber` and `CommandProber` run points. Which device or property
of a *failing cell* is to blame, `harness.explain` says.
"""

from migmatrix.harness.bisect.answer import Answer, exit_code, published, render, sides
from migmatrix.harness.bisect.decide import decide
from migmatrix.harness.bisect.records import Finding, Kind, Rules, Run, Shown, Want
from migmatrix.harness.bisect.searches import (
    CellOptions,
    CommitOptions,
    bisect_builds,
    bisect_commits,
    bisect_releases,
)

__all__ = [  # noqa: RUF022 - the most important first
    "bisect_builds",
    "bisect_releases",
    "bisect_commits",
    "CellOptions",
    "CommitOptions",
    "Answer",
    "Finding",
    "Kind",
    "Rules",
    "decide",
    "Want",
    "Run",
    "Shown",
    "render",
    "published",
    "sides",
    "exit_code",
]
