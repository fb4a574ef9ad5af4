# SPDX-License-Identifier: Apache-2.0
"""Reports of a run: `write_reports` is the one to start from; it writes four files from one `RunReport`.

The renderers know the record in `data.py` and nothing of plans, engines or stores.
"""

from migmatrix.harness.report.data import (
    BuildRow,
    Dropped,
    ExplanationNote,
    Group,
    HostFacts,
    KnownIssueNote,
    LegCounts,
    RunReport,
    Section,
    group,
)
from migmatrix.harness.report.progress import Progress, progress_console
from migmatrix.harness.report.terminal import render_terminal
from migmatrix.harness.report.write import write_reports

__all__ = [
    "BuildRow",
    "Dropped",
    "ExplanationNote",
    "Group",
    "HostFacts",
    "KnownIssueNote",
    "LegCounts",
    "Progress",
    "RunReport",
    "Section",
    "group",
    "progress_console",
    "render_terminal",
    "write_reports",
]
