# SPDX-License-Identifier: Apache-2.0
"""Real QEMU in real containers: the stories that the harness exists for, and the faults it has to tell apart."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from debian import MATRICES

from migmatrix.harness.builds import prepare
from migmatrix.harness.builds.client import new_client
from migmatrix.harness.config import load_matrix
from migmatrix.harness.engines import Engines, Workspace
from migmatrix.harness.engines.docker import LABEL
from migmatrix.harness.errors import EngineError
from migmatrix.harness.hops import LegTask, run_snapshot_leg, snapshot
from migmatrix.harness.hops.carry import StreamIn
from migmatrix.harness.judge import judge_leg
from migmatrix.harness.model import Guest, LegEvidence, Mode, Stage, Verdict
from migmatrix.harness.plan import make_plan
from migmatrix.harness.run.host import host_lacks
from migmatrix.harness.run.runner import Runner, Settings
from migmatrix.harness.store import LegStore, default_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.judge import CellJudgement

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(900)]

PLAIN = ("-m", "64", "-nodefaults")


def run_matrix(
    file: Path, store: Path, select: Sequence[str] = (), **changes: Any
) -> dict[str, CellJudgement]:
    """Run a matrix with an empty store; results by cell id."""
    matrix = load_matrix(file)
    builds = prepare(matrix.builds, cache=default_store() / "builds", log=print)
    plan = make_plan(
        matrix,
        builds,
        select=select,
        lacking=host_lacks(matrix.modes, [(*matrix.default_args, *p.args) for p in matrix.profiles]),
        **changes,
    )

    async def run() -> dict[str, CellJudgement]:
        with Workspace() as workspace:
            async with Engines(workspace, print) as engine:
                settings = Settings(2, matrix.policy.deadlines)
                legs = LegStore(store, print)
                runner = Runner(plan, builds, engine, legs, workspace, settings, lambda *_: None)
                return {judged.judgement.cell.id: judged.judgement async for judged in runner.run()}

    return asyncio.run(run())


def test_aer(tmp_path: Path) -> None:
    """QEMU 10.0 with the mask exposed stands in for 8.0.0: issue A, point 3."""
    results = run_matrix(MATRICES / "aer.yaml", tmp_path, ["profile=pcie-root-port"])

    by_path = {result.cell.path: result for result in results.values()}
    refused = by_path["aer-8.0", "qemu-7.2"]
    assert refused.verdict is Verdict.FAIL
    assert (refused.hop, refused.stage) == (1, Stage.LOAD)
    assert refused.cause is not None
    assert refused.cause.kind == "pci-config"
    assert refused.cause.device.startswith("0000:00:")
    assert refused.cause.device.endswith("/pcie-root-port")
    assert refused.cause.field == "0x10a"
    # the same property on the destination heals it; without it the same emulator refuses
    assert by_path["aer-8.0", "aer-8.0"].verdict is Verdict.PASS
    assert by_path["aer-8.0", "qemu-10.0"].signature == refused.signature
    # real QEMU compares through the write mask, so this direction passes
    assert by_path["qemu-7.2", "aer-8.0"].verdict is Verdict.PASS
    # the chain is judged on what it did: the state of 7.2 travels through the stand-in
    chain = by_path["qemu-7.2", "aer-8.0", "qemu-7.2"]
    assert len(chain.legs) == 3
    assert chain.verdict in (Verdict.PASS, Verdict.FAIL)


def test_every_mode_and_guest(tmp_path: Path) -> None:
    results = run_matrix(
        MATRICES / "live.yaml", tmp_path, ["profile=pcie-root-port", "path=qemu-10.0>qemu-11.1"]
    )

    other = {result.cell.mode: result for result in results.values() if result.verdict is not Verdict.PASS}
    assert other.keys() == {"postcopy-multifd"}, {mode: r.reason or r.cause for mode, r in other.items()}
    # refused before 10.1, in its own words
    assert other["postcopy-multifd"].verdict is Verdict.UNSUPPORTED
    modes = Counter(result.cell.mode for result in results.values())
    asked = {mode.name for mode in load_matrix(MATRICES / "live.yaml").modes}
    assert asked - set(modes) <= {"hugepages"}  # where the host has none free
    assert {result.cell.guest for result in results.values()} == {"paused", "firmware"}


def test_an_old_source_over_every_transport(tmp_path: Path) -> None:
    modes = "mode=tcp,unix,exec,fd,file,multifd,postcopy,postcopy-recovery"
    select = ["profile=pcie-root-port", "path=qemu-7.2>qemu-11.1", "guest=paused", modes]
    results = run_matrix(MATRICES / "live.yaml", tmp_path, select)

    found = {result.cell.mode: result.verdict for result in results.values()}
    assert found.pop("file") is Verdict.UNSUPPORTED  # QEMU has it from 8.2 on
    assert len(found) == 7
    assert set(found.values()) == {Verdict.PASS}


@pytest.fixture(scope="module")
def build() -> PreparedBuild:
    """Debian's QEMU 10.0."""
    specs = load_matrix(MATRICES / "debian.yaml").builds
    return prepare({"qemu-10.0": specs["qemu-10.0"]}, cache=default_store() / "builds", log=print)[
        "qemu-10.0"
    ]


