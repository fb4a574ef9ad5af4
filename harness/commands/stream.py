# SPDX-License-Identifier: Apache-2.0
"""`migmatrix stream show|diff|check|digest|accept|static FILE...`: reads migration streams from files.

Exit codes: 0 fine, equal or taken; 1 an invalid stream, a difference or a refusal was found; 2 the user's mistake; 3 what
is there does not tell.

Rule: showing half a gigabyte takes less time than importing typer, so options are read by argparse, and each
command imports the part of `vmstate` that only it needs. What is read stays until the end, so that looking for
garbage is off.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.commands.stream_options import parser
from migmatrix.harness.errors import ExitCode, UserError
from migmatrix.harness.streams.file import Source, byte_count, open_stream
from migmatrix.harness.streams.read import read_source
from migmatrix.harness.streams.text import rendered
from migmatrix.harness.visible import visible_line
from migmatrix.vmstate.errors import StreamError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from migmatrix.vmstate.check.accept import Refusal
    from migmatrix.vmstate.view.compare import Change
    from migmatrix.vmstate.view.stream import Section, Stream
    from migmatrix.vmstate.view.vmdesc import VmDesc

__all__ = ["COMMANDS", "main", "summary"]

_INVALID: Final = ExitCode.REGRESSIONS
_UNTOLD: Final = ExitCode.INCOMPLETE
_NOT_WHOLE: Final = ("error", "undelimited", "guessed", "trailing")
_MOST: Final = 200  # characters of a value


def main(arguments: Sequence[str]) -> int:
    """Run the command that `arguments` begin with; its exit code. UserError for the user's mistakes."""
    if not arguments or arguments[0] in {"-h", "--help"}:
        for line in _usage().splitlines():
            _say(line)
        return ExitCode.OK if arguments else ExitCode.USAGE
    name, *rest = arguments
    if name not in _COMMANDS:
        raise UserError(f"there is no command 'stream {name}', only {', '.join(_COMMANDS)}")
    command, options = _COMMANDS[name]
    gc.disable()
    try:
        code = _run(command, parser(name, command.__doc__, *options).parse_intermixed_args(rest))
    except UserError as error:
        raise UserError(visible_line(str(error))) from error
    sys.stdout.flush()  # a reader that is gone is met here, not at the exit
    return code


def _run(command: Callable[[Namespace], int], options: Namespace) -> int:
    """Its exit code; damage that is only met when a page is unpacked gets its line here."""
    try:
        return command(options)
    except StreamError as error:
        files = getattr(options, "files", None) or [options.first]
        sys.stderr.write(visible_line(f"{', '.join(files)}: {error}") + "\n")
        return _INVALID


def _usage() -> str:
    lines = (f"  {name:8} {summary(name)}" for name in _COMMANDS)
    return "\n".join(
        ("usage: migmatrix stream COMMAND FILE...", "", *lines, "", "COMMAND --help tells its options")
    )


def summary(name: str) -> str:
    """The first line of a command's help."""
    return (_COMMANDS[name][0].__doc__ or "").partition("\n")[0]


# -- what is shared ----------------------------------------------------------------------------


def _streams(options: Namespace) -> Iterator[tuple[str, Source, Stream, list[dict[str, Any]]]]:
    """Each file with its stream, whose memory is that of all channels, and what these are."""
    described = _described(options.like)
    if options.channel and len(options.files) > 1:
        raise UserError("--channel is for one stream")
    for path in options.files:
        with open_stream(path, byte_count(options.offset)) as source:
            stream = read_source(source, described)
            if not options.channel:
                yield path, source, stream, []
                continue
            from migmatrix.harness.streams.channels import with_channels  # noqa: PLC0415 - see the rule above

            with with_channels(stream, options.channel) as (whole, channels):
                told = zip(options.channel, channels, strict=True)
                parts = [{"file": f, "kind": c.kind, "size": c.size, "pages": c.pages} for f, c in told]
                yield path, source, whole, parts


def _described(like: str | None) -> VmDesc | None:
    """The VM description of the stream `like`, for streams that have none; UserError when that has none either."""
    if like is None:
        return None
    with open_stream(like) as source:
        found = read_source(source).vmdesc
    if found is None:
        raise UserError(f"{like!r} has no description of its devices")
    return found


def _answerable(stream: Stream, path: str, *, devices: bool = True, contents: bool = True) -> int:
    """0 when the file tells the guest's whole state; if not, the exit code, and a word on standard error."""
    from migmatrix.vmstate.view.unread import unread  # noqa: PLC0415 - see the rule above

    why = unread(stream, devices=devices, contents=contents) if stream.error is None else str(stream.error)
    if why:
        sys.stderr.write(visible_line(f"{path}: {why}") + "\n")
    return _INVALID if stream.error is not None else _UNTOLD if why else 0


def _say(line: str) -> None:
    """The one door to standard output: nothing that a file holds can write to the terminal behind it."""
    sys.stdout.write(visible_line(line) + "\n")


