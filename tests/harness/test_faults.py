# SPDX-License-Identifier: Apache-2.0
"""Faults at chosen moments, on fake emulators: what fails is named, nothing is lost, nothing stays behind.

Each is the exact form of a row of `faults/test_fault_trials.py`, which tries random moments and damages, or has none there.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import psutil
import pytest
from lab import timeless, wait_until
from needs import missing

if TYPE_CHECKING:
    from pathlib import Path

    from lab import Lab

pytestmark = pytest.mark.slow


def of_lab(lab: Lab) -> list[psutil.Process]:
    """Processes that still run and were started for this lab's emulators."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(lab.root) in word for word in process.info["cmdline"] or ())
    ]


@pytest.mark.parametrize(
    ("fake", "path", "hop", "stage", "kind"),
    [
        ("crash=save", "bad>old", 1, "save", "crash"),
        ("crash=load", "old>bad", 1, "load", "crash"),
        ("crash=save", "old>bad>old", 2, "save", "crash"),
        ("hang=save", "bad>old", 1, "save", "hang"),
        ("hang=load", "old>bad", 1, "load", "hang"),
    ],
)
def test_an_emulator_that_crashes_or_hangs_fails_with_its_stage(
    lab: Lab, fake: str, path: str, hop: int, stage: str, kind: str
) -> None:
    # The other build is never in this stage: a deadline that a busy host would miss is missed by the hanging one only.
    matrix = lab.matrix(
        builds=lab.builds({"old": [], "bad": ["-fake", fake]}), policy={"deadline": {stage: 0.5}}
    )

    done = lab.run(matrix, "--select", f"path={path}", "--select", "profile=plain", "--path", path)

    (result,) = lab.results().values()
    assert done.returncode == 1
    assert (result["verdict"], result["hop"], result["stage"]) == ("fail", hop, stage)
    assert result["cause"]["kind"] == kind
    assert of_lab(lab) == []


def test_an_emulator_killed_from_outside_is_an_error_and_is_not_kept(lab: Lab) -> None:
    go = lab.root / "go"
    waiting = lab.root / "go.waiting"
    matrix = lab.matrix(builds=lab.builds({"old": [], "slow": ["-fake", f"wait={go}"]}))
    select = ("--select", "profile=plain", "--path", "old>slow")

    process = lab.start(lab.run_arguments(matrix, *select))
    wait_until(lambda: waiting.exists() and waiting.read_text() != "")
    os.kill(int(waiting.read_text()), signal.SIGKILL)
    code = process.wait()
    verdicts = lab.verdicts()
    go.touch()
    again = lab.run(matrix, *select)

    assert (code, verdicts) == (3, {"error": 1})
    assert again.returncode == 0, again.stderr
    assert lab.verdicts() == {"pass": 1}


@pytest.mark.parametrize("mode", ["snapshot", "unix"])
def test_an_emulator_stopped_from_outside_is_an_error_and_is_not_kept(lab: Lab, mode: str) -> None:
    go = lab.root / "go"
    waiting = lab.root / "go.waiting"
    builds = lab.builds({"old": [], "slow": ["-fake", f"wait={go}"]})
    deadlines = {"load": 10.0, "migrate": 10.0}  # before which it is stopped
    matrix = lab.matrix(builds=builds, modes=[mode], policy={"retries": 0, "deadline": deadlines})
    select = ("--select", "profile=plain", "--path", "old>slow")

    process = lab.start(lab.run_arguments(matrix, *select))
    wait_until(lambda: waiting.exists() and waiting.read_text() != "")
    os.kill(int(waiting.read_text()), signal.SIGSTOP)
    code = process.wait()
    (result,) = lab.results().values()
    go.touch()
    again = lab.run(lab.matrix(builds=builds, modes=[mode]), *select)

    assert (code, result["verdict"]) == (3, "error")
    assert "somebody stopped the emulator of build 'slow'" in result["reason"]
    assert again.returncode == 0, again.stderr
    assert lab.verdicts() == {"pass": 1}
    assert of_lab(lab) == []


