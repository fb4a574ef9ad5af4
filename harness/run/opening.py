# SPDX-License-Identifier: Apache-2.0
"""The one way to open what legs run on: an engine, a leg store and a workspace, closed again when the context ends.

    async with opened(store, Settings(jobs, deadlines), log) as where:
        runner = where.runner(plan, builds)

`Opened` knows no matrix and no cell. Nothing else makes a `Workspace` or `Engines`.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from stamina.instrumentation import set_on_retry_hooks

from migmatrix.harness.engines import Engines, Workspace
from migmatrix.harness.engines.leftovers import clean_up
from migmatrix.harness.run.descriptors import have_descriptors
from migmatrix.harness.run.runner import Runner, Settings
from migmatrix.harness.store import LegStore, default_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.model import LegEvidence
    from migmatrix.harness.plan import Plan

__all__ = ["JOBS", "Opened", "opened", "silent", "store_directory"]

# How many emulators run at once unless told otherwise. One that starts or ends leaves its processor idle for a
# moment, so that one more than there are processors keeps all of them busy.
JOBS: Final = (os.cpu_count() or 1) + 1


@dataclass(frozen=True, slots=True)
class Opened:
    """Where legs run. `log` is told what the host or the engine did."""

    engine: Engines
    store: LegStore
    workspace: Workspace
    settings: Settings
    log: Callable[[str], None]

    def runner(
        self,
        plan: Plan,
        builds: Mapping[str, PreparedBuild],
        on_leg: Callable[[LegEvidence, bool], None] | None = None,
    ) -> Runner:
        """Make a runner for a plan; it tells `on_leg` of each leg, and whether the leg was reused."""
        return Runner(plan, builds, self.engine, self.store, self.workspace, self.settings, on_leg or silent)

    @contextmanager
    def with_empty_store(self) -> Iterator[Opened]:
        """Return the same engine with an empty store of its own, which the context removes at its end."""
        with _directory(None) as directory:
            yield replace(self, store=LegStore(directory, self.log))

    def repeating(self) -> Opened:
        """The same engine with the store of what is done a second time: no leg of the first time counts there."""
        return replace(self, store=self.store.second())


@asynccontextmanager
async def opened(store: Path | None, settings: Settings, log: Callable[[str], None]) -> AsyncIterator[Opened]:
    """Open all of it, after what killed runs left is gone. Without `store` it is empty: no earlier leg counts."""
    have_descriptors(settings.jobs)
    set_on_retry_hooks([lambda retry: log(f"host failure, trying again: {retry.caused_by}")])
    clean_up(log)
    with _directory(store) as directory, Workspace() as workspace:
        async with Engines(workspace, log) as engine:
            yield Opened(engine, LegStore(directory, log), workspace, settings, log)


def store_directory(given: str | Path | None) -> Path:
    """The leg store that an option means: `given`, else ``MIGMATRIX_STORE``, else this user's own."""
    return Path(given or os.environ.get("MIGMATRIX_STORE") or default_store())


def silent(*_: object) -> None:
    """Ignore what a caller without interest would be told: the default for logs and callbacks."""


@contextmanager
def _directory(store: Path | None) -> Iterator[Path]:
    if store is not None:
        yield store
        return
    with TemporaryDirectory(prefix="migmatrix-store-") as directory:
        yield Path(directory)