def _matches(names: tuple[str, str], pattern: str) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for name in names)


# -- show --------------------------------------------------------------------------------------


def _show(options: Namespace) -> int:
    """Show memory, sections, commands, fields."""
    from migmatrix.vmstate.view.outline import outline, runs  # noqa: PLC0415 - see the rule above

    narrow = options.section is not None or options.device is not None
    code = 0
    for path, source, stream, channels in _streams(options):
        if options.description:
            _say(_description(stream, path))
            continue
        if options.extract is not None or options.page is not None:
            code = code or _memory(stream, path, options)
            continue
        found = {"file": path, "inside": source.inside, **outline(stream, _wanted(options))}
        found["channels"] = channels
        if options.pages:
            found["pages"] = list(runs(stream))
        if narrow:
            found["sections"] = [s for s in found["sections"] if "fields" in s]
            if not found["sections"]:
                raise UserError(f"{path!r} has no section {options.section or options.device!r}")
        for line in _shown(found, narrow, options):
            _say(line)
        code = code or (_INVALID if any(found[what] for what in _NOT_WHOLE) else 0)
    return code


def _memory(stream: Stream, path: str, options: Namespace) -> int:
    """All blocks to files, or one page as hex."""
    from migmatrix.harness.streams.extract import dumped, extract, page  # noqa: PLC0415 - see the rule above

    if code := _answerable(stream, path, devices=False):
        return code
    if options.page is not None:
        block, offset, data = page(stream, options.page)
        one = json.dumps({"file": path, "block": block, "offset": offset, "raw": data.hex()})
        for line in [one] if options.json else dumped(offset, data):
            _say(line)
        return 0
    for written in extract(stream, options.extract):
        line = f"{written['file']}: {written['block']}, {written['size']} bytes"
        _say(json.dumps(written) if options.json else line)
    return 0


def _description(stream: Stream, path: str) -> str:
    """The text in the stream, in one line."""
    from migmatrix.vmstate.wire.events import VmDescription  # noqa: PLC0415 - see the rule above

    event = next((e for e in stream.events if isinstance(e, VmDescription)), None)
    if event is None:
        raise UserError(f"{path!r} has no description of its devices")
    return bytes(event.raw).decode("latin-1")


def _shown(found: dict[str, Any], narrow: bool, options: Namespace) -> Iterable[str]:
    return [json.dumps(found)] if options.json else rendered(found, narrow, None if options.full else _MOST)


def _wanted(options: Namespace) -> Callable[[Section], bool]:
    section, device = options.section, options.device

    def wanted(candidate: Section) -> bool:
        name, instance = candidate.key
        last = name.rsplit("/", 1)[-1]
        return (
            bool(options.fields)
            or (section is not None and _matches((name, f"{name}#{instance}"), section))
            or (device is not None and _matches((last, f"{last}#{instance}"), device))
        )

    return wanted


# -- diff, check, digest -----------------------------------------------------------------------


def _diff(options: Namespace) -> int:
    """Compare two streams.

    Values that change by themselves do not count.
    """
    from migmatrix.harness.streams.from_end import FromEnd  # noqa: PLC0415 - see the rule above
    from migmatrix.vmstate.view.compare import Change, diff  # noqa: PLC0415
    from migmatrix.vmstate.view.pair import read_pair  # noqa: PLC0415

    start = byte_count(options.offset)
    with open_stream(options.first, start) as a, open_stream(options.second, start) as b:
        left, right = read_pair(a, b, FromEnd if len(os.sched_getaffinity(0)) > 1 else None)
        sides = ((left, options.first), (right, options.second))
        if code := max(_answerable(stream, path, contents=not options.no_pages) for stream, path in sides):
            return code
        found = diff(left, right, ram=not options.no_pages)
        pages = list(_which_pages(left, right)) if options.which_pages else []
    changes = [c for c in found if _concerns(c, options.section, options.device)]
    shown = [c for c in changes if options.volatile or not c.volatile]
    if options.json:
        changes_ = [{s: getattr(c, s) for s in Change.__match_args__} for c in shown]
        places = [{"kind": "page", "path": b, "first": f, "count": n} for b, f, n in pages]
        _say(json.dumps([*changes_, *places]))
    else:
        for change in shown:
            _say(_line(change))
        for block, first, count in pages:
            _say(f"page        ram {block}: {count} from {first:#x}")
        _say(_counted("difference", len(shown), "volatile one", len(changes) - len(shown)))
    return _INVALID if any(not c.volatile for c in changes) else 0


def _which_pages(a: Stream, b: Stream) -> Iterator[tuple[str, int, int]]:
    """Block, offset of the first in bytes, and number of pages that differ, of blocks that both have."""
    from migmatrix.vmstate.view.ramimage import differing_runs  # noqa: PLC0415 - see the rule above

    for name, block in a.ram.blocks.items():
        if (other := b.ram.blocks.get(name)) is None:
            continue
        for first, count in differing_runs(block, other):
            yield name, first, count


