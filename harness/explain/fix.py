# SPDX-License-Identifier: Apache-2.0
"""What to do about a failure: the command line for a stuck guest, the compat table line, or why neither exists.

1. A guest that is already running has the source's properties: only settings of the destination can help it.
2. Without a remedy the reason is the class of the failure, followed by what was tried.
3. A cure repairs no failing build: it names what the adjacent build has that passes.
4. `tableline` makes the table line.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from migmatrix.harness.explain.records import ABSENT, VERSION, Fix, Near
from migmatrix.harness.explain.tableline import of_cure, of_remedies, release_of
from migmatrix.harness.judge.table import load_table
from migmatrix.harness.releases import version_key
from migmatrix.harness.trials.records import Side, texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.explain.records import Cure, Difference, Neighbour, Remedy, Rescue, Told
    from migmatrix.harness.explain.tableline import TableLine
    from migmatrix.harness.model import Cause, Cell

__all__ = ["Findings", "make_fix", "told_fix"]

_SENTENCES = {
    "not migratable": "{device} is declared not migratable in {side}",
    "crash": "{field} in {side} at {stage}, a defect of that build",
    "hang": "no end of {stage} within the deadline",
    "missing subsection": "{source} sends a subsection of {device} that {destination} does not know",
    "missing device": "{source} sends a section {device} that {destination} does not have",
}
_NAMES = 4  # fields that a sentence lists


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that a fix is concluded from."""

    cell: Cell
    cause: Cause
    route: tuple[str, ...]  # build ids of the reproducer
    builds: Mapping[str, PreparedBuild]
    where: Sequence[Difference]
    neighbours: Sequence[Neighbour]
    remedies: Sequence[Remedy]
    rescues: Sequence[Rescue]
    tried: int
    stage: str
    cures: Sequence[Cure] = ()
    base_types: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # types of settings and their base types
    told: tuple[Told, ...] = ()  # what the two sides are told otherwise
    rom: str = ""  # of a ROM of another size: both files, and the way out
    own: frozenset[str] = frozenset()  # properties that the builds' own arguments set
    unseen: str = ""  # why the properties of a side could not be read

    def release(self, build: str) -> tuple[int, ...]:
        """The release line of a build, (10, 0) for 10.0.13."""
        return release_of(self.builds, build)

    def version(self, build: str) -> str:
        """The emulator's own version."""
        return self.builds[build].facts.version


def told_fix(told: Sequence[Told], route: Sequence[str], like: Side) -> Fix:
    """What to do about sides that are told different things: tell both what `like` is told."""
    texts_ = "; ".join(one.text for one in told)
    side, build, other = like.value, route[0], route[-1]
    if like is Side.DESTINATION:
        build, other = other, build
    given = " ".join(
        one.source if like is Side.SOURCE else one.destination for one in told if one.what == "arguments"
    )
    arguments = f"start {other} as {build}: with {given or 'none of these arguments'}"
    set_ = "set the mode's capabilities and parameters alike on both sides"
    kinds = {one.what == "arguments" for one in told}
    todo = "; ".join(what for kind, what in ((True, arguments), (False, set_)) if kind in kinds)
    return Fix(
        repairable=False,
        reason="told differently",
        summary=f"the two sides are told different things, source against destination: {texts_};"
        f" with what the {side} is told on both sides it passes, so no version is to blame",
        stuck_guest=todo if like is Side.SOURCE else "",
        new_guests=todo if like is Side.DESTINATION else "",
    )


def make_fix(found: Findings) -> Fix:
    """The fix, or the reason why there is none by a property; no table line for sides that are told otherwise."""
    fix = _fix(found)
    if found.rom:
        fix = replace(fix, caveats=(*fix.caveats, found.rom))
    if found.told and fix.compat:
        fix = replace(fix, compat="none: the two sides are told different things")
    return fix


