"""`migmatrix stream show|diff|check|digest FILE...`: reads migration streams from files.

The only place where a stream meets a file: files are mapped, and what has been read is given back, so that
memory stays small whatever the file's size. Compressed files (zstd, gzip) are unpacked to a temporary file.

Exit codes: 0 fine or equal; 1 an invalid stream or a difference was found; 2 the user's mistake.
"""

from __future__ import annotations

import gzip
import json
import mmap
import shutil
import sys
import tempfile
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final

import typer
import zstandard

from harness.errors import ExitCode, UserError
from vmstate.accounting import account
from vmstate.compare import Change, diff
from vmstate.digest import digest
from vmstate.errors import StreamError
from vmstate.outline import outline, page_runs
from vmstate.stream import Section, Stream, read_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["app"]

app = typer.Typer(help="Read, compare and check migration streams.", no_args_is_help=True)

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_INVALID: Final = ExitCode.REGRESSIONS

FileArgument = Annotated[Path, typer.Argument(help="stream, plain, .gz or .zst", metavar="FILE")]
FilesArgument = Annotated[list[Path], typer.Argument(help="streams, plain, .gz or .zst", metavar="FILE...")]
JsonOption = Annotated[bool, typer.Option("--json", help="for machines")]
SectionOption = Annotated[
    str | None,
    typer.Option("--section", help="sections of this name (glob), as idstr or idstr#instance, with fields"),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="sections whose last part is this (glob), with fields")
]


class _Source:
    """A mapped file. `data` is the buffer, `release` gives memory of a range back to the system."""

    def __init__(self, file: IO[bytes]) -> None:
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.data = memoryview(self._map)

    def release(self, start: int, end: int) -> None:
        first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        last = end // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first:
            self._map.madvise(mmap.MADV_DONTNEED, first, last - first)


@contextmanager
def _open(path: Path) -> Iterator[_Source]:
    """Map `path`; UserError when it cannot be read or is empty."""
    try:
        with path.open("rb") as file, _plain(file, path) as plain:
            yield _Source(plain)
    except OSError as error:
        raise UserError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, StreamError):
            raise
        raise UserError(f"{str(path)!r} is empty") from error


@contextmanager
def _plain(file: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    """The file itself, or a temporary one with its unpacked contents."""
    magic = file.read(4)
    file.seek(0)
    unpack = {_GZIP: _unpack_gzip, _ZSTD: _unpack_zstd}.get(magic[:2] if magic[:2] == _GZIP else magic)
    if unpack is None:
        yield file
        return
    with tempfile.TemporaryFile() as plain:
        try:
            unpack(file, plain)
        except (EOFError, gzip.BadGzipFile, zstandard.ZstdError) as error:
            raise UserError(f"cannot unpack {str(path)!r}: {error}") from error
        plain.flush()
        yield plain


def _unpack_gzip(file: IO[bytes], plain: IO[bytes]) -> None:
    with gzip.GzipFile(fileobj=file) as packed:
        shutil.copyfileobj(packed, plain, 1 << 20)


def _unpack_zstd(file: IO[bytes], plain: IO[bytes]) -> None:
    zstandard.ZstdDecompressor().copy_stream(file, plain)


def _read(source: _Source) -> Stream:
    return read_stream(source.data, strict=False, release=source.release)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _finish(code: int) -> None:
    if code:
        raise typer.Exit(code)


# -- show --------------------------------------------------------------------------------------


def _wanted(section: str | None, device: str | None, fields: bool) -> Callable[[Section], bool]:
    def wanted(candidate: Section) -> bool:
        name, instance = candidate.key
        last = name.rsplit("/", 1)[-1]
        return (
            fields
            or (section is not None and _matches((name, f"{name}#{instance}"), section))
            or (device is not None and _matches((last, f"{last}#{instance}"), device))
        )

    return wanted


def _matches(names: tuple[str, str], pattern: str) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for name in names)


