# SPDX-License-Identifier: Apache-2.0
"""`matrices/debian.yaml` on real QEMU, for tests of the codec: its streams, saves made anew, schemas, loads.

Everything of the matrix goes through the runner and the default store, so that what a run has done is not done
again. What is not of the matrix (a second save, machines without versions, `-dump-vmstate`) is done each time.
"""

from __future__ import annotations

import os
import random
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

from migmatrix.harness.builds import prepare
from migmatrix.harness.config import load_matrix
from migmatrix.harness.engines import Engines, Needs, Role, Workspace
from migmatrix.harness.hops import LegTask, run_snapshot_leg
from migmatrix.harness.judge import judge_leg
from migmatrix.harness.model import Guest, Mode, Verdict
from migmatrix.harness.plan import make_plan
from migmatrix.harness.run.runner import Runner, Settings
from migmatrix.harness.store import LegStore, default_store
from migmatrix.vmstate.check.schema import Schema, load_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.config.matrix import Matrix
    from migmatrix.harness.model import LegEvidence
    from migmatrix.harness.plan import Plan

__all__ = [
    "PAUSED",
    "Lab",
    "Pair",
    "RealMatrix",
    "Triple",
    "drawn",
    "fetch",
    "only_stored",
    "sample_size",
    "seed",
]

MATRIX = Path(__file__).parents[2] / "matrices" / "debian.yaml"
PAUSED = Guest("paused", "paused")
SNAPSHOT = Mode("snapshot")

T = TypeVar("T")


class Triple(NamedTuple):
    """What a source stream is made of."""

    machine: str
    profile: str
    build: str


class Pair(NamedTuple):
    """A source and a destination of one machine and profile."""

    machine: str
    profile: str
    source: str
    destination: str


def sample_size(default: int) -> int | None:
    """`$MIGMATRIX_STREAMS`: how many to draw, None for `all` and `stored`."""
    wanted = os.environ.get("MIGMATRIX_STREAMS", "")
    return None if wanted in {"all", "stored"} else int(wanted or default)


def only_stored() -> bool:
    """Whether to take what a run has left in the store, and run no leg of the matrix."""
    return os.environ.get("MIGMATRIX_STREAMS") == "stored"


def seed() -> int:
    """`$MIGMATRIX_SEED`, by which samples are drawn and bits are chosen."""
    return int(os.environ.get("MIGMATRIX_SEED", "0"))


def drawn(items: Iterable[T], count: int | None) -> list[T]:
    """A sample in the order of `items`; all of them for None."""
    every = list(items)
    if count is None or count >= len(every):
        return every
    chosen = set(random.Random(seed()).sample(range(len(every)), count))
    return [item for at, item in enumerate(every) if at in chosen]


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Slices of at most `size` items."""
    return (items[at : at + size] for at in range(0, len(items), size))


@dataclass(frozen=True)
class RealMatrix:
    """The matrix, its prepared builds, its plan and the store that everything goes to."""

    matrix: Matrix
    builds: dict[str, PreparedBuild]
    plan: Plan
    store: LegStore

    @classmethod
    def open(cls) -> Self:
        """Prepare the builds, which makes their images when there are none."""
        matrix = load_matrix(MATRIX)
        builds = prepare(matrix.builds, cache=default_store() / "builds", log=print)
        return cls(matrix, dict(builds), make_plan(matrix, builds), LegStore(default_store(), print))

    @cached_property
    def sources(self) -> dict[Triple, str]:
        """Every (machine, profile, build) to the key of its save."""
        return {
            Triple(leg.machine, leg.profile, leg.build): key
            for key, leg in self.plan.legs.items()
            if leg.incoming is None and self.plan.needs_out(key)
        }

    @cached_property
    def pairs(self) -> dict[Pair, str]:
        """Every pair to the key of its load."""
        legs = self.plan.legs
        return {
            Pair(leg.machine, leg.profile, legs[leg.incoming].build, leg.build): key
            for key, leg in legs.items()
            if leg.incoming is not None and legs[leg.incoming].incoming is None
        }

    def name(self, triple: Triple) -> str:
        """The name of a source with its key, so that it is another one when the build is."""
        return f"{'/'.join(triple)} {self.sources[triple][:16]}"

    def stored(self, pair: Pair) -> bool:
        """Whether the store has this load and both sides' saves."""
        saves = (
            self.sources.get(Triple(pair.machine, pair.profile, b)) for b in (pair.source, pair.destination)
        )
        keys = (self.pairs[pair], *saves)
        return all(key is not None and self.store.get(key) is not None for key in keys)

    def arguments(self, triple: Triple) -> tuple[str, ...]:
        """The emulator's arguments of a source."""
        return self.plan.leg(self.sources[triple]).arguments

    def narrowed(self, pairs: Sequence[Pair]) -> Plan:
        """The plan of these pairs and of each destination's own save."""
        wanted = {(p.machine, p.profile, path) for p in pairs for path in _paths(p)}
        cells = [c for c in self.plan.cells if (c.machine, c.profile, c.path) in wanted]
        return replace(self.plan, cells=tuple(cells))


