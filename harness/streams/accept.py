# SPDX-License-Identifier: Apache-2.0
"""Reads the files of `migmatrix stream accept` and `static`: a stream, and what tells of the build that is to take it.

That is a stream that the build wrote itself, or the output of its ``-dump-vmstate``; the file's first character tells
which. `vmstate.check.accept` decides.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from migmatrix.harness.errors import ExitCode, UserError
from migmatrix.harness.streams.file import open_stream
from migmatrix.harness.streams.read import read_source
from migmatrix.vmstate.check.accept import Acceptance, Answer, Refusal, RefusalKind, acceptance
from migmatrix.vmstate.check.schema import load_schema
from migmatrix.vmstate.check.static_check import static_check
from migmatrix.vmstate.device.lifetime import release_key
from migmatrix.vmstate.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.harness.streams.file import Source
    from migmatrix.vmstate.check.schema import Schema
    from migmatrix.vmstate.check.static_check import Finding
    from migmatrix.vmstate.view.stream import Stream

__all__ = ["EXIT_CODES", "accept_file", "static_check_files"]

EXIT_CODES: Final = {
    Answer.TAKES: ExitCode.OK,
    Answer.REFUSES: ExitCode.REGRESSIONS,
    Answer.MAY: ExitCode.INCOMPLETE,
}
_HEAD: Final = 64  # bytes in which a schema begins, white space before it included


def accept_file(path: str, by: str, release: str = "") -> Acceptance:
    """Whether the loader of the build that wrote the stream `by`, or whose schema it is, takes the stream `path`.

    `release` is the version of that build, "" when it is not known. UserError for a file that is neither, is damaged
    or is not there, and for a release that is no version.
    """
    _check_release(release)
    with open_stream(by) as known, _stream(path) as stream:
        if bytes(known.data[:_HEAD]).lstrip().startswith(b"{"):
            return _with_unread(stream, acceptance(stream, _schema(by, known)))
        own = read_source(known)
        _refuse_damaged(own, by)
        return _with_unread(stream, acceptance(stream, own, release=release))


def static_check_files(source: str, destination: str) -> list[Finding]:
    """Findings of `static_check` for two files with the output of ``-dump-vmstate``; UserError when one is none."""
    with open_stream(source) as sent, open_stream(destination) as read:
        return static_check(_schema(source, sent), _schema(destination, read))


def _check_release(release: str) -> None:
    try:
        if release:
            release_key(release)
    except ValueError as err:
        raise UserError(str(err)) from err


@contextmanager
def _stream(path: str) -> Iterator[Stream]:
    with open_stream(path) as source:
        stream = read_source(source)
        _refuse_damaged(stream, path)
        yield stream


def _refuse_damaged(stream: Stream, path: str) -> None:
    if stream.error is not None:
        raise UserError(f"{path!r} is no whole stream: {stream.error}")


def _schema(path: str, source: Source) -> Schema:
    try:
        return load_schema(bytes(source.data))
    except StreamError as err:
        raise UserError(f"{path!r} is no output of -dump-vmstate: {err}") from err


def _with_unread(stream: Stream, found: Acceptance) -> Acceptance:
    """Add what was not compared: a stream that does not describe its devices is read up to the first of them."""
    lost = stream.undelimited
    if lost is None:
        return found
    start = lost.section
    message = f"nothing tells the length of this section: {len(lost.raw)} bytes are not compared"
    unread = Refusal(
        RefusalKind.LAYOUT, message, start.idstr, start.instance_id, certain=False, offset=lost.offset
    )
    answer = Answer.MAY if found.answer is Answer.TAKES else found.answer
    return Acceptance(answer, (*found.reasons, unread))
