"""The commands `migmatrix advise path|fleet|features`; `harness.commands.main` registers them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migmatrix.harness.advise.advisor import open_advisor
from migmatrix.harness.advise.features import advise_features
from migmatrix.harness.advise.fleet import advise_fleet
from migmatrix.harness.advise.fleet_file import load_fleet
from migmatrix.harness.advise.path import advise_path
from migmatrix.harness.errors import ExitCode, UserError
from migmatrix.harness.run.definition import Origin
from migmatrix.harness.run.pipeline import RunOptions, prepare_plan
from migmatrix.harness.store import RunStore, default_store
from migmatrix.harness.trials.records import trial_of
from migmatrix.harness.trials.runner import open_trials

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migmatrix.harness.advise.features import FeatureAdvice
    from migmatrix.harness.advise.fleet import FleetAdvice
    from migmatrix.harness.advise.path import PathAdvice

__all__ = ["app"]

app = typer.Typer(help="Where guests can go, and with which settings.", no_args_is_help=True)

RunArgument = Annotated[Path, typer.Argument(help="run directory", metavar="RUN")]
FileOption = Annotated[Path | None, typer.Option("-f", "--file", help="matrix, if not the run's own")]
StoreOption = Annotated[Path | None, typer.Option("--store", help="hop store, shared by runs")]
JobsOption = Annotated[int, typer.Option("-j", "--jobs", min=1, help="emulators at once")]
VerboseOption = Annotated[bool, typer.Option("-v", "--verbose", help="every trial as it is run")]
JsonOption = Annotated[bool, typer.Option("--json", help="for machines")]
_CPUS = os.cpu_count() or 1


def store_of(given: Path | None) -> Path:
    """The leg store that the options mean."""
    return given if given is not None else Path(os.environ.get("MIGMATRIX_STORE") or default_store())


def logger(*, verbose: bool) -> Callable[[str], None]:
    """Where single trials are told."""
    return _log if verbose else _nothing


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def _nothing(_: str) -> None:
    """Single trials are told of with --verbose only."""


def say(text: str) -> None:
    """A line of the command's answer."""
    print(text, flush=True)  # noqa: T201


@app.command()
def path(
    run: RunArgument,
    start: Annotated[str, typer.Option("--from", help="the build that the guest was started on")],
    machine: Annotated[str, typer.Option("--machine", help="its machine type")],
    profile: Annotated[str, typer.Option("--profile", help="its profile")],
    goal: Annotated[str | None, typer.Option("--to", help="where to; default every build of the run")] = None,
    via: Annotated[list[str] | None, typer.Option("--via", help="go through this build; repeat")] = None,
    longest: Annotated[int, typer.Option("--longest", min=1, help="legs of a path at most")] = 3,
    mode: Annotated[str, typer.Option("--mode", help="default the run's first")] = "",
    guest: Annotated[str, typer.Option("--guest", help="default the run's first")] = "",
    file: FileOption = None,
    store: StoreOption = None,
    jobs: JobsOption = _CPUS,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """The shortest path whose every leg passed as that chain, with its overrides: 0 there is one, 1 there is none."""

    async def advised() -> list[PathAdvice]:
        with RunStore.open(run) as opened:
            async with open_advisor(opened, file, store_of(store), jobs, logger(verbose=verbose)) as advisor:
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

    _answer(asyncio.run(advised()), as_json=as_json)


@app.command()
def fleet(
    builds: Annotated[Path, typer.Argument(help="the fleet's builds, machines, profiles", metavar="FLEET")],
    run: RunArgument,
    longest: Annotated[int, typer.Option("--longest", min=1, help="legs of a path off the ladder")] = 3,
    file: FileOption = None,
    store: StoreOption = None,
    jobs: JobsOption = _CPUS,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Upgrade order, ways back, stranded guests and their rescue, machine types that end: 1 if any is stranded."""

    async def advised() -> FleetAdvice:
        with RunStore.open(run) as opened:
            async with open_advisor(opened, file, store_of(store), jobs, logger(verbose=verbose)) as advisor:
                return await advise_fleet(advisor, load_fleet(builds, advisor.verdicts), longest)

    advice = asyncio.run(advised())
    say(json.dumps(advice.to_json(), indent=1) if as_json else "\n".join(advice.render()))
    raise typer.Exit(ExitCode.OK if advice.safe else ExitCode.REGRESSIONS)


@app.command()
def features(
    source: Annotated[str, typer.Argument(help="a build of the matrix", metavar="SOURCE")],
    destination: Annotated[str, typer.Argument(help="another one", metavar="DESTINATION")],
    machine: Annotated[str, typer.Option("--machine", help="a machine type that both know")],
    profile: Annotated[str, typer.Option("--profile", help="the devices")],
    cpu: Annotated[
        str, typer.Option("--cpu", help="model; default the build's own, then the profile's")
    ] = "",
    matrix: Annotated[Path, typer.Option("-f", "--file", help="matrix file")] = Path("matrix.yaml"),
    store: StoreOption = None,
    jobs: JobsOption = _CPUS,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """What both sides have, and what to start each with: 0 both directions pass with it, 1 they do not."""
    prepared = prepare_plan(
        RunOptions(file=matrix, store=store_of(store), paths=(f"{source}>{destination}",)), _log
    )
    origin = Origin.of_matrix(prepared.matrix, prepared.builds)
    cell = next((c for c in prepared.plan.cells if (c.machine, c.profile) == (machine, profile)), None)
    if cell is None:
        raise UserError(f"{source!r} and {destination!r} have no {machine!r} with profile {profile!r}")

    async def advised() -> FeatureAdvice:
        async with open_trials(origin, store_of(store), jobs, logger(verbose=verbose)) as runner:
            return await advise_features(runner, trial_of(origin, cell), cpu)

    advice = asyncio.run(advised())
    say(json.dumps(advice.to_json(), indent=1) if as_json else "\n".join(advice.render()))
    raise typer.Exit(ExitCode.OK if advice.passes else ExitCode.REGRESSIONS)


def _answer(advice: Sequence[PathAdvice], *, as_json: bool) -> None:
    if as_json:
        say(json.dumps([a.to_json() for a in advice], indent=1))
    else:
        for one in advice:
            say("\n".join(one.render()))
    raise typer.Exit(ExitCode.OK if all(a.found for a in advice) else ExitCode.REGRESSIONS)