def _paths(pair: Pair) -> tuple[tuple[str, str], tuple[str, str]]:
    return (pair.source, pair.destination), (pair.destination, pair.destination)


class Lab:
    """Runs emulators of a `RealMatrix`; an asynchronous context manager with containers of its own."""

    def __init__(self, real: RealMatrix) -> None:
        self.real = real
        self._stack = AsyncExitStack()
        self._saves = 0
        self._schemas: dict[tuple[str, str], Schema] = {}

    async def __aenter__(self) -> Self:
        self._workspace = self._stack.enter_context(Workspace())
        self._engine = await self._stack.enter_async_context(Engines(self._workspace, print))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    @property
    def engine(self) -> Engines:
        """Where emulators run."""
        return self._engine

    @property
    def links(self) -> Path:
        """A directory that all sandboxes see, for sockets."""
        return self._workspace.link

    def serial(self) -> int:
        """A number that was not given before."""
        self._saves += 1
        return self._saves

    async def run(self, pairs: Sequence[Pair]) -> None:
        """Have these pairs in the store: saves and loads."""
        if only_stored():
            return
        policy = self.real.matrix.policy
        settings = Settings(2, policy.deadlines)
        plan = self.real.narrowed(pairs)
        nothing = lambda *_: None  # noqa: E731
        runner = Runner(
            plan, self.real.builds, self._engine, self.real.store, self._workspace, settings, nothing
        )
        async for judged in runner.run():
            assert judged.judgement.verdict is not Verdict.ERROR, judged.judgement.reason

    async def source(self, triple: Triple) -> bytes | None:
        """The stream of a source that was run, None when it does not save; saved anew when it was evicted."""
        key = self.real.sources[triple]
        evidence = self.real.store.get(key)
        if evidence is None or evidence.stream is None:
            return None
        data = fetch(self.real.store, key)
        if data is None:
            _, data = await self.save(triple.build, triple.machine, self.real.arguments(triple))
        return data

    async def save(
        self,
        build: str,
        machine: str,
        arguments: tuple[str, ...],
        guest: Guest = PAUSED,
        incoming: bytes | None = None,
    ) -> tuple[LegEvidence, bytes | None]:
        """Save a guest now, whatever the store has; the stream is None when that did not go well."""
        out = self._workspace.streams / f"anew-{self.serial()}"
        task = LegTask(
            key="anew",
            build=self.real.builds[build],
            machine=machine,
            arguments=arguments,
            mode=SNAPSHOT,
            guest=guest,
            deadlines=self.real.matrix.policy.deadlines,
            incoming=None if incoming is None else self.keep(incoming),
            save_to=out,
        )
        evidence = await run_snapshot_leg(self._engine, task)
        assert judge_leg(evidence).verdict is not Verdict.ERROR, evidence.infrastructure
        if evidence.stream is None:
            return evidence, None
        data = out.read_bytes()
        out.unlink()
        return evidence, data

    def keep(self, data: bytes) -> Path:
        """A stream as a file that destinations may read."""
        path = self._workspace.streams / f"in-{self.serial()}"
        path.write_bytes(data)
        path.chmod(0o644)
        return path

    async def schema(self, build: str, machine: str) -> Schema:
        """What `-dump-vmstate` of a build says for a machine."""
        if (build, machine) not in self._schemas:
            self._schemas[build, machine] = load_schema(await self._dump(build, machine))
        return self._schemas[build, machine]

    async def _dump(self, build: str, machine: str) -> bytes:
        prepared = self.real.builds[build]
        sandbox = await self._engine.sandbox(prepared, Role.SOURCE, Needs())
        job = sandbox.job()
        try:
            target = job.inner("schema.json")
            options = ["-machine", machine, "-display", "none", "-dump-vmstate", target]
            await job.start([prepared.binary, *options])
            assert await job.wait() == 0, job.output("stderr")
            return job.files.ends("schema.json", 1 << 26)
        finally:
            job.discard()


def fetch(store: LegStore, key: str) -> bytes | None:
    """The stream that a leg left in the store, None when it left none or it is gone."""
    evidence = store.get(key)
    if evidence is None:
        return None
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "stream"
        return path.read_bytes() if store.fetch_stream(evidence, path) else None