def _fix(found: Findings) -> Fix:
    if not found.remedies:
        return Fix(
            repairable=False,
            reason=_reason(found.cause),
            summary=f"not repairable by a property: {_summary(found)}",
            stuck_guest=_stuck(found, None) if found.cures else "",
            new_guests=_cured_guests(found),
            compat=of_cure(found.builds, found.cures[0], found.base_types, found.own) if found.cures else "",
            caveats=(*_history(found), *_cured(found)),
        )
    by_side = {remedy.side: remedy for remedy in found.remedies}
    destination, source = by_side.get(Side.DESTINATION), by_side.get(Side.SOURCE) or by_side.get(Side.BOTH)
    compat = of_remedies(
        found.builds, found.cell.machine, found.route, found.remedies, found.base_types, found.own
    )
    return Fix(
        repairable=True,
        reason="",
        summary=_healed(found, destination, source),
        stuck_guest=_stuck(found, destination),
        new_guests=f"start guests on {found.route[0]} with {texts(source.settings)}" if source else "",
        compat=compat.text,
        caveats=(*_history(found), *dict.fromkeys(_caveats(found, compat))),
    )


def _cured(found: Findings) -> Iterator[str]:
    for cure in found.cures:
        yield (
            f"{cure.side} side: {cure.build} passes because it has {cure.healthy.text}; with"
            f" {cure.broken.value!r} it fails alike, as {cure.instead_of} does, which has no such setting"
        )


def _cured_guests(found: Findings) -> str:
    source = next((c for c in found.cures if c.side is Side.SOURCE), None)
    return f"start guests on {source.build} instead of {source.instead_of}" if source else ""


def _healed(found: Findings, destination: Remedy | None, source: Remedy | None) -> str:
    if destination is not None:
        return f"{texts(destination.settings)} on {found.route[-1]} makes {'>'.join(found.route)} pass"
    assert source is not None  # noqa: S101 - one of them exists
    where = "both sides" if source.side is Side.BOTH else found.route[0]
    return (
        f"{texts(source.settings)} on {where} makes {'>'.join(found.route)} pass;"
        " no setting of the destination does, so a guest that is already running cannot migrate there"
    )


def _stuck(found: Findings, destination: Remedy | None) -> str:
    """What helps a guest that is already running on the source (rule 1)."""
    if destination is not None:
        return f"start {found.route[-1]} with {texts(destination.settings)}"
    ways = [f"{r.build} with {texts(r.settings)}" if r.settings else r.build for r in found.rescues]
    return f"it cannot go to {found.route[-1]}; it can go to {', or to '.join(ways)}" if ways else ""


def _reason(cause: Cause) -> str:
    return load_table().kind(cause.kind).class_.value


def _summary(found: Findings) -> str:
    """One sentence on the reason, then what was tried."""
    source, destination = (f"{b} ({found.version(b)})" for b in (found.route[-2], found.route[-1]))
    sentence = _sentence(found, source, destination)
    return sentence if _reason(found.cause) == "not migratable" else f"{sentence}; {_tried(found)}"


def _tried(found: Findings) -> str:
    if found.unseen:
        return f"the properties could not be read ({found.unseen})"
    if not found.tried:
        return "no settable property of the devices involved differs or shows a number of the failure"
    if found.tried == 1:
        return "1 setting was tried and does not make it pass"
    return f"{found.tried} settings were tried and none makes it pass"


def _sentence(found: Findings, source: str, destination: str) -> str:
    cause = found.cause
    device = cause.device.rpartition("/")[2] or "the machine"
    side = destination if found.stage == "load" else source
    match _reason(cause):
        case "version bump":
            sentence = f"version bump of {device}: {_versions(found, source, destination)}"
        case "layout":
            sentence = f"layout of {device}: {_layout(found, source, destination)}"
        case "value":
            sentence = _value(found, device, source, destination)
        case other:
            sentence = _SENTENCES.get(other, f"{other}: {_braced(cause.message)}").format(
                device=device, source=source, destination=destination, side=side,
                stage=found.stage, field=cause.field or "a crash",
            )  # fmt: skip
    return sentence


