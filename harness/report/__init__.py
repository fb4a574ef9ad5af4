"""Reports of a run: `write_reports` is the one to start from; it writes four files from one `RunReport`.

The renderers know the record in `data.py` and nothing of plans, engines or stores.
"""

from .data import (
    BuildRow,
    Dropped,
    ExplanationNote,
    Group,
    HopCounts,
    HostFacts,
    KnownIssueNote,
    RunReport,
    Section,
    group,
)
from .progress import Progress
from .terminal import render_terminal
from .write import write_reports

__all__ = [
    "BuildRow",
    "Dropped",
    "ExplanationNote",
    "Group",
    "HopCounts",
    "HostFacts",
    "KnownIssueNote",
    "Progress",
    "RunReport",
    "Section",
    "group",
    "render_terminal",
    "write_reports",
]
