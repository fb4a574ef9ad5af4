"""Since when: the build, release or commit that changed the verdict of a path. Start with `bisect_builds`.

`decide` is the whole procedure, a pure function of the runs so far; `search` is what it believes of them. `walk` runs
what `decide` wants and writes it to a `Journal`; `CellProber` and `CommandProber` run points. What of a *failing cell*
is to blame - device, property - is `harness.explain`'s to say.
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

__all__ = [
    "Answer",
    "CellOptions",
    "CommitOptions",
    "Finding",
    "Kind",
    "Rules",
    "Run",
    "Shown",
    "Want",
    "bisect_builds",
    "bisect_commits",
    "bisect_releases",
    "decide",
    "exit_code",
    "published",
    "render",
    "sides",
]