def _braced(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _versions(found: Findings, source: str, destination: str) -> str:
    version = next((d for d in found.where if d.blamed), None)
    if version is None:
        return f"{source} sends a version that {destination} does not read"
    sent, read = _plain(version.source), _plain(version.destination)
    return f"{source} sends version {sent}, {destination} reads up to {read}"


def _layout(found: Findings, source: str, destination: str) -> str:
    version = next((d for d in found.where if d.name == VERSION), None)
    # What only the destination has comes first: it reads that although it was not sent.
    loose = [d for d in found.where if d.name != VERSION and ABSENT in (d.source, d.destination)]
    names = [d.name for d in sorted(loose, key=lambda d: d.source != ABSENT)]
    fields = (
        f" (only one side sends: {', '.join(names[:_NAMES])}{', ...' if len(names) > _NAMES else ''})"
        if names
        else ""
    )
    if version is None:
        return f"{destination} does not consume just the bytes that {source} wrote under the same version number{fields}"
    return (
        f"{source} sends version {_plain(version.source)}; {destination}, at version"
        f" {_plain(version.destination)}, accepts it and does not consume just the bytes that were written{fields}"
    )


def _value(found: Findings, device: str, source: str, destination: str) -> str:
    if found.cause.kind in ("changed-state", "lost-state"):
        return f"{destination} takes the state of {device} that {source} sends, and not as it was: {found.cause.message}"
    blamed = next((d for d in found.where if d.blamed), None)
    if blamed is None:
        return f"{destination} refuses the state of {device} that {source} sends: {found.cause.message}"
    return (
        f"{source} sends {blamed.source} in {device} {blamed.name}, {destination} has"
        f" {blamed.destination} and refuses it"
    )


def _plain(text: str) -> str:
    """A number as people write versions."""
    return str(int(text, 16)) if text.startswith("0x") else text


def _history(found: Findings) -> Iterator[str]:
    """Which release or point release made the difference, as far as neighbours tell."""
    yield from _savers(found)
    for near in found.neighbours:
        if not (near.passes and near.kind is Near.ADJACENT and len(near.path) == len(found.route)):
            continue
        changed = [(new, old) for new, old in zip(near.path, found.route, strict=True) if new != old]
        if len(changed) == 1 and near.side is not None:
            yield _between(found, *changed[0], near.side)


def _savers(found: Findings) -> Iterator[str]:
    """Which builds fail alike when they save, and which do not."""
    savers = [n for n in found.neighbours if n.kind is Near.SAVE]
    words = (
        ("save it", ("pass",)),
        ("do not save it", ("fail", "blocked")),
        ("do not have it", ("unsupported",)),
    )
    for word, verdicts in words:
        some = [n for n in savers if n.verdict in verdicts]
        if some:
            builds = ", ".join(_build(found, n) for n in some)
            yield f"builds of this run that {word}: {builds}"


def _build(found: Findings, neighbour: Neighbour) -> str:
    build = neighbour.path[0]
    return f"{build} ({found.version(build)})"


def _between(found: Findings, passing: str, failing: str, side: Side) -> str:
    """What a neighbour that passes tells; of builds that are started otherwise nothing about releases."""
    version, other = found.version(passing), found.version(failing)
    if found.builds[passing].args != found.builds[failing].args:
        what = "the same version" if version == other else version
        return f"{side} side: with {passing}, {what} with other arguments, it passes"
    if version == other:
        return f"{side} side: with {passing}, another build of {version}, it passes"
    first, second = sorted((passing, failing), key=lambda b: version_key(found.version(b)))
    what = "point release" if found.release(first) == found.release(second) else "release"
    verb = "introduced" if first == passing else "ended"
    return (
        f"{side} side: {verb} between {found.version(first)} and {found.version(second)} (a {what} of this run:"
        f" with {passing} it passes)"
    )


def _caveats(found: Findings, compat: TableLine) -> Iterator[str]:
    for remedy in found.remedies:
        for row in remedy.breaks:
            yield f"{texts(remedy.settings)} on the {remedy.side} breaks {row.route} on {row.machine}"
        unhealed = remedy.rows_that(before=False, after=False)
        if unhealed:
            machines = ", ".join(dict.fromkeys(f"{r.route} on {r.machine}" for r in unhealed))
            yield f"with it these still do not pass: {machines}"
        for setting, owner in zip(remedy.settings, remedy.owners, strict=False):
            if owner != setting.type and owner in compat.devices:
                yield f"{setting.name} is a property of {owner}, which other device types have as well"
        if remedy.basis == "number":
            yield (
                f"{texts(remedy.settings)} makes room for what the source sends; guests started with it see"
                " the other size, so keep it to the guests that need it"
            )
