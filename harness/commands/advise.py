# SPDX-License-Identifier: Apache-2.0
"""The commands `migmatrix advise path|fleet|features`; `harness.commands.main` registers them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from migmatrix.harness import interrupt
from migmatrix.harness.advise.advisor import open_advisor
from migmatrix.harness.advise.features import advise_features
from migmatrix.harness.advise.fleet import advise_fleet
from migmatrix.harness.advise.fleet_file import load_fleet
from migmatrix.harness.advise.path import advise_path
from migmatrix.harness.commands.options import (
    JOBS,
    MATRIX,
    BuildArgument,
    FileOption,
    GuestOption,
    JobsOption,
    JsonOption,
    LongestOption,
    MachineOption,
    ModeOption,
    OtherFileOption,
    ProfileOption,
    RunArgument,
    SecondArgument,
    StoreOption,
    VerboseOption,
    log,
    logger,
    say,
    say_json,
)
from migmatrix.harness.errors import ExitCode, UserError
from migmatrix.harness.run.definition import Origin
from migmatrix.harness.run.opening import store_directory
from migmatrix.harness.run.pipeline import RunOptions, prepare_plan
from migmatrix.harness.stored.reports import open_run
from migmatrix.harness.trials.records import trial_of
from migmatrix.harness.trials.runner import open_trials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migmatrix.harness.advise.features import FeatureAdvice
    from migmatrix.harness.advise.fleet import FleetAdvice
    from migmatrix.harness.advise.path import PathAdvice

__all__ = ["app", "fleet_advice"]

FleetArgument = Annotated[
    Path, typer.Argument(help="file with the fleet's builds, machines and profiles", metavar="FLEET")
]

app = typer.Typer(help="Tell where guests can go.", no_args_is_help=True)


@app.command()
def path(
    run: RunArgument,
    start: Annotated[
        str, typer.Option("--from", help="build that the guest was started on", metavar="BUILD")
    ],
    machine: MachineOption,
    profile: ProfileOption,
    goal: Annotated[
        str | None,
        typer.Option("--to", help="build to reach; default every build of the run", metavar="BUILD"),
    ] = None,
    via: Annotated[
        list[str] | None, typer.Option("--via", help="go through this build; repeat", metavar="BUILD")
    ] = None,
    longest: LongestOption = 3,
    mode: ModeOption = "",
    guest: GuestOption = "",
    file: OtherFileOption = None,
    store: StoreOption = None,
    jobs: JobsOption = JOBS,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find the shortest path that passes.

    Every leg is run as part of that chain, with the settings that it needs. Exit 0 when there is one, 1 when there
    is none.
    """

    async def advised() -> list[PathAdvice]:
        with open_run(run) as opened:
            async with open_advisor(
                opened, file, store_directory(store), jobs, logger(verbose=verbose)
            ) as advisor:
                goals = (
                    [advisor.build(goal)] if goal else [b for b in advisor.verdicts.base_builds if b != start]
                )
                names = [advisor.build(name) for name in via or ()]
                return [
                    await advise_path(
                        advisor.routes(machine, profile, mode, guest),
                        advisor.prove,
                        advisor.build(start),
                        to,
                        via=names,
                        longest=longest,
                    )
                    for to in goals
                ]

    found = interrupt.run(advised())
    _answer(found, [one.to_json() for one in found], passes=all(one.found for one in found), as_json=as_json)


@app.command()
def fleet(
    builds: FleetArgument,
    run: RunArgument,
    longest: LongestOption = 3,
    file: OtherFileOption = None,
    store: StoreOption = None,
    jobs: JobsOption = JOBS,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Plan the upgrade of a fleet.

    Print the upgrade order, ways back, stranded guests and their rescue, and machine types that end. Exit 1 when any
    guest is stranded.
    """
    advice = fleet_advice(builds, run, file, store, jobs, longest, verbose=verbose)
    _answer([advice], advice.to_json(), passes=advice.safe, as_json=as_json)


def fleet_advice(
    builds: Path,
    run: Path,
    file: Path | None,
    store: Path | None,
    jobs: int,
    longest: int = 3,
    *,
    verbose: bool = False,
) -> FleetAdvice:
    """Work out advice for a fleet from a run; UserError for a mistake in the fleet file, or builds that are not the run's."""

    async def advised() -> FleetAdvice:
        with open_run(run) as opened:
            async with open_advisor(
                opened, file, store_directory(store), jobs, logger(verbose=verbose)
            ) as advisor:
                return await advise_fleet(advisor, load_fleet(builds, advisor.verdicts), longest)

    return interrupt.run(advised())


@app.command()
def features(
    source: BuildArgument,
    destination: SecondArgument,
    machine: MachineOption,
    profile: ProfileOption,
    cpu: Annotated[
        str, typer.Option("--cpu", help="CPU model; default the build's own, then the profile's")
    ] = "",
    file: FileOption = MATRIX,
    store: StoreOption = None,
    jobs: JobsOption = JOBS,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find features that two builds share.

    Print what both sides have and what to start each with. Exit 0 when both directions pass with it, 1 when they do
    not.
    """
    where = store_directory(store)
    prepared = prepare_plan(RunOptions(file=file, store=where, paths=(f"{source}>{destination}",)), log)
    origin = Origin.of_matrix(prepared.matrix, prepared.builds)
    cell = next((c for c in prepared.plan.cells if (c.machine, c.profile) == (machine, profile)), None)
    if cell is None:
        raise UserError(f"{source!r} and {destination!r} have no {machine!r} with profile {profile!r}")

    async def advised() -> FeatureAdvice:
        async with open_trials(origin, where, jobs, logger(verbose=verbose)) as runner:
            return await advise_features(runner, trial_of(origin, cell), cpu)

    advice = interrupt.run(advised())
    _answer([advice], advice.to_json(), passes=advice.passes, as_json=as_json)


def _answer(
    advice: Sequence[PathAdvice | FleetAdvice | FeatureAdvice], data: Any, *, passes: bool, as_json: bool
) -> NoReturn:
    """Print advice, `data` being the same as JSON, and leave with its exit code."""
    if as_json:
        say_json(data)
    else:
        for one in advice:
            say("\n".join(one.render()))
    raise typer.Exit(ExitCode.OK if passes else ExitCode.REGRESSIONS)