def _counted(what: str, shown: int, other: str, hidden: int) -> str:
    """``1 difference (2 volatile ones hidden)``."""
    words = (f"{count} {word}{'' if count == 1 else 's'}" for count, word in ((shown, what), (hidden, other)))
    return "{} ({} hidden)".format(*words) if hidden else next(words)


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


def _check(options: Namespace) -> int:
    """Check that streams are complete.

    Every byte belongs to an element, and is written back the same.
    """
    from migmatrix.vmstate.view.accounting import account  # noqa: PLC0415 - see the rule above

    code = 0
    for path, source, stream, channels in _streams(options):
        found = account(stream, source.data)
        code = code or (0 if found.complete else _INVALID)
        counts = {"size": found.size, "elements": found.elements}
        if options.json:
            more = {"channels": channels} if channels else {}
            by_kind, problems = found.by_kind, found.problems
            _say(json.dumps({"file": path, **counts, "by_kind": by_kind, "problems": problems, **more}))
            continue
        word = "complete" if found.complete else "not complete"
        if found.stopped is not None:
            word = f"not understood from {found.stopped:#x} on"
        _say(f"{path}: {word}, {found.size} bytes, {found.elements} elements")
        for problem in found.problems:
            _say(f"  {problem}")
        for channel in channels:
            _say(f"{channel['file']}: complete, {channel['size']} bytes, {channel['kind']}")
    return code


def _digest(options: Namespace) -> int:
    """Print one hash per stream.

    It is equal when a guest would see the same state.
    """
    from migmatrix.vmstate.view.digest import digest  # noqa: PLC0415 - see the rule above

    found: dict[str, str] = {}
    for path, _, stream, _ in _streams(options):
        if code := _answerable(stream, path):
            return code
        found[path] = digest(stream)
    if options.json:
        _say(json.dumps(found))
        return 0
    for name, value in found.items():
        _say(f"{value}  {name}")
    return 0


def _accept(options: Namespace) -> int:
    """Say whether a build's loader takes a stream."""
    from migmatrix.harness.streams.accept import EXIT_CODES, accept_file  # noqa: PLC0415 - see the rule above

    found = accept_file(options.first, options.by, options.release)
    if options.json:
        reasons = [{s: getattr(r, s) for s in r.__match_args__} for r in found.reasons]
        answer = {"file": options.first, "by": options.by, "answer": found.answer, "reasons": reasons}
        _say(json.dumps(answer))
        return EXIT_CODES[found.answer]
    does = {"takes": "takes it", "refuses": "refuses it", "may": "may refuse it"}[found.answer]
    _say(f"{options.first}: the loader of {options.by} {does}")
    for refusal in found.reasons:
        _say(f"  {_reason(refusal)}")
    return EXIT_CODES[found.answer]


def _reason(refusal: Refusal) -> str:
    place = f"{refusal.section}#{refusal.instance} {refusal.field}".rstrip()
    at = "" if refusal.offset < 0 else f" at {refusal.offset:#x}"
    return f"{'certain' if refusal.certain else 'possible':<8}  {place}{at}: {refusal.message}"


def _static(options: Namespace) -> int:
    """Compare two builds' -dump-vmstate output.

    Would the second build read what the first one sends? Lines say "breaks" (each stream with this section fails),
    "may" (it depends on what the files do not tell) and, with --notes, "note" (no byte changes).
    """
    from migmatrix.harness.streams.accept import static_check_files  # noqa: PLC0415 - see the rule above

    all_found = static_check_files(options.source, options.destination)
    found = [f for f in all_found if options.notes or f.certainty != "note"]
    if options.json:
        _say(json.dumps([{s: getattr(f, s) for s in f.__slots__} for f in found]))
    else:
        for finding in found:
            place = dict.fromkeys((finding.device, finding.description, finding.field))
            _say(f"{finding.certainty:<6}  {' '.join(filter(None, place))}: {finding.message}")
        _say(_counted("finding", len(found), "note", len(all_found) - len(found)))
    certainties = {f.certainty for f in found}
    return (
        _INVALID if "breaks" in certainties else ExitCode.INCOMPLETE if "may" in certainties else ExitCode.OK
    )


_SOME: Final = ("--section", "--device")
_COMMANDS: Final[dict[str, tuple[Callable[[Namespace], int], tuple[str, ...]]]] = {
    "show": (
        _show,
        (
            *("files", "--offset", "--like", "--channel", *_SOME, "--fields", "--description"),
            *("--full", "--pages", "--page", "--extract", "--json"),
        ),
    ),
    "diff": (
        _diff,
        ("first", "second", "--offset", *_SOME, "--no-pages", "--which-pages", "--volatile", "--json"),
    ),
    "check": (_check, ("files", "--offset", "--like", "--channel", "--json")),
    "digest": (_digest, ("files", "--offset", "--like", "--channel", "--json")),
    "static": (_static, ("source", "destination", "--notes", "--json")),
    "accept": (_accept, ("first", "--by", "--release", "--json")),
}
COMMANDS: Final = tuple(_COMMANDS)