def task(build: PreparedBuild, mode: Mode | None = None, load: float = 60.0, **changes: Any) -> LegTask:
    """A leg of a bare machine whose stages have as long as a busy host needs; `load` is in seconds."""
    deadlines = {**dict.fromkeys(Stage, 60.0), Stage.LOAD: load}
    plain = mode or Mode("snapshot")
    return LegTask("k", build, "pc-q35-10.0", PLAIN, plain, Guest("paused", "paused"), deadlines, **changes)


def in_workspace(work: Callable[[Workspace, Engines], Awaitable[LegEvidence]]) -> LegEvidence:
    """Run a coroutine with a workspace and engines."""

    async def run() -> LegEvidence:
        with Workspace() as workspace:
            async with Engines(workspace, print) as engine:
                return await work(workspace, engine)

    return asyncio.run(run())


def emulators(workspace: Workspace) -> list[psutil.Process]:
    """The emulators that run in this workspace's containers."""
    containers = new_client().containers.list(filters={"label": f"{LABEL}={workspace.run_id}"})
    found: list[psutil.Process] = []
    for container in containers:
        top = container.top()
        pid = top["Titles"].index("PID")
        found.extend(psutil.Process(int(row[pid])) for row in top["Processes"])
    return [process for process in found if process.name().startswith("qemu-system")]


class HalfFed(StreamIn):
    """A stream of which an emulator gets a half, and no end; `fed` is set when it has it."""

    fed: asyncio.Event

    def _send(self) -> None:
        half = os.fstat(self._file).st_size // 2
        self._at += os.sendfile(self._ours.fileno(), self._file, self._at, half - self._at)
        if self._at == half:
            self._loop.remove_writer(self._ours)
            self.fed.set()


async def loaded_by_halves(
    workspace: Workspace,
    engine: Engines,
    build: PreparedBuild,
    then: Callable[[Workspace], None],
    load: float = 60.0,
) -> LegEvidence:
    """Save a stream, then load it half; `then` happens while the rest is waited for, `load` seconds at most."""
    saved = workspace.streams / "saved"
    await run_snapshot_leg(engine, task(build, save_to=saved))
    HalfFed.fed = asyncio.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "StreamIn", HalfFed)
        loads = asyncio.create_task(run_snapshot_leg(engine, task(build, load=load, incoming=saved)))
        await HalfFed.fed.wait()
        await asyncio.to_thread(then, workspace)
        return await loads


def test_an_emulator_killed_while_it_loads_is_the_hosts(build: PreparedBuild) -> None:
    def kill(workspace: Workspace) -> None:
        (victim,) = emulators(workspace)
        victim.send_signal(signal.SIGKILL)

    evidence = in_workspace(lambda w, e: loaded_by_halves(w, e, build, kill))

    judgement = judge_leg(evidence)
    assert (judgement.verdict, judgement.stage) == (Verdict.ERROR, Stage.LOAD)
    assert judgement.cause is not None
    assert (judgement.cause.kind, judgement.cause.field) == ("killed", "SIGKILL")


def test_an_emulator_stopped_while_it_loads_is_the_hosts(build: PreparedBuild) -> None:
    def stop(workspace: Workspace) -> None:
        (victim,) = emulators(workspace)
        victim.send_signal(signal.SIGSTOP)

    with pytest.raises(EngineError, match="somebody stopped the emulator"):
        in_workspace(lambda w, e: loaded_by_halves(w, e, build, stop, load=20.0))


