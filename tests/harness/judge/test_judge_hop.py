# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest
from judge_evidence import FIRST, NORMAL, emulator, leg

from migmatrix.harness.judge import judge_leg, started
from migmatrix.harness.model import EmulatorEvidence, LegEvidence, QmpMessage, Stage, StageEvidence, Verdict

P = "qemu-system-x86_64: "
REJECTED = f"{P}Missing section footer for 0000:00:03.0/xhci\n{P}load of migration failed: Invalid argument\n"
CUT = f"{P}load of migration failed: Input/output error\n"
FULL = f"cat: write error: No space left on device\n{P}Unable to write to command: Broken pipe\n"
BLOCKED = "State blocked by non-migratable device '0000:00:05.0/nvme'"
LOAD = (Stage.START, Stage.LOAD)
START = (Stage.START,)
LIVE = (Stage.START, Stage.MIGRATE)
RAN = (Stage.START, Stage.RUN)


def source(stderr: str = "", exit_status: int | None = None) -> EmulatorEvidence:
    return emulator(stderr, exit_status=exit_status, role="source", build="a")


def destination(stderr: str = "", exit_status: int | None = None) -> EmulatorEvidence:
    return emulator(stderr, exit_status=exit_status, role="destination", build="b")


FAILED = QmpMessage(
    0.9,
    "<",
    {"return": {"status": "failed", "error-desc": "Zero copy send feature not detected in host kernel"}},
)
CASES: dict[str, tuple[LegEvidence, Verdict, str, str]] = {
    # name: evidence, verdict, kind, field
    "the destination rejects the stream": (
        leg(destination(REJECTED, 1), names=LOAD, problem="exited", role="destination"),
        *(Verdict.FAIL, "missing-footer", ""),
    ),
    "the destination says so in error-desc": (
        leg(names=LOAD, problem="migration-failed", detail="Unknown section 119", role="destination"),
        *(Verdict.FAIL, "section-id", "119"),
    ),
    "the destination is killed mid-load": (
        leg(destination("", -9), names=LOAD, problem="exited"),
        *(Verdict.ERROR, "killed", "SIGKILL"),
    ),
    "a mode that should be refused is not": (
        leg(
            *(source(), destination(REJECTED)),
            names=LIVE,
            problem="not-refused",
            detail="nobody refused it with 'x'",
            role="source",
        ),
        *(Verdict.FAIL, "not-refused", ""),
    ),
    "memory that is not what was sent": (
        leg(
            *(source(), destination()),
            names=LIVE,
            problem="memory-differs",
            detail="1 of 512 pages differ, the first at 0x0",
            role="destination",
        ),
        *(Verdict.FAIL, "memory-differs", ""),
    ),
    "an emulator that spoils its own start over QMP does not refuse": (
        leg(
            source(),
            names=START,
            problem="malformed",
            detail="QMP: null, where an object is due",
            role="source",
        ),
        *(Verdict.FAIL, "malformed", "start"),
    ),
    "an emulator that replaces its standard error spoils its own start": (
        leg(source("[stderr is a FIFO, not a plain file]", 1), names=START, problem="exited", role="source"),
        *(Verdict.FAIL, "malformed", "stderr"),
    ),
    "a hard link in the place of standard error is told": (
        leg(source("[stderr is a file that has another name, too]", 1), names=START, problem="exited"),
        *(Verdict.FAIL, "malformed", "stderr"),
    ),
    "the destination hangs": (
        leg(names=LOAD, problem="deadline", detail="not done within 60 s"),
        *(Verdict.FAIL, "hang", "load"),
    ),
    "a hang whose reason is printed": (
        leg(emulator("multifd is not supported by current protocol"), names=LOAD, problem="deadline"),
        *(Verdict.FAIL, "mode-refused", "multi-channel"),
    ),
    "the destination's own device is not migratable": (
        leg(destination(f"{P}{BLOCKED}\n", 1), names=LOAD, problem="exited", role="destination"),
        *(Verdict.FAIL, "blocked", ""),
    ),
    "a source that waits for a stream of its own was started so, which is no migration blocker": (
        leg(
            source(),
            names=FIRST,
            problem="qmp-error",
            detail="Guest is waiting for an incoming migration",
            role="source",
        ),
        *(Verdict.ERROR, "waits-for-stream", ""),
    ),
    "asked to end from outside": (
        leg(destination(f"{P}terminating on signal 15 from pid 1 ()", 0), names=LOAD, problem="exited"),
        *(Verdict.ERROR, "terminated", "signal 15"),
    ),
    "ended without a word": (
        leg(destination("", 1), names=LOAD, problem="exited"),
        *(Verdict.FAIL, "exit", "status 1"),
    ),
    "ended with words that nobody knows": (
        leg(destination(f"{P}warning: x\n{P}something new\n", 1), names=LOAD, problem="exited"),
        *(Verdict.FAIL, "unclassified", ""),
    ),
    "failed and says nothing": (
        leg(names=LOAD, problem="migration-failed", detail="no reason given (TimeoutError())"),
        *(Verdict.FAIL, "unexplained", "load"),
    ),
    "the guest is not running": (
        leg(names=NORMAL, problem="wrong-status", detail="status 'internal-error', should be running"),
        *(Verdict.FAIL, "guest-status", "internal-error"),
    ),
    "the guest is silent": (
        leg(emulator(REJECTED), names=NORMAL, problem="silent", detail="no output in 30 s"),
        *(Verdict.FAIL, "guest-silent", ""),
    ),
    "the source refuses": (
        leg(source(), names=FIRST, problem="qmp-error", detail=BLOCKED, role="source"),
        *(Verdict.BLOCKED, "blocked", ""),
    ),
    "a loaded guest refuses to go on": (
        leg(destination(), names=(*NORMAL, Stage.SAVE), problem="qmp-error", detail=BLOCKED, role="source"),
        *(Verdict.BLOCKED, "blocked", ""),
    ),
    "the mode is refused by the source": (
        leg(
            source(),
            names=FIRST,
            problem="qmp-error",
            detail="Migration requires multi-channel URIs (e.g. tcp)",
            role="source",
        ),
        *(Verdict.BLOCKED, "mode-refused", "multi-channel"),
    ),
    "the capability is not known": (
        leg(
            source(),
            names=FIRST,
            problem="qmp-error",
            detail="Parameter 'capability' does not accept value 'mapped-ram'",
            role="source",
        ),
        *(Verdict.UNSUPPORTED, "mode-unknown", "mapped-ram"),
    ),
    "the source crashes": (
        leg(source("", -11), names=FIRST, problem="exited", role="source"),
        *(Verdict.FAIL, "crash", "SIGSEGV"),
    ),
    "the disk is full and the text says so": (
        leg(source(FULL), names=FIRST, problem="migration-failed", detail="Broken pipe", role="source"),
        *(Verdict.ERROR, "disk-full", ""),
    ),
    "the disk is full and only the numbers say so": (
        leg(
            source(),
            names=FIRST,
            problem="migration-failed",
            detail="Unable to write to command: Broken pipe",
            role="source",
            free_bytes=4096,
        ),
        *(Verdict.ERROR, "disk-full", ""),
    ),
    "a full disk does not excuse a crash": (
        leg(source("", -11), names=FIRST, problem="exited", role="source", free_bytes=0),
        *(Verdict.FAIL, "crash", "SIGSEGV"),
    ),
    "the harness's own helper went away": (
        leg(
            source(),
            names=FIRST,
            problem="migration-failed",
            detail="Unable to write to command: Broken pipe",
            role="source",
            free_bytes=1 << 40,
        ),
        *(Verdict.ERROR, "channel", "Broken pipe"),
    ),
    "the firmware does not come up": (
        leg(names=RAN, problem="deadline", detail="not done within 60 s"),
        *(Verdict.FAIL, "hang", "run"),
    ),
    "a device is not known": (
        leg(
            emulator(f"{P}-device igb: 'igb' is not a valid device model name", exit_status=1),
            names=START,
            problem="exited",
        ),
        *(Verdict.UNSUPPORTED, "unknown-device", ""),
    ),
    "a crash at the start": (
        leg(emulator(exit_status=-6), names=START, problem="exited"),
        *(Verdict.UNSUPPORTED, "crash", "SIGABRT"),
    ),
    "a start that never ends": (
        leg(names=START, problem="deadline", detail="not done within 30 s"),
        *(Verdict.FAIL, "hang", "start"),
    ),
    "no memory at the start": (
        leg(
            emulator(f"{P}cannot set up guest memory 'pc.ram': Cannot allocate memory", exit_status=1),
            names=START,
            problem="exited",
        ),
        *(Verdict.ERROR, "out-of-memory", ""),
    ),
    "userfaultfd refused": (
        leg(
            names=START,
            problem="qmp-error",
            detail="Postcopy is not supported: Userfaultfd not available: Operation not permitted",
        ),
        *(Verdict.ERROR, "userfaultfd", ""),
    ),
    "live: the source only sees the pipe break": (
        leg(
            source(f"{P}Unable to write to socket: Broken pipe"),
            destination(REJECTED, 1),
            names=LIVE,
            problem="migration-failed",
            detail="Unable to write to socket: Broken pipe",
            role="source",
        ),
        *(Verdict.FAIL, "missing-footer", ""),
    ),
    "live: the source says why in error-desc, and the destination only sees that it is gone": (
        leg(
            replace(source(), qmp=(FAILED,)),
            destination(f"{P}Failed to peek at channel\n", 1),
            names=LIVE,
            problem="exited",
            role="destination",
        ),
        *(Verdict.ERROR, "kernel-lacks", "Zero copy"),
    ),
    "live: the destination only sees the stream end": (
        leg(source("", -11), destination(CUT, 1), names=LIVE, problem="exited", role="destination"),
        *(Verdict.FAIL, "crash", "SIGSEGV"),
    ),
    "live: the destination is asked to end": (
        leg(
            source(),
            destination(f"{P}terminating on signal 15 from pid 1 ()", 0),
            names=LIVE,
            problem="migration-failed",
            detail="Unable to write to socket: Connection reset by peer",
            role="source",
        ),
        *(Verdict.ERROR, "terminated", "signal 15"),
    ),
    "live: nobody knows why the connection broke": (
        leg(
            source(),
            destination(CUT, 1),
            names=LIVE,
            problem="migration-failed",
            detail="Unable to write to socket: Broken pipe",
            role="source",
        ),
        *(Verdict.FAIL, "channel", "Broken pipe"),
    ),
    "live: the source refuses": (
        leg(source(), destination(), names=LIVE, problem="qmp-error", detail=BLOCKED, role="source"),
        *(Verdict.BLOCKED, "blocked", ""),
    ),
    "live: the destination refuses": (
        leg(source(), destination(f"{P}{BLOCKED}", 1), names=LIVE, problem="exited", role="destination"),
        *(Verdict.FAIL, "blocked", ""),
    ),
}


