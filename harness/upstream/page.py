# SPDX-License-Identifier: Apache-2.0
"""The report of one failure as a document: what was run, what it showed, and what follows from it as far as it was proved.

Each function makes one part of the page from `Facts`; a part without anything to say says that. Nothing is run here.
"""

from __future__ import annotations

import re
import shlex
from string import ascii_lowercase
from typing import TYPE_CHECKING

from migmatrix.harness import __version__
from migmatrix.harness.explore.reproduce import command_line
from migmatrix.harness.judge.classify import signal_name
from migmatrix.harness.model import Stage, Verdict
from migmatrix.harness.upstream.age import first_bad
from migmatrix.harness.upstream.document import Attached, Document, Items, Part, Table, Text, Verbatim
from migmatrix.harness.upstream.layouts import layout_differences
from migmatrix.harness.upstream.sections import read
from migmatrix.harness.upstream.title import title

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.explain.records import Explanation
    from migmatrix.harness.explore.reproduce import Recipe
    from migmatrix.harness.model import Cause, CellResult
    from migmatrix.harness.upstream.document import Block
    from migmatrix.harness.upstream.facts import Facts
    from migmatrix.harness.upstream.sections import Bytes
    from migmatrix.harness.upstream.shown import Shown
    from migmatrix.harness.upstream.sources import Sources

__all__ = ["PUBLIC_RECORD", "page", "versions"]

_PASS = Verdict.PASS.value
PUBLIC_RECORD = (
    "Not looked for: migmatrix does not search. Look for the title and the words above before this is sent."
)
_VARIES = ", not each time"
_OURS = re.compile(
    r"terminating on signal \d+ from pid \d+"
)  # of an emulator that was ended when it had done its work
_OUTPUT = 4000  # characters of what a script or an emulator printed


def page(
    facts: Facts, recipe: Recipe, shown: Shown | None, sources: Sources | None, why_not: str = ""
) -> Document:
    """The page of a failure that came again; `why_not` says why there is no script where `shown` is None."""
    assert facts.attempt is not None  # noqa: S101 - the caller's promise
    assert facts.explanation is not None  # noqa: S101 - comes with it
    result, explanation = facts.attempt.result, facts.explanation
    bytes_, problem = read(facts.streams, result.cause) if result.cause else (None, "")
    return Document(
        title(recipe, result),
        (
            Part("Versions", (versions(recipe),)),
            Part("Reproducer", tuple(_reproducer(recipe, result, shown, why_not))),
            Part("Expected", (Text(_expected(recipe, result)),)),
            Part("Seen", tuple(_seen(facts, result))),
            Part("Bytes", tuple(_bytes(bytes_, result, problem))),
            Part("Descriptions", tuple(_descriptions(facts, bytes_))),
            Part("Sources", tuple(_sources(sources))),
            Part("What passes", tuple(_passes(facts, recipe))),
            Part("First bad of the builds at hand", tuple(_first_bad(facts))),
            Part("Cause, as far as proved", tuple(_cause(facts, explanation, result.cause))),
            Part("Public record", (Text(PUBLIC_RECORD),)),
            Part("How this was made", (Text(_made(facts, explanation)),)),
        ),
    )


def versions(recipe: Recipe) -> Table:
    """Both builds; one row where they are one."""
    sides = [("source", recipe.source), ("destination", recipe.destination)]
    if recipe.source == recipe.destination:
        sides = [("both", recipe.source)]
    rows = [(role, b.facts.version, b.facts.package or "-", b.origin) for role, b in sides]
    return Table(("side", "QEMU", "package", "from"), tuple(rows))


# -- sources -----------------------------------------------------------------------------------


def _sources(sources: Sources | None) -> Iterator[Block]:
    if sources is None:
        yield Text("Not looked at: name a tree of each build with --sources BUILD=DIR.")
        return
    if not sources.found:
        yield Text(f"No description called {' or '.join(sources.names) or 'as the failure says'} is in them.")
    for one in sources.found:
        sides = (("source", one.source), ("destination", one.destination))
        rows = [
            (side, part.identifier, f"{part.file}:{part.line}") for side, parts in sides for part in parts
        ]
        yield Table(("side", one.name, "where"), tuple(rows))
        yield Items(one.lines)


# -- reproducer --------------------------------------------------------------------------------