def test_a_load_that_hangs_meets_its_deadline(build: PreparedBuild) -> None:
    evidence = in_workspace(lambda w, e: loaded_by_halves(w, e, build, lambda _: None, load=5.0))

    judgement = judge_leg(evidence)
    assert (judgement.verdict, judgement.stage) == (Verdict.FAIL, Stage.LOAD)
    assert judgement.cause is not None
    assert judgement.cause.kind == "hang"


def test_an_emulator_killed_while_it_saves_is_the_hosts(build: PreparedBuild) -> None:
    slow = Mode("slow", parameters=(("max-bandwidth", 4096),))

    async def work(workspace: Workspace, engine: Engines) -> LegEvidence:
        stream = workspace.streams / "never"
        leg = asyncio.create_task(run_snapshot_leg(engine, task(build, slow, save_to=stream)))
        while not (stream.exists() and stream.stat().st_size):
            await asyncio.sleep(0.01)  # until there is something to interrupt
        (victim,) = await asyncio.to_thread(emulators, workspace)
        victim.send_signal(signal.SIGKILL)
        return await leg

    judgement = judge_leg(in_workspace(work))

    assert (judgement.verdict, judgement.stage) == (Verdict.ERROR, Stage.SAVE)
    assert judgement.cause is not None
    assert judgement.cause.kind == "killed"


def test_what_a_sandbox_forbids_is_not_needed_or_is_told(tmp_path: Path) -> None:
    """libvirt's -sandbox: snapshots need no child, the mode exec does, and no build is at fault."""
    matrix = tmp_path / "sandbox.yaml"
    matrix.write_text("""
builds: {qemu-7.2: {provider: debian, suite: bookworm}, qemu-11.1: {provider: debian, suite: trixie-backports}}
machines: [pc-q35-7.2]
defaults: {args: [-m, "64", -nodefaults]}
profiles:
  define:
    guest: {args: [-sandbox, "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]}
modes: [snapshot, exec, fd]
paths: {pairs: ["qemu-7.2>qemu-11.1", "qemu-11.1>qemu-7.2"]}
""")

    results = run_matrix(matrix, tmp_path / "store")

    found = {
        (r.cell.path[0], r.cell.mode): (str(r.verdict), r.cause and r.cause.kind) for r in results.values()
    }
    refused = ("unsupported", "spawn-denied")
    assert found == {
        (source, mode): refused if mode == "exec" else ("pass", None)
        for source in ("qemu-7.2", "qemu-11.1")
        for mode in ("snapshot", "exec", "fd")
    }


def test_a_silent_port_is_no_failure(tmp_path: Path) -> None:
    """Boards and firmware that write nothing to SeaBIOS's debug port."""
    matrix = tmp_path / "silent.yaml"
    matrix.write_text("""
builds: {qemu-7.2: {provider: debian, suite: bookworm}, qemu-10.0: {provider: debian, suite: trixie}}
machines: [microvm, pc-q35-7.2]
defaults: {args: [-m, "64", -nodefaults]}
profiles:
  define:
    board: {args: [], machines: [microvm]}
    qboot: {args: [-bios, qboot.rom], machines: [pc-q35-7.2]}
modes: [snapshot, unix]
guests: [{name: firmware, seconds: 0.5}]
paths: {pairs: all, explicit: ["qemu-7.2>qemu-10.0>qemu-7.2"]}
""")

    results = run_matrix(matrix, tmp_path / "store")

    # microvm has no versions, and its firmware grew: that is a failure, and another one
    failed = {r.cause.kind for r in results.values() if r.verdict == "fail" and r.cause}
    assert failed <= {"ram-size"}
    passed = Counter(r.cell.profile for r in results.values() if r.verdict == "pass")
    assert passed == {"board": 4, "qboot": 10}
    store = LegStore(tmp_path / "store", print)
    first = {r.cell.profile: store.get(r.legs[0]) for r in results.values() if r.cell.mode == "snapshot"}
    assert {name for name, leg in first.items() if leg and leg.facts.get("silent")} == passed.keys()
