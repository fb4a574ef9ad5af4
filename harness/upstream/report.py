# SPDX-License-Identifier: Apache-2.0
"""`migmatrix explain --report`, from a failure's name to the page and the script; on one screen.

A failure that does not come again has no page: `Report.document` is None, and `why_not` says what came instead.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from migmatrix.harness.builds.prober import container_images
from migmatrix.harness.explore.migratable import without_option
from migmatrix.harness.explore.reproduce import Recipe, promise_script, script, told_otherwise
from migmatrix.harness.files import PUBLIC, write_whole
from migmatrix.harness.run.opening import opened, silent
from migmatrix.harness.run.runner import Settings
from migmatrix.harness.trials.runner import TrialRunner
from migmatrix.harness.upstream.facts import Facts, gather
from migmatrix.harness.upstream.page import page
from migmatrix.harness.upstream.promise import ask, is_promise, promise_page, promise_title, states_of
from migmatrix.harness.upstream.render import markdown, plain_text
from migmatrix.harness.upstream.shown import Shown, show, show_promise
from migmatrix.harness.upstream.sources import Sources, compare, described, parse
from migmatrix.harness.upstream.title import subject as device_of
from migmatrix.harness.upstream.title import title

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.explain.row import Budget
    from migmatrix.harness.model import Cause
    from migmatrix.harness.trials.records import Attempt
    from migmatrix.harness.upstream.document import Document
    from migmatrix.harness.upstream.finding import Subject
    from migmatrix.harness.upstream.sources import Described, Trees

__all__ = ["Report", "make_report", "no_script"]

_PAIR = 2
_EXECUTABLE = 0o755


@dataclass(frozen=True, slots=True)
class Report:
    """A page and its script; `script` is empty where none can be made, and `why_not` says why."""

    name: str
    document: Document | None
    script: str
    shown: Shown | None
    why_not: str = ""

    @property
    def proved(self) -> bool:
        """Whether the script without migmatrix shows the failure."""
        return self.shown is not None and self.shown.same

    def keep(self, directory: Path) -> list[Path]:
        """Write text, Markdown and script, each named after the failure; their paths."""
        directory.mkdir(parents=True, exist_ok=True)
        texts = {"sh": self.script}
        if self.document is not None:
            texts |= {"txt": plain_text(self.document), "md": markdown(self.document)}
        paths = {directory / f"{self.name}.{end}": text for end, text in texts.items() if text}
        for path, text in paths.items():
            write_whole(path, text.encode(), _EXECUTABLE if path.suffix == ".sh" else PUBLIC)
        return list(paths)

    def to_json(self) -> dict[str, Any]:
        """For programs: both texts, the script, and what it did."""
        return {
            "format": 1,
            "name": self.name,
            "title": self.document.title if self.document else "",
            "proved": self.proved,
            "why_not": self.why_not,
            "script": self.script,
            "status": self.shown.status if self.shown else None,
            "output": self.shown.output if self.shown else "",
            "text": plain_text(self.document) if self.document else "",
            "markdown": markdown(self.document) if self.document else "",
        }


async def make_report(
    subject: Subject,
    jobs: int,
    budget: Budget,
    log: Callable[[str], None],
    sources: Sequence[str] = (),
    tell: Callable[[str], None] = silent,
) -> Report:
    """Run a failure, explain it, run its script, and write it down; InfrastructureError when the host fails.

    `sources` are ``BUILD=DIR``, where the sources of builds are; UserError for another build or no directory. `tell` is told
    when they say nothing.
    """
    trees = parse(sources, subject.origin.builds)
    settings = Settings(jobs, subject.origin.deadlines, subject.origin.retries)
    async with opened(None, settings, log) as where:
        if is_promise(subject.trial):
            return await _promise(TrialRunner(subject.origin.builds, where, log), subject, trees, tell)
        facts = await gather(TrialRunner(subject.origin.builds, where, log), subject, budget)
    if facts.attempt is None:
        return Report(subject.name, None, "", None, _not_again(subject, facts))
    recipe, why_not = _recipe(subject, facts.attempt), no_script(facts.attempt)
    text = "" if why_not else script(recipe)
    shown = await show(text, recipe, facts.attempt.result) if text else None
    compared = await asyncio.to_thread(_sources, trees, recipe, facts.attempt.result.cause)
    if trees and compared is None:
        both = " and ".join(dict.fromkeys((recipe.source.id, recipe.destination.id)))
        tell(f"--sources is not used: want a tree of {both}")
    return Report(subject.name, page(facts, recipe, shown, compared, why_not), text, shown, why_not)


def _sources(trees: Trees, recipe: Recipe, cause: Cause | None) -> Sources | None:
    """What the trees of both builds say of the failing state and of the device; None without a tree of each."""
    here, there = (trees.get(build.id) for build in (recipe.source, recipe.destination))
    if here is None or there is None:
        return None
    state = cause.device.rpartition("/")[2] if cause else ""
    names = tuple(dict.fromkeys(filter(None, (state, device_of(recipe.arguments, cause)))))
    return Sources(names, tuple(compare(names, here, there)))


async def _promise(
    runner: TrialRunner, subject: Subject, trees: Trees, tell: Callable[[str], None]
) -> Report:
    """The report of a build whose ``-only-migratable`` says another thing than its migration does."""
    answers = await ask(runner, subject.trial)
    if not answers.untrue:
        return Report(subject.name, None, "", None, f"{subject.signature!r} did not come again: both agree")
    build = _by_name(subject.origin.builds[answers.build])
    bare = without_option(subject.trial)
    recipe = Recipe("", subject.name, build, build, bare.machine, bare.arguments, "")
    recipe = replace(recipe, title=promise_title(recipe, answers))
    text = promise_script(recipe)
    shown = await show_promise(text, recipe)
    marked = await asyncio.to_thread(_marked, trees, states_of(recipe, answers))
    if trees and not any(marked.values()):
        tell("--sources is not used: no tree describes a state of this device under its name")
    return Report(subject.name, promise_page(recipe, answers, shown, marked), text, shown)


def _marked(trees: Trees, names: Sequence[str]) -> dict[str, list[tuple[str, Described]]]:
    """Of each tree the descriptions with these names, and of their parts."""
    return {
        build: [(name, part) for name, parts in described(tree, names).items() for part in parts]
        for build, tree in trees.items()
    }


def _not_again(subject: Subject, facts: Facts) -> str:
    result = facts.first.result
    again = f"{result.verdict.value} {result.signature or ''}".strip()
    return f"{subject.signature!r} did not come again: run again it is {again!r}"


def _recipe(subject: Subject, attempt: Attempt) -> Recipe:
    trial, builds = attempt.trial, subject.origin.builds
    source, destination = (
        _by_name(told_otherwise(builds[step.build], step)) for step in (trial.path[0], trial.path[-1])
    )
    stage = str(attempt.result.stage or "")
    bare = Recipe("", subject.name, source, destination, trial.machine, trial.arguments, stage)
    return Recipe(
        title(bare, attempt.result), subject.name, source, destination, trial.machine, trial.arguments, stage
    )


def _by_name(build: PreparedBuild) -> PreparedBuild:
    """The build with its image's name instead of its id, which nobody can read."""
    if not build.image:
        return build
    with container_images() as images:
        return replace(build, image=images.name_of(build.image))


def no_script(attempt: Attempt) -> str:
    """Why a script cannot show it; empty when it can."""
    trial = attempt.trial
    if trial.mode.live:
        return f"mode {trial.mode.name!r} is live, and a script migrates by a file"
    if len(trial.path) > _PAIR:
        return f"it needs a chain of {len(trial.path)} builds, and a script has two"
    if trial.guest.kind != "paused":
        return f"guest {trial.guest.name!r} runs, and a script's does not"
    return ""
