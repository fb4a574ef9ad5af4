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
from migmatrix.harness.exports.places import places_of
from migmatrix.harness.files import PUBLIC, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from migmatrix.harness.report import RunReport

__all__ = [
    "FORMATS",
    "NOTICES",
    "Export",
    "Format",
    "parse_export",
    "parse_notice",
    "render",
    "write",
    "write_text",
]

STDOUT: Final = "-"


@dataclass(frozen=True, slots=True)
class Format:
    """One format: its module and the function there, and the file that it is written to by default.

    The function of a `placed` one also takes a function from a cell to its position in the repository.
    """

    module: str
    function: str
    file: str
    placed: bool = False


FORMATS: Final = {
    "ctrf": Format("ctrf", "render_ctrf", "ctrf.json"),
    "kcidb": Format("kcidb", "render_kcidb", "kcidb.json"),
    "sarif": Format("sarif", "render_sarif", "findings.sarif", placed=True),
    "openmetrics": Format("openmetrics", "render_openmetrics", "metrics.prom"),
    "badge": Format("badge", "render_badge", "badge.svg"),
    "github": Format("github", "render_github", "github.txt", placed=True),
    "gitlab": Format("gitlab", "render_gitlab", "gl-code-quality-report.json", placed=True),
    "email": Format("mail", "render_mail", "email.txt"),
    "webhook": Format("webhook", "render_webhook", "webhook.json"),
}
NOTICES: Final = ("email", "webhook")  # messages to somebody


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
    _known(name, FORMATS)
    if given and not file:
        raise UserError(f"--export {text!r}: no file behind '='; '-' is standard output")
    if file == STDOUT:
        return Export(name, None)
    return Export(name, Path(file) if file else directory / FORMATS[name].file)


def parse_notice(name: str) -> Export:
    """A message that is to be printed; UserError for a name that is none."""
    _known(name, NOTICES)
    return Export(name, None)


def _known(name: str, names: Iterable[str]) -> None:
    if name not in names:
        raise UserError(f"unknown format {name!r}: {did_you_mean(name, names)}")


def render(name: str, report: RunReport) -> str:
    """The text of a run in a format of the table."""
    format_ = FORMATS[name]
    module = import_module(f"migmatrix.harness.exports.{format_.module}")
    function: Callable[..., str] = getattr(module, format_.function)
    return function(report, places_of(report)) if format_.placed else function(report)


def write(export: Export, report: RunReport) -> None:
    """Write an export that has a file; errors as of `write_text`."""
    assert export.file is not None, "it is printed"  # noqa: S101 - the caller's mistake
    write_text(export.file, render(export.format, report))


def write_text(file: Path, text: str) -> None:
    """Write a file whole or not at all; UserError when it cannot be written."""
    try:
        write_whole(file, text.encode(), PUBLIC)
    except OSError as err:
        raise UserError(f"cannot write {str(file)!r}: {err.strerror}") from err
