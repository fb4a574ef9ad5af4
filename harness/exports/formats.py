# SPDX-License-Identifier: Apache-2.0
"""The table of formats, and how `--export FORMAT[=FILE]` is read: parse, then render, then write.

Modules of formats are imported when theirs is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from migmatrix.harness.errors import UserError, did_you_mean
from migmatrix.harness.files import PUBLIC, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.harness.report import RunReport

__all__ = ["FORMATS", "NOTICES", "Export", "Format", "parse_export", "render", "write"]

STDOUT: Final = "-"


@dataclass(frozen=True, slots=True)
class Format:
    """One format: its module and the function there, the file that it is written to by default, what takes it."""

    module: str
    function: str
    file: str
    consumer: str


FORMATS: Final = {
    "ctrf": Format("ctrf", "render_ctrf", "ctrf.json", "CTRF readers"),
}
NOTICES: Final[tuple[str, ...]] = ()  # formats that are a message to somebody


@dataclass(frozen=True, slots=True)
class Export:
    """What is wanted: a format, and the file; None for standard output."""

    format: str
    file: Path | None

    @property
    def printed(self) -> bool:
        """Whether it goes to standard output."""
        return self.file is None


def parse_export(text: str, directory: Path) -> Export:
    """``FORMAT``, ``FORMAT=FILE`` or ``FORMAT=-``; without a file in `directory`. UserError for an unknown format."""
    name, given, file = text.partition("=")
    if name not in FORMATS:
        raise UserError(f"unknown format {name!r}: {did_you_mean(name, FORMATS)}")
    if given and not file:
        raise UserError(f"--export {text!r}: no file behind '='; '-' is standard output")
    if file == STDOUT:
        return Export(name, None)
    return Export(name, Path(file) if file else directory / FORMATS[name].file)


def render(name: str, report: RunReport) -> str:
    """The text of a run in a format of the table."""
    format_ = FORMATS[name]
    module = import_module(f"migmatrix.harness.exports.{format_.module}")
    function: Callable[[RunReport], str] = getattr(module, format_.function)
    return function(report)


def write(export: Export, report: RunReport) -> None:
    """Write an export that has a file, whole or not at all; UserError when it cannot be written."""
    assert export.file is not None, "it is printed"  # noqa: S101 - the caller's mistake
    try:
        write_whole(export.file, render(export.format, report).encode(), PUBLIC)
    except OSError as err:
        raise UserError(f"cannot write {str(export.file)!r}: {err.strerror}") from err