@app.command()
def show(
    files: FilesArgument,
    section: SectionOption = None,
    device: DeviceOption = None,
    fields: Annotated[bool, typer.Option("--fields", help="fields of all sections")] = False,
    pages: Annotated[bool, typer.Option("--pages", help="runs of memory pages")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what streams hold: memory by block, sections, commands; fields on demand."""
    wanted = _wanted(section, device, fields)
    narrow = section is not None or device is not None
    code = 0
    for path in files:
        with _open(path) as source:
            stream = _read(source)
            found = {"file": str(path), **outline(stream, wanted)}
            if pages:
                found["pages"] = list(page_runs(stream))
        if narrow:
            found["sections"] = [s for s in found["sections"] if "fields" in s]
            if not found["sections"]:
                raise UserError(f"{str(path)!r} has no section {section or device!r}")
        _say(json.dumps(found)) if as_json else _render(found, narrow)
        code = code or (_INVALID if found["error"] or found["undelimited"] else 0)
    _finish(code)


def _render(found: dict[str, Any], narrow: bool) -> None:
    if not narrow:
        _render_head(found)
    for entry in found["sections"]:
        _render_section(entry)
    if not narrow:
        _render_tail(found)
    for run in found.get("pages", ()):
        _say(f"{run['offset']:#010x}  {run['block']}[{run['first']:#x}]  {run['count']} {run['kind']}")


def _render_head(found: dict[str, Any]) -> None:
    capabilities = ", ".join(found["capabilities"]) or "none"
    _say(f"{found['file']}: {found['size']} bytes, machine {found['machine'] or 'not named'}")
    _say(f"  announced capabilities: {capabilities}")
    if found["uuid"]:
        _say(f"  uuid: {found['uuid']}")
    for block in found["ram"]:
        kinds = {k: v for k, v in block.items() if k not in {"name", "used_length", "address"}}
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no pages"
        _say(f"  ram {block['name']}: {block['used_length']:#x} bytes, {counts}")


def _render_section(entry: dict[str, Any]) -> None:
    name = f"{entry['name']}#{entry['instance']} v{entry['version']}"
    footer = "" if entry["footer"] else ", no footer"
    _say(f"{entry['offset']:#010x}  {entry['kind']:<5}  {name}  {entry['size']} bytes{footer}")
    for field in entry.get("fields", ()):
        _say(f"    {field['offset']:#010x}  {field['path']} = {_value(field['value'])}  ({field['type']})")


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + " ".join(map(str, value)) + "]"
    return f"{value} ({value:#x})" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _render_tail(found: dict[str, Any]) -> None:
    for command in found["commands"]:
        arguments = {k: v for k, v in command.items() if k not in {"offset", "name"}}
        _say(f"{command['offset']:#010x}  command  {command['name']} {arguments or ''}".rstrip())
    described = found["description"]
    if described:
        _say(
            f"{described['offset']:#010x}  description of {described['devices']} devices, {described['size']} bytes"
        )
    lost = found["undelimited"]
    if lost:
        _say(
            f"{lost['offset']:#010x}  nothing tells the length of {lost['section']!r}: {lost['size']} bytes not read"
        )
    if found["trailing"]:
        _say(f"{found['trailing']} bytes after the end")
    if found["error"]:
        _say(f"invalid: {found['error']}")


# -- diff, check, digest -----------------------------------------------------------------------


@app.command("diff")
def diff_command(
    first: FileArgument,
    second: FileArgument,
    section: SectionOption = None,
    device: DeviceOption = None,
    pages: Annotated[bool, typer.Option("--pages/--no-pages", help="compare memory contents")] = True,
    volatile: Annotated[bool, typer.Option("--volatile", help="show also what does not count")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what differs between two streams; values that change by themselves do not count."""
    with _open(first) as a, _open(second) as b:
        left, right = _valid(a, first), _valid(b, second)
        changes = [c for c in diff(left, right, ram=pages) if _concerns(c, section, device)]
    shown = [c for c in changes if volatile or not c.volatile]
    if as_json:
        _say(json.dumps([{s: getattr(c, s) for s in Change.__slots__} for c in shown]))
    else:
        for change in shown:
            _say(_line(change))
        hidden = len(changes) - len(shown)
        _say(f"{len(shown)} differences, {hidden} that do not count not shown")
    _finish(_INVALID if any(not c.volatile for c in changes) else 0)


def _valid(source: _Source, path: Path) -> Stream:
    """The stream, with a word on standard error when it was not read to its end."""
    stream = _read(source)
    if stream.error is not None:
        sys.stderr.write(f"{path}: {stream.error}\n")
        raise typer.Exit(_INVALID)
    return stream


def _concerns(change: Change, section: str | None, device: str | None) -> bool:
    name = change.section
    idstr = name.rsplit("#", 1)[0]
    last = name.rsplit("/", 1)[-1]
    by_section = section is None or _matches((idstr, name), section)
    return by_section and (device is None or _matches((last.rsplit("#", 1)[0], last), device))


def _line(change: Change) -> str:
    where = f"{change.section} {change.path}".rstrip()
    why = f"  ({change.volatile})" if change.volatile else ""
    if change.kind == "ram-content":
        return f"{change.kind:<11} {where}: {change.a} {change.b}{why}"
    return f"{change.kind:<11} {where}: {change.a or 'absent'} -> {change.b or 'absent'}{why}"


@app.command()
def check(files: FilesArgument, as_json: JsonOption = False) -> None:
    """Check that streams are complete: every byte belongs to an element and is written back the same."""
    code = 0
    for path in files:
        with _open(path) as source:
            found = account(_read(source), source.data)
        code = code or (0 if found.complete else _INVALID)
        if as_json:
            kinds = {"elements": found.elements, "by_kind": found.by_kind}
            _say(json.dumps({"file": str(path), "size": found.size, **kinds, "problems": found.problems}))
        else:
            _say(
                f"{path}: {'complete' if found.complete else 'invalid'}, {found.size} bytes, {found.elements} elements"
            )
            for problem in found.problems:
                _say(f"  {problem}")
    _finish(code)


@app.command("digest")
def digest_command(files: FilesArgument, as_json: JsonOption = False) -> None:
    """Print one hash per stream: equal when a guest would see the same state."""
    found: dict[str, str] = {}
    for path in files:
        with _open(path) as source:
            found[str(path)] = digest(_valid(source, path))
    if as_json:
        _say(json.dumps(found))
        return
    for name, value in found.items():
        _say(f"{value}  {name}")