def _reproducer(recipe: Recipe, result: CellResult, shown: Shown | None, why_not: str) -> Iterator[Block]:
    yield Text("The source, with its monitor on standard input:")
    yield Verbatim(_source_lines(recipe), "sh")
    if result.stage is not Stage.SAVE:
        yield Text("The destination:")
        incoming = ("-incoming", "exec:cat state", "-monitor", "stdio")
        yield Verbatim(command_line(recipe, recipe.destination, *incoming), "sh")
    if shown is None:
        yield Text(f"There is no script that was run: {why_not}.")
        return
    yield Attached(f"{recipe.name}.sh", _what_the_script_showed(shown, result.signature or ""))
    if shown.output.strip():
        yield Verbatim(_bounded(shown.output))


def _source_lines(recipe: Recipe) -> str:
    saving = command_line(recipe, recipe.source, "-monitor", "stdio")
    return f"printf 'migrate \"exec:cat >state\"\\nquit\\n' |\n    {saving}"


def _what_the_script_showed(shown: Shown, wanted: str) -> str:
    ended = "had to be ended" if shown.status is None else f"ended with {shown.status}"
    run = f"does both without migmatrix. It was run here and {ended}"
    if shown.same:
        return f"{run}, which is this failure. It printed:"
    seen = f"what it printed is {shown.signature!r}" if shown.signature else "its words are not known"
    return f"{run}. It does NOT show this failure ({wanted}): {seen}. It printed:"


def _expected(recipe: Recipe, result: CellResult) -> str:
    if result.verdict is Verdict.BLOCKED:
        return (
            "The machine migrates. The build says that it cannot, which is its right: see -only-migratable."
        )
    machine = f"both have the machine type {recipe.machine} and the same command line"
    if recipe.source.id == recipe.destination.id:
        return "A build saves this machine, and loads what it saved itself."
    if result.stage is Stage.SAVE:
        return "The source saves this machine, or refuses to with a reason."
    return f"The destination takes the state: {machine}."


def _seen(facts: Facts, result: CellResult) -> Iterator[Block]:
    yield Text(f"At {result.stage or 'an unknown stage'}: {_message(result)}")
    for emulator in facts.said:
        words = "\n".join(line for line in emulator.stderr.splitlines() if not _OURS.search(line)).strip("\n")
        if words or emulator.exit is not None:
            ended = "" if emulator.exit is None else f", {_end(emulator.exit)}"
            yield Text(f"{emulator.version} as {emulator.role}{ended}{':' if words else ', without a word'}")
        if words:
            yield Verbatim(_bounded(words))


