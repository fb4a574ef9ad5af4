# SPDX-License-Identifier: Apache-2.0
"""One cell as a test case of another tool's format: its message in a line, its details in some. Not escaped yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.harness.model import Verdict

if TYPE_CHECKING:
    from migmatrix.harness.model import CellResult
    from migmatrix.harness.report.data import RunReport

__all__ = ["details_of", "message_of", "title_of"]


def title_of(result: CellResult) -> str:
    """The name of a case within its machine and profile: ``A>B/snapshot/paused``."""
    cell = result.cell
    return f"{'>'.join(cell.path)}/{cell.mode}/{cell.guest}"


def message_of(result: CellResult) -> str:
    """Why a cell is as it is; its verdict where nothing more is known."""
    cause = result.cause
    if cause is None or result.verdict is Verdict.UNSUPPORTED:  # its reason names the build
        return result.reason or result.verdict.value
    where = " ".join(part for part in (cause.kind, cause.device, cause.field) if part)
    return f"{where}: {cause.message}" if cause.message else where or result.verdict.value


def details_of(report: RunReport, result: CellResult) -> str:
    """What, where, why, and how to repeat it."""
    lines = [
        f"cell: {result.cell.id}",
        f"verdict: {result.verdict}, outcome: {result.outcome}",
        f"hop: {result.hop}, stage: {result.stage}" if result.hop is not None else "",
        f"cause: {message_of(result)}",
        f"signature: {result.signature}" if result.signature else "",
        f"reason: {result.reason}" if result.reason else "",
        f"repeat: {report.repeat(result.cell)}",
    ]
    return "\n".join(line for line in lines if line)
