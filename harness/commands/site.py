# SPDX-License-Identifier: Apache-2.0
"""`migmatrix site`: static pages from a history."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from migmatrix.harness.commands.options import IntoOption, NightsOption, say

__all__ = ["site"]

HistoryArgument = Annotated[
    Path, typer.Argument(help="directory of the history, or its .jsonl file", metavar="DB")
]


def site(database: HistoryArgument, out: IntoOption, nights: NightsOption = 60) -> None:
    """Make static pages of a history.

    DIR/index.html says whether it may be shipped. The pages need no server, and equal histories make equal files.
    """
    from migmatrix.harness.history import History  # noqa: PLC0415 - templates take a tenth of a second
    from migmatrix.harness.site import write_site  # noqa: PLC0415 - as above

    size = write_site(History.open(database), out, nights)
    say(f"{out / 'index.html'}: {size / 1e6:.1f} MB")
