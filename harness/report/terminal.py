# SPDX-License-Identifier: Apache-2.0
"""The end of a run on a terminal: the answer first, then the problems, largest first.

Foreign text is never read as rich markup and holds no escape sequences; commands are never wrapped,
so that they can be copied. Plain text results when the console is not a terminal.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rich.text import Text

from migmatrix.harness.model import Cause, Outcome
from migmatrix.harness.report.answer import Ship
from migmatrix.harness.report.chains import ChainKind, chain_findings
from migmatrix.harness.report.courses import describe_unlike
from migmatrix.harness.report.data import Group, RunReport, Section
from migmatrix.harness.report.text import duration, one_line, plural
from migmatrix.harness.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from migmatrix.harness.report.problems import Variant

__all__ = [
    "OWN",
    "describe_cause",
    "describe_problem",
    "group_lines",
    "render_terminal",
    "spread",
    "variant_name",
    "variants",
]

OWN = "problems that a build has with itself too, largest first"

_GROUPS = 10  # more than that is no first screen; the rest is in report.html
_NAMES = 3
_DROPPED = 3
_VARIANTS = 6
_MESSAGE = 240
_UNTESTED = 5
_STYLES = {
    Ship.YES: "bold green",
    Ship.NO: "bold red",
    Ship.UNKNOWN: "bold yellow",
    Ship.CLEAN: "bold green",
}
_SECTIONS = (
    (Section.PROBLEM, "problems, largest first", "red"),
    (Section.FLAKY, "flaky: the same legs gave two answers", "yellow"),
    (Section.INFRASTRUCTURE, "host and engine failures (not the product's)", "yellow"),
    (Section.KNOWN, "known issues", "default"),
    (Section.FIXED, "known issues that no longer fail", "green"),
)
_BAD = (Outcome.REGRESSION, Outcome.WRONG_FAILURE, Outcome.INCOMPLETE)


def render_terminal(report: RunReport, console: Console) -> None:
    """Print the summary of `report`."""
    for line in _lines(report):
        console.print(line, soft_wrap=True, highlight=False)


def _lines(report: RunReport) -> Iterator[Text]:
    yield from _answer(report)
    yield from _counts(report)
    for section, title, style in _SECTIONS:
        yield from _section(report, report.groups(section), title, style)
    yield from _untested(report)
    yield from _noted(report)
    yield from _unlike(report)
    yield from _chains(report)
    yield from _notes(report)


def _answer(report: RunReport) -> Iterator[Text]:
    answer = report.answer()
    yield Text.assemble((answer.headline, _STYLES[answer.ship]), f": {answer.sentence}")
    for limit in answer.limits:
        yield Text.assemble(("  but: ", "yellow"), visible(limit))


def _counts(report: RunReport) -> Iterator[Text]:
    verdicts = ", ".join(f"{n:,} {v}" for v, n in sorted(report.verdicts().items()))
    outcomes = [(f"{n:,} {o}", "red" if o in _BAD else "") for o, n in sorted(report.outcomes().items())]
    yield Text(f"  cells    {len(report.results):,} of {report.cells_planned:,}: {verdicts}")
    yield Text.assemble("  outcome  ", Text(", ").join(Text(*pair) for pair in outcomes))
    legs = report.legs
    yield Text(f"  legs     {legs.executed:,} run, {legs.reused:,} reused, {duration(report.seconds)}")
    if report.run_dir:
        yield Text(f"  report   {visible(report.run_dir)}/report.html")


def _section(report: RunReport, groups: list[Group], title: str, style: str) -> Iterator[Text]:
    if not groups:
        return
    yield Text()
    heading = ""
    for number, found in enumerate(groups[:_GROUPS], start=1):
        if heading != (wanted := OWN if found.own else title):
            heading = wanted
            yield Text(heading, "bold")
        yield from group_lines(number, found, report.named(found.smallest.cell), style)
    if len(groups) > _GROUPS:
        yield Text(f"  and {len(groups) - _GROUPS:,} more, in report.html")


def group_lines(number: int, found: Group, smallest: str, style: str = "") -> Iterator[Text]:
    """A problem in few lines; `smallest` is the name of its smallest cell."""
    title = describe_problem(found)
    yield Text.assemble(f"{number:>3}. ", (plural(found.cells, "cell"), style), f"  {title}")
    if found.cause is not None and found.cause.message:
        yield Text(f"     {one_line(found.cause.message, _MESSAGE)}", "dim")
    if len(found.variants) > 1:
        yield Text(f"     {variants(found)}")
    yield Text(f"     {spread(found)}")
    yield Text(f"     smallest: {visible(smallest)}")
    yield Text(f"     repeat:   {visible(found.command)}")


def describe_cause(cause: Cause | None) -> str:
    """Kind, device and field on one line, or nothing."""
    if cause is None:
        return ""
    return visible(" · ".join(part for part in (cause.kind, cause.device, cause.field) if part))


def describe_problem(found: Group) -> str:
    """Kind, device and field of a problem on one line; of several devices the field stays and the list follows."""
    cause = found.cause
    if cause is not None and len(found.variants) > 1:
        cause = replace(cause, device="")
    return describe_cause(cause) or visible(found.key)


def variants(found: Group) -> str:
    """The signatures of a problem that has several: ``3 variants: virtio-net (288), virtio-blk (192), ...``."""
    names = [f"{variant_name(one)} ({one.cells:,})" for one in found.variants]
    shown = ", ".join(names[:_VARIANTS])
    rest = f" and {len(names) - _VARIANTS:,} more" if len(names) > _VARIANTS else ""
    return visible(f"{plural(len(names), 'variant')}: {shown}{rest}")


def variant_name(variant: Variant) -> str:
    """What its signature adds to the kind and the field that all variants have, such as the device; else all of it."""
    said, cause = variant.signature or "", variant.cause
    rest = said.removeprefix(cause.kind).removesuffix(cause.field).strip() if cause else ""
    return rest or said


def spread(found: Group) -> str:
    """How far a problem reaches: machines, profiles, routes; the first few of each by name."""
    routes = tuple(">".join(route) for route in found.routes)
    parts = (
        _few(found.machines, "machine"),
        _few(found.profiles, "profile"),
        _few(routes, "route"),
    )
    return visible("; ".join(parts))


def _few(names: tuple[str, ...], word: str) -> str:
    shown = ", ".join(names[:_NAMES])
    rest = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
    return visible(f"{plural(len(names), word)} ({shown}{rest})")


def _untested(report: RunReport) -> Iterator[Text]:
    found = report.untested()
    if found:
        yield Text()
        yield Text("not tested", "bold")
    for one in found[:_UNTESTED]:
        what = f"{plural(one.cells, 'cell')} {one.verdict}"
        yield Text(f"     {what}: {one_line(one.reason, _MESSAGE)}; {_few(one.profiles, 'profile')}")
    if len(found) > _UNTESTED:
        rest = sum(one.cells for one in found[_UNTESTED:])
        more = plural(len(found) - _UNTESTED, "more reason")
        yield Text(f"     {plural(rest, 'cell')} for {more}, in report.html")


def _noted(report: RunReport) -> Iterator[Text]:
    found = report.noted()
    if found:
        yield Text()
        yield Text("passed, though the sides are told different things", "bold")
    for one in found[:_UNTESTED]:
        yield Text(f"     {plural(one.cells, 'cell')}: {one_line(one.text, _MESSAGE)}")
    if len(found) > _UNTESTED:
        yield Text(f"     and {plural(len(found) - _UNTESTED, 'more note')}, in report.html")


def _unlike(report: RunReport) -> Iterator[Text]:
    found = report.unlike()
    if found:
        yield Text()
        yield Text("statuses and events that not all builds have", "bold")
    yield from (Text(f"     {visible(describe_unlike(one))}") for one in found[:_UNTESTED])
    if len(found) > _UNTESTED:
        yield Text(f"     and {len(found) - _UNTESTED:,} more, in report.html")


def _chains(report: RunReport) -> Iterator[Text]:
    findings = [f for f in chain_findings(report.results) if f.kind is ChainKind.BROKEN]
    if not findings:
        return
    cells = sum(f.cells for f in findings)
    yield Text()
    yield Text("chains that fail although each step passes alone", "bold")
    for found in findings[:_NAMES]:
        yield Text(f"     {plural(found.cells, 'cell')}  {visible('>'.join(found.path))}")
    yield Text(f"     {plural(cells, 'cell')} on {plural(len(findings), 'path')} in all")


def _notes(report: RunReport) -> Iterator[Text]:
    notes = [f"known issue {n.id!r} is {n.state}" for n in report.known_issues if n.state != "active"]
    notes += _dropped(report)
    if notes:
        yield Text()
    for note in notes:
        yield Text(visible(note))


def _dropped(report: RunReport) -> Iterator[str]:
    """Yield the largest of what was left out, and how much that is in all."""
    dropped = sorted(report.dropped, key=lambda d: -d.count)
    for entry in dropped[:_DROPPED]:
        yield f"{plural(entry.count, 'cell')} left out of the plan: {entry.what}: {entry.reason}"
    if len(dropped) > _DROPPED:
        total = plural(sum(d.count for d in dropped), "cell")
        yield f"{total} left out in all, the other reasons are in report.html"