def _end(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"ended by {signal_name(-status)}"


def _message(result: CellResult) -> str:
    return result.cause.message if result.cause else result.reason


# -- bytes and descriptions --------------------------------------------------------------------


def _bytes(found: Bytes | None, result: CellResult, problem: str) -> Iterator[Block]:
    if found is None:
        yield Text(_no_bytes(result, problem))
        return
    yield Text(
        f"Section {found.section}, hexadecimal; offsets count from its first byte behind the section's header. The"
        " destination's are what it saves itself of the same machine and command line."
    )
    for role, side in (("source", found.source), ("destination", found.destination)):
        if side is None:
            yield Text(f"{role}: it has no such section.")
        else:
            yield Text(f"{role}, version {side.version}, {len(side.raw)} bytes:")
            yield Verbatim("\n".join(found.dump(side)))
    if found.fields:
        rows = tuple((row.name, row.source, row.destination) for row in found.fields)
        yield Text("Fields that differ, as offset+size: bytes")
        yield Table(("field", "source", "destination"), rows)
    elif found.source and found.destination:
        yield Text("No field of it differs.")
    if found.more:
        yield Text(f"{found.more} more fields differ.")


def _no_bytes(result: CellResult, problem: str) -> str:
    if problem:
        return f"A stream could not be read: {problem}"
    if result.stage is not Stage.LOAD:
        return "There is no stream to look into."
    return "The failure names no section of the stream."


def _descriptions(facts: Facts, found: Bytes | None) -> Iterator[Block]:
    sides = (found.source, found.destination) if found else (None, None)
    lines = layout_differences(*(side.description if side else None for side in sides))
    if lines:
        yield Text("What the two streams' own descriptions of this section say:")
        yield Items(lines)
    elif all(side is not None and side.description is not None for side in sides):
        yield Text("The two streams' own descriptions of this section are the same.")
    static = facts.static
    for name, seen in (("-dump-vmstate", static.schemas), ("Compat tables", static.tables)) if static else ():
        yield Text(
            f"{name} of both builds{', about this device:' if seen else ': no difference for this device.'}"
        )
        if seen:
            yield Items(seen)
    if static is None and not lines:
        yield Text("They were not compared: the failure is no load, or names no device.")


# -- what passes -------------------------------------------------------------------------------


def _passes(facts: Facts, recipe: Recipe) -> Iterator[Block]:
    yield Text(
        "All pairs of the builds at hand with this command line, run three times; rows save, columns load:"
    )
    yield from _pairs(facts)
    others = {m: r for m, r in (facts.elsewhere or {}).items() if m != recipe.machine}
    if others:
        yield Text("The same two builds on other machine types:")
        yield Items(tuple(f"{machine}: {_verdict(result)}" for machine, result in others.items()))
    if facts.near is None:
        yield Text("No command line that is nearly the same was seen to pass.")
    else:
        yield Text("The nearest command line that was seen to pass between the two:")
        words = (f"-machine {facts.near.trial.machine}", shlex.join(facts.near.trial.arguments))
        yield Verbatim(" ".join(filter(None, words)))


def _pairs(facts: Facts) -> Iterator[Block]:
    """A table of one letter for each way to fail, and what the letters mean."""
    pairs = facts.pairs or {}
    ids = [id_ for id_ in facts.by_age if any(id_ in pair for pair in pairs)]
    names = [_name(facts.builds[id_], facts) for id_ in ids]
    words = {
        pair: f"{_verdict(result)}{_VARIES if pair in facts.varying else ''}"
        for pair, result in pairs.items()
    }
    others = sorted(set(words.values()) - {_PASS})
    short = {
        _PASS: _PASS,
        **{word: f"[{letter}]" for letter, word in zip(ascii_lowercase, others, strict=False)},
    }
    rows = [
        (name, *(short.get(words[id_, other], "other") for other in ids))
        for id_, name in zip(ids, names, strict=True)
    ]
    yield Table(("", *names), tuple(rows))
    if others:
        yield Items(tuple(f"{short.get(word, 'other')} {word}" for word in others))


def _first_bad(facts: Facts) -> Iterator[Block]:
    if facts.varying:
        yield Text(
            f"{len(facts.varying)} of {len(facts.pairs or ())} pairs did not give the same each time: it depends on more"
            " than the versions, and what passed may fail. The first time it was:"
        )
    yield Items(first_bad(facts))


def _name(build: PreparedBuild, facts: Facts) -> str:
    """Its version, with its id where two builds have one version."""
    version = build.facts.version
    alike = sum(other.facts.version == version for other in facts.builds.values())
    return version if alike == 1 else f"{version} {build.id}"


def _verdict(result: CellResult) -> str:
    signature = result.signature if result.verdict is not Verdict.PASS else ""
    return f"{result.verdict.value}{f' ({signature})' if signature else ''}"


# -- cause -------------------------------------------------------------------------------------


def _cause(facts: Facts, explanation: Explanation, cause: Cause | None) -> Iterator[Block]:
    fix = explanation.fix
    proved = fix.repairable or explanation.cures or explanation.told
    yield Text(fix.summary if proved else f"Not known beyond what is above. {_capital(fix.summary)}.")
    named = (
        ("guest that runs already", fix.stuck_guest),
        ("new guests", fix.new_guests),
        ("line of a compat table", fix.compat),
    )
    lines = [f"{name}: {text}" for name, text in named if text]
    lines += [f"{remedy.side}: {remedy.why}" for remedy in explanation.remedies]
    lines += [] if facts.varying else list(fix.caveats)  # they tell of neighbours that passed once
    if lines:
        yield Items(tuple(lines))
    if cause is not None and cause.kind == "unclassified":
        yield Text("The emulator's words are not known to migmatrix.")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _made(facts: Facts, explanation: Explanation) -> str:
    assert facts.attempt is not None  # noqa: S101 - see `page`
    note = explanation.reproducer.note
    return (
        f"By migmatrix {__version__}, explain --report, from runs of the builds named above, nothing from"
        f" versions alone: {explanation.hops} legs. Guest: {facts.attempt.trial.guest.name}, mode:"
        f" {facts.attempt.trial.mode.name}.{f' {_capital(note)}.' if note else ''}"
    )


def _bounded(text: str) -> str:
    text = text.strip("\n")
    return text if len(text) <= _OUTPUT else f"{text[:_OUTPUT]}\n... ({len(text)} characters in all)"