@pytest.mark.parametrize("fake", ["crash=load", pytest.param("hang=load", marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", ["snapshot", "unix"])
def test_two_answers_of_one_leg_are_named_and_not_kept(lab: Lab, fake: str, mode: str) -> None:
    first = lab.root / "first"
    matrix = lab.matrix(
        builds=lab.builds({"old": [], "bad": ["-fake", fake, "-fake", f"first={first}"]}),
        modes=[mode],
        policy={"deadline": {"load": 20.0, "migrate": 20.0}},  # which the second try has to meet
    )
    select = ("--select", "profile=plain", "--path", "old>bad")

    done = lab.run(matrix, *select)
    (result,) = lab.results().values()
    shown = lab.call([*lab.command()[:3], "show", "out", result["cell"]])
    again = lab.run(matrix, *select)

    kind = fake.partition("=")[0]
    assert (done.returncode, result["verdict"], result["cause"]["kind"]) == (3, "error", "flaky")
    assert result["reason"].startswith(f"flaky: {kind} at ")
    assert result["reason"].endswith("done again: pass")
    assert "flaky: " in done.stdout + done.stderr
    assert "  again: " in shown.stdout
    assert again.returncode == 0, again.stderr
    assert lab.verdicts() == {"pass": 1}


def test_a_crash_counts_when_it_is_seen_twice(lab: Lab) -> None:
    matrix = lab.matrix(builds=lab.builds({"old": [], "bad": ["-fake", "crash=load"]}))
    select = ("--select", "profile=plain", "--path", "old>bad")

    done = lab.run(matrix, *select)
    starts = lab.starts()
    again = lab.run(matrix, *select)

    assert (done.returncode, again.returncode) == (1, 1)
    assert lab.results().popitem()[1]["cause"]["kind"] == "crash"
    assert lab.starts() == starts  # kept, with both answers


def test_a_port_that_two_need_is_the_hosts(lab: Lab) -> None:
    builds = lab.builds({"old": ["-fake", f"lock={lab.root / 'port'}"]})
    matrix = lab.matrix(builds=builds, modes=["snapshot", "unix"], policy={"retries": 0})

    done = lab.run(matrix, "--select", "profile=plain", "--path", "old>old", "-j", "1")

    found = {result["mode"]: result for result in lab.results().values()}
    assert done.returncode == 3
    assert found["snapshot"]["verdict"] == "pass"
    assert found["unix"]["verdict"] == "error"
    assert "Could not set up host forwarding rule" in found["unix"]["reason"]


def test_a_helper_that_serves_once_is_the_hosts(lab: Lab) -> None:
    builds = lab.builds({"old": [], "new": ["-fake", f"once={lab.root / 'served'}"]})
    matrix = lab.matrix(builds=builds, policy={"retries": 0})

    done = lab.run(matrix, "--select", "profile=plain", "--path", "old>new", "--path", "new>old", "-j", "1")

    assert done.returncode == 3
    assert {r["verdict"] for r in lab.results().values()} <= {"pass", "error"}
    refused = [r["reason"] for r in lab.results().values() if r["verdict"] == "error"]
    assert refused
    assert all("Failed to connect to '/run/tpm'" in reason for reason in refused)


def test_an_emulator_that_gets_away_ends_with_the_run(lab: Lab) -> None:
    matrix = lab.matrix(builds=lab.builds({"old": [], "away": ["-fake", "daemon=start"]}))

    done = lab.run(matrix, "--select", "profile=plain", "--path", "old>away")

    (result,) = lab.results().values()
    told = (done.returncode, result["verdict"], result["reason"].partition(": ")[0])
    # it may have connected, or be through, before anybody notices that the process which was started has ended
    assert told in {
        (3, "unsupported", "build 'away' cannot start this"),
        (3, "error", "build 'away'"),
        (0, "pass", ""),
    }
    assert of_lab(lab) == []


def test_an_emulator_that_gets_away_on_the_way_is_no_failure(lab: Lab) -> None:
    matrix = lab.matrix(builds=lab.builds({"old": [], "away": ["-fake", "daemon=load"]}))

    done = lab.run(matrix, "--select", "profile=plain", "--path", "old>away")

    (result,) = lab.results().values()
    assert (done.returncode, result["verdict"]) == (3, "error")
    assert "the process that was started has ended, and another goes on in its place" in result["reason"]
    assert of_lab(lab) == []


@pytest.mark.slow  # it waits for what is never said as long as it does for an answer, which a busy host has to give
@pytest.mark.parametrize("mode", ["snapshot", "unix"])
def test_firmware_that_is_never_heard_is_judged_by_its_state(lab: Lab, mode: str) -> None:
    guest = {"name": "firmware", "seconds": 0.1}
    matrix = lab.matrix(modes=[mode], guests=[guest], policy={"deadline": {"run": 10.0, "check": 10.0}})

    done = lab.run(matrix, "--select", "profile=plain", "--path", "old>new>old")

    assert done.returncode == 0, done.stdout
    assert lab.verdicts() == {"pass": 1}


def test_who_has_more_patience_asks_again(lab: Lab) -> None:
    builds = lab.builds({"old": [], "bad": ["-fake", "hang=load"]})

    def starts_of_a_run(seconds: float) -> int:
        before = lab.starts()
        matrix = lab.matrix(builds=builds, policy={"deadline": {"load": seconds}})
        lab.run(matrix, "--select", "profile=plain", "--path", "old>bad")
        return lab.starts() - before

    assert starts_of_a_run(0.1) > 1
    assert starts_of_a_run(0.2) == 2  # it is done again before it counts
    assert starts_of_a_run(0.2) == 0
    assert lab.results().popitem()[1]["cause"]["message"] == "not done within 0.2 s"


def test_a_full_disk_where_streams_are_written_is_an_error_and_is_not_kept(lab: Lab) -> None:
    builds = lab.builds({"old": ["-fake", "full=save"]})
    lab.matrix(builds=builds)
    matrix = lab.matrix(builds=builds)

    done = lab.run(matrix, "--select", "profile=plain", "--path", "old>old")
    starts = lab.starts()
    again = lab.run(matrix, "--select", "profile=plain", "--path", "old>old")

    assert (done.returncode, again.returncode) == (3, 3)
    assert lab.verdicts() == {"error": 1}
    assert lab.starts() > starts


def fill(path: Path) -> None:
    """Write until the file system is full."""
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError as err:
            assert err.errno == errno.ENOSPC  # noqa: PT017 - that it ends so is what this is for


def test_a_full_store_is_an_error_and_leaves_nothing_half_written(lab: Lab) -> None:
    if os.geteuid() != 0:
        missing("root, to mount a small file system")
    store = lab.root / "store"
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(store)], check=True)
    try:
        matrix = lab.matrix()
        prepared = lab.call(lab.command("builds", "prepare", "-f", str(matrix)))
        assert prepared.returncode == 0, prepared.stderr
        fill(store / "ballast")

        done = lab.run(matrix, "--select", "profile=plain", "--path", "old>new")

        assert done.returncode == 3
        assert lab.verdicts() == {"error": 1}
        assert "No space left on device" in next(iter(lab.results().values()))["reason"]
        assert not list(store.rglob(".new-*"))

        (store / "ballast").unlink()
        resumed = lab.run(matrix, "--select", "profile=plain", "--path", "old>new")

        assert resumed.returncode == 0, resumed.stderr
        assert lab.verdicts() == {"pass": 1}
    finally:
        subprocess.run(["umount", str(store)], check=True)


def test_a_killed_run_leaves_nothing_and_resumes_to_the_same_results(lab: Lab) -> None:
    matrix = lab.matrix()
    lab.run(matrix, out="undisturbed")
    undisturbed = lab.results("undisturbed")
    shutil.rmtree(lab.root / "store" / "hops")
    (lab.root / "starts").unlink()

    process = lab.start(lab.run_arguments(matrix, "-j", "2"))
    wait_until(lambda: lab.finished_legs() >= 5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: of_lab(lab) == [])
    started, kept = lab.starts(), lab.finished_legs()
    done = lab.run(matrix)

    assert done.returncode == 0, done.stderr
    assert "removed what the killed run" in done.stderr
    assert lab.starts() - started == 28 - kept
    assert timeless(lab.results()) == timeless(undisturbed)
    assert workspaces(lab) == []


def test_what_outlives_harness_and_supervisor_ends_with_the_next_run(lab: Lab) -> None:
    waiting = lab.root / "go.waiting"
    matrix = lab.matrix(builds=lab.builds({"old": [], "slow": ["-fake", f"wait={lab.root}/go"]}))
    select = ("--select", "profile=plain", "--path")

    process = lab.start(lab.run_arguments(matrix, *select, "old>slow"))
    wait_until(lambda: waiting.exists() and waiting.read_text() != "")
    emulator = psutil.Process(int(waiting.read_text()))
    for parent in emulator.parents():
        if process.pid in {parent.pid, parent.ppid()}:  # supervisor, harness
            parent.kill()
    process.wait()
    assert runs(emulator)
    done = lab.run(matrix, *select, "old>old", out="again")

    assert done.returncode == 0, done.stderr
    assert not runs(emulator)
    assert of_lab(lab) == []
    assert workspaces(lab) == []


def runs(process: psutil.Process) -> bool:
    """Whether it runs; an orphan that has ended stays a zombie where process 1 does not wait for it."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def workspaces(lab: Lab) -> list[Path]:
    """Temporary directories of runs."""
    return [p for p in (lab.root / f"migmatrix-{os.getuid()}").iterdir() if p.is_dir()]


def test_an_interrupted_run_says_so_and_leaves_nothing(lab: Lab) -> None:
    matrix = lab.matrix()
    process = lab.start(lab.run_arguments(matrix, "-j", "1"))
    wait_until(lambda: lab.finished_legs() >= 3)

    process.send_signal(signal.SIGINT)

    assert process.wait() == 130
    assert of_lab(lab) == []
    assert workspaces(lab) == []
    assert len(lab.results()) < 24
    assert "interrupted" in (lab.root / "out" / "report.md").read_text()


def test_a_migration_that_was_faster_than_its_postcopy_is_no_failure(lab: Lab) -> None:
    """These emulators are done before anybody can ask for it."""
    late = {"name": "late", "transport": "unix", "capabilities": ["postcopy-ram"], "postcopy": True}
    matrix = lab.matrix(modes=[late])

    done = lab.run(matrix, "--select", "profile=plain", "--path", "old>new")

    assert (done.returncode, lab.verdicts()) == (3, {"error": 1})
    assert "the migration ended before postcopy could begin" in (lab.root / "out" / "report.md").read_text()
    assert lab.finished_legs() == 2  # the probes


@pytest.mark.slow
def test_two_runs_on_one_store_do_no_leg_twice(lab: Lab) -> None:
    matrix = lab.matrix()

    runs = [lab.start(lab.run_arguments(matrix, out=out), f"log-{out}") for out in ("one", "two")]

    codes = [run.wait() for run in runs]
    assert codes == [0, 0], [(lab.root / f"log-{out}").read_text() for out in ("one", "two")]
    assert lab.starts() == 28
    assert timeless(lab.results("one")) == timeless(lab.results("two"))


def test_a_damaged_entry_is_set_aside_and_done_again(lab: Lab) -> None:
    matrix = lab.matrix()
    select = ("--select", "profile=plain", "--path", "old>new")
    lab.run(matrix, *select)
    before, starts = lab.results(), lab.starts()
    for entry in (lab.root / "store" / "hops").glob("*/*/evidence.json"):
        entry.write_bytes(b"{")

    done = lab.run(matrix, *select)

    assert done.returncode == 0, done.stderr
    assert lab.starts() == 2 * starts
    assert timeless(lab.results()) == timeless(before)
    assert "set a damaged entry aside" in done.stderr


def test_a_damaged_stream_is_made_again(lab: Lab) -> None:
    matrix = lab.matrix()
    lab.run(matrix, "--select", "profile=plain", "--path", "old>old")
    (stream,) = (lab.root / "store" / "hops").glob("*/*/stream.zst")
    stream.write_bytes(stream.read_bytes()[:-4])

    done = lab.run(matrix, "--select", "profile=plain", "--path", "old>new", out="second")

    assert done.returncode == 0, done.stderr
    assert lab.verdicts("second") == {"pass": 1}
    assert "stream is damaged" in done.stderr


def test_what_one_cell_lacks_does_not_stop_the_others(lab: Lab) -> None:
    profiles = {f"full{n}": {"args": ["-fake", "full=save"]} for n in range(5)}
    matrix = lab.matrix(profiles={"define": {**profiles, "plain": {"args": []}}})

    done = lab.run(matrix, "--path", "old>old", "-j", "1")

    assert done.returncode == 3
    assert lab.verdicts() == {"error": 5, "pass": 1}