@pytest.mark.parametrize(("evidence", "verdict", "kind", "field"), CASES.values(), ids=CASES.keys())
def test_a_problem(evidence: LegEvidence, verdict: Verdict, kind: str, field: str) -> None:
    judgement = judge_leg(evidence)
    assert judgement.cause is not None
    assert (judgement.verdict, judgement.cause.kind, judgement.cause.field) == (verdict, kind, field)
    assert judgement.stage is evidence.stages[-1].stage
    assert judgement.cause.message


def test_every_verdict_is_among_the_cases() -> None:
    assert {verdict for _, verdict, _, _ in CASES.values()} == set(Verdict) - {Verdict.PASS}


def test_no_problem_is_a_pass_whatever_was_printed() -> None:
    judgement = judge_leg(leg(emulator(REJECTED)))
    assert (judgement.verdict, judgement.cause, judgement.stage) == (Verdict.PASS, None, None)


@pytest.mark.parametrize(
    ("stderr", "verdict"),
    [
        (f"{P}-object x: Parameter 'qom-type' does not accept value 'tls-creds-x509'\n", Verdict.UNSUPPORTED),
        (f"{P}-zap: invalid option\n", Verdict.ERROR),
        (f"{P}-chardev x: Failed to bind socket: Address already in use\n", Verdict.ERROR),
    ],
)
def test_a_build_that_starts_without_the_mode_lacks_what_the_mode_adds(stderr: str, verdict: Verdict) -> None:
    judgement = started(judge_leg(leg(source(stderr, 1), names=START, problem="exited", role="source")))
    assert judgement.verdict is verdict


