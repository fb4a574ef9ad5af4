# SPDX-License-Identifier: Apache-2.0
"""The report of a build whose ``-only-migratable`` says another thing than its migration does.

An emulator with this option refuses to start what it cannot migrate. Each build at hand is asked twice: does the machine
start with the option, and does it migrate to itself without. The script asks the two questions of one build.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from migmatrix.harness import __version__
from migmatrix.harness.explore.migratable import OPTION, told, untrue, with_option, without_option
from migmatrix.harness.explore.reproduce import command_line
from migmatrix.harness.releases import version_key
from migmatrix.harness.trials.records import Step
from migmatrix.harness.upstream.document import Attached, Document, Part, Table, Text, Verbatim
from migmatrix.harness.upstream.page import PUBLIC_RECORD, versions
from migmatrix.harness.upstream.title import subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migmatrix.harness.explore.reproduce import Recipe
    from migmatrix.harness.trials.records import Attempt, Trial
    from migmatrix.harness.trials.runner import TrialRunner
    from migmatrix.harness.upstream.shown import Shown
    from migmatrix.harness.upstream.sources import Described

    Marked = Mapping[str, Sequence[tuple[str, Described]]]

__all__ = ["Answers", "ask", "is_promise", "promise_page", "promise_title", "states_of"]


@dataclass(frozen=True, slots=True)
class Answers:
    """Of each build, oldest first, what it does without the option and with it; `build` is the finding's."""

    build: str
    of: dict[str, tuple[Attempt, Attempt]]

    @property
    def mine(self) -> tuple[Attempt, Attempt]:
        """The finding's build's."""
        return self.of[self.build]

    @property
    def untrue(self) -> bool:
        """Whether the finding's build still says another thing."""
        return untrue(*self.mine)


def is_promise(trial: Trial) -> bool:
    """Whether a finding's command line asks for it."""
    return OPTION in trial.arguments


async def ask(runner: TrialRunner, trial: Trial) -> Answers:
    """Ask every build that knows the machine."""
    bare = without_option(trial)
    known = [b for b in runner.builds.values() if b.facts.knows_machine(trial.machine)]
    ids = [b.id for b in sorted(known, key=lambda b: (version_key(b.facts.version), b.id))]
    plain = [replace(bare, path=(Step(id_), Step(id_))) for id_ in ids]
    first, second = (
        await runner.run("without", plain),
        await runner.run("with", list(map(with_option, plain))),
    )
    return Answers(trial.path[0].build, dict(zip(ids, zip(first, second, strict=True), strict=True)))


def promise_title(recipe: Recipe, answers: Answers) -> str:
    """Subject, version, and which of the two is untrue."""
    plain, asked = answers.mine
    what = (
        f"starts with {OPTION}, and does not migrate"
        if not plain.passed
        else f"migrates, and {OPTION} refuses it"
    )
    return f"{subject(recipe.arguments, asked.result.cause)}: {recipe.source.facts.version} {what}"


def states_of(recipe: Recipe, answers: Answers) -> tuple[str, ...]:
    """What the state that is to blame may be called: as the emulator says, and as its device."""
    causes = [attempt.result.cause for attempt in answers.mine]
    named = (cause.device.rpartition("/")[2] for cause in causes if cause)
    devices = (subject(recipe.arguments, cause) for cause in causes)
    return tuple(dict.fromkeys(filter(None, (*named, *devices))))


def promise_page(recipe: Recipe, answers: Answers, shown: Shown, marked: Marked | None = None) -> Document:
    """The page; of builds that agree with themselves the table says so.

    `marked` has, by build whose tree was looked at, the descriptions of the device's states with their names.
    """
    how = f"By migmatrix {__version__}, explain --report, from runs of the builds named above."
    return Document(
        promise_title(recipe, answers),
        (
            Part("Versions", (versions(recipe),)),
            Part("Reproducer", _reproducer(recipe, shown)),
            Part("Expected", (Text(f"A machine starts with {OPTION} if, and only if, it migrates."),)),
            Part("Seen", (Text(f"It {told(*answers.mine)}"),)),
            Part("All builds at hand", (_table(answers),)),
            Part("Sources", (_sources(states_of(recipe, answers), marked),)),
            Part("Cause, as far as proved", (Text("Not known beyond what is above."),)),
            Part("Public record", (Text(PUBLIC_RECORD),)),
            Part("How this was made", (Text(how),)),
        ),
    )


def _reproducer(recipe: Recipe, shown: Shown) -> tuple[Text | Verbatim | Attached, ...]:
    monitor = ("-monitor", "stdio")
    lines = (
        f"echo quit |\n    {command_line(recipe, recipe.source, OPTION, *monitor)}",
        f"printf 'migrate \"exec:cat >state\"\\ninfo migrate\\nquit\\n' |\n    {command_line(recipe, recipe.source, *monitor)}",
    )
    same = "which is this failure" if shown.same else "which does NOT show this failure"
    run = f"does both without migmatrix. It was run here and ended with {shown.status}, {same}. It printed:"
    return Verbatim("\n".join(lines), "sh"), Attached(f"{recipe.name}.sh", run), Verbatim(shown.output)


def _table(answers: Answers) -> Table:
    rows = [
        (id_, _said(asked, "starts"), _said(plain, "migrates"), "no" if untrue(plain, asked) else "yes")
        for id_, (plain, asked) in answers.of.items()
    ]
    return Table(("build", f"with {OPTION}", "without", "agrees"), tuple(rows))


def _sources(names: Sequence[str], marked: Marked | None) -> Text | Table:
    """Where a tree describes the state, and whether it is marked there; what else keeps it from migrating is code."""
    if not marked:
        return Text("Not looked at: name a tree of a build with --sources BUILD=DIR.")
    rows = [
        (build, name, f"{part.file}:{part.line}", "yes" if part.unmigratable else "no")
        for build, parts in marked.items()
        for name, part in parts
    ]
    if not rows:
        return Text(f"No description called {' or '.join(names)} is in the trees of {', '.join(marked)}.")
    return Table(("build", "state", "where", "marked unmigratable"), tuple(rows))


def _said(attempt: Attempt, word: str) -> str:
    """What it does, or the words with which it does not."""
    cause = attempt.result.cause
    if attempt.passed or cause is None:
        return word if attempt.passed else attempt.result.verdict.value
    return f"{'starts; ' if word == 'starts' and attempt.result.legs and cause.kind == 'blocked' else ''}{cause.message}"
