"""What commands need that run things no matrix has: a bench on engines of its own.

`open_bench` opens and closes everything around an `explain.Bench`. Which trials to run is the business of `advise` and
`mutate`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from harness.engines import Engines, Workspace
from harness.explain.bench import Bench
from harness.explain.origin import Origin
from harness.runner import Settings
from harness.store import HopStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from harness.session import Prepared

__all__ = ["open_bench", "origin_of"]


def origin_of(prepared: Prepared) -> Origin:
    """A matrix with its builds ready, as `explain` wants it."""
    matrix = prepared.matrix
    return Origin(
        builds=prepared.builds,
        profiles={profile.name: profile for profile in matrix.profiles},
        modes={mode.name: mode for mode in matrix.modes},
        guests={guest.name: guest for guest in matrix.guests},
        default_args=matrix.default_args,
        deadlines=matrix.policy.deadlines,
        retries=matrix.policy.retries,
    )


@asynccontextmanager
async def open_bench(
    origin: Origin, store: Path | None, jobs: int, log: Callable[[str], None]
) -> AsyncIterator[Bench]:
    """A bench on the builds of `origin`; without `store` nothing that was done before counts."""
    settings = Settings(jobs, origin.deadlines, origin.retries)
    with _directory(store) as directory, Workspace() as workspace:
        async with Engines(workspace, log) as engine:
            yield Bench(origin.builds, engine, HopStore(directory, log), workspace, settings, log)


@contextmanager
def _directory(store: Path | None) -> Iterator[Path]:
    if store is not None:
        yield store
        return
    with TemporaryDirectory(prefix="migmatrix-bench-") as directory:
        yield Path(directory)