def test_infrastructure_is_an_error_even_with_a_problem() -> None:
    evidence = leg(names=LOAD, problem="exited", infrastructure="the engine went away")
    judgement = judge_leg(evidence)
    assert judgement.verdict is Verdict.ERROR
    assert judgement.cause is not None
    assert judgement.cause.message == "the engine went away"
    assert judgement.stage is Stage.LOAD


def test_infrastructure_before_anything_started_is_an_error_of_the_start() -> None:
    judgement = judge_leg(LegEvidence("k", (), (), infrastructure="no image"))
    assert (judgement.verdict, judgement.stage) == (Verdict.ERROR, Stage.START)


def test_a_problem_without_an_emulator_is_still_judged() -> None:
    evidence = LegEvidence("k", (StageEvidence(Stage.START, 1.0, "deadline", "not done within 1 s"),), ())
    judgement = judge_leg(evidence)
    assert judgement.cause is not None
    assert judgement.cause.kind == "hang"


def test_the_build_that_the_cause_comes_from_is_named() -> None:
    evidence = leg(
        source("x"), destination(REJECTED, 1), names=LIVE, problem="migration-failed", role="source"
    )
    assert judge_leg(evidence).build == "b"


@pytest.mark.parametrize(
    ("names", "sandbox", "uri", "verdict", "kind"),
    [
        # what stores hold of before snapshots went over a socket
        (
            FIRST,
            "on,obsolete=deny,spawn=deny,resourcecontrol=deny",
            "exec:cat >f",
            Verdict.ERROR,
            "spawn-denied",
        ),
        (LIVE, "on,spawn=deny", "exec:cat >f", Verdict.UNSUPPORTED, "spawn-denied"),
        (LIVE, "on,spawn=allow", "exec:cat >f", Verdict.FAIL, "crash"),
        (LIVE, "off,spawn=deny", "exec:cat >f", Verdict.FAIL, "crash"),
        (LIVE, "on,spawn=deny", "unix:s", Verdict.FAIL, "crash"),
    ],
)
def test_a_child_that_the_arguments_forbid_is_no_fault_of_the_build(
    names: tuple[Stage, ...], sandbox: str, uri: str, verdict: Verdict, kind: str
) -> None:
    sent = QmpMessage(0.1, ">", {"execute": "migrate", "arguments": {"uri": uri}})
    confined = replace(source("", -31), argv=("qemu", "-sandbox", sandbox), qmp=(sent,))

    judgement = judge_leg(leg(confined, names=names, problem="exited", role="source"))

    assert judgement.verdict is verdict
    assert judgement.cause is not None
    assert judgement.cause.kind == kind


CRASHED = leg(destination("", -11), names=LOAD, problem="exited")
HUNG = leg(names=LOAD, problem="deadline", detail="not done within 60 s")


@pytest.mark.parametrize(
    ("first", "second", "verdict", "kind"),
    [
        (CRASHED, CRASHED, Verdict.FAIL, "crash"),
        (CRASHED, leg(names=NORMAL), Verdict.ERROR, "flaky"),
        (HUNG, leg(names=NORMAL), Verdict.ERROR, "flaky"),
        (HUNG, CRASHED, Verdict.FAIL, "flaky"),
        (HUNG, leg(destination("", -9), names=LOAD, problem="exited"), Verdict.ERROR, "flaky"),
    ],
)
def test_two_answers_of_one_leg_are_flaky(
    first: LegEvidence, second: LegEvidence, verdict: Verdict, kind: str
) -> None:
    judgement = judge_leg(replace(first, again=second))

    assert judgement.verdict is verdict
    assert judgement.cause is not None
    assert judgement.cause.kind == kind
