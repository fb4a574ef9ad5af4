# SPDX-License-Identifier: Apache-2.0
"""The judgement of one leg from its evidence.

Rules, in order:
1. Evidence with an `infrastructure` text is an error; evidence without a problem is a pass, unless the destination says
   otherwise than it was told (`equality.py`), or the guest `pulse` found something wrong (`pulse.py`).
2. That somebody outside ended a side is the cause, before all that may follow from it; else a crash of either side,
   whatever else was printed.
3. Else what either side says, the one that the problem was seen on first; a text that is not known, or an end
   without one, gives way to it; a symptom (the connection broke, the stream ended) to all.
4. Text that is more than a symptom decides what a deadline was about; without one it is a hang.
5. What the harness asked for although the arguments forbid it is no emulator's fault.
6. A leg that was done again and gave another answer is flaky: a failure if it failed both times, else an error.
7. A cause of the host's is an error; a problem at the start is `unsupported`, unless it was a deadline or the emulator
   did what none does: that is no refusal. A refusal is `blocked` on the source side and a failure on the destination's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from migmatrix.harness.judge.classify import classify
from migmatrix.harness.judge.equality import changed_state
from migmatrix.harness.judge.killed import killed_sides
from migmatrix.harness.judge.pulse import guest_cause
from migmatrix.harness.judge.signature import signature
from migmatrix.harness.judge.table import Tells, load_table
from migmatrix.harness.judge.text import clean
from migmatrix.harness.model import Cause, Stage, Verdict

if TYPE_CHECKING:
    from migmatrix.harness.model import EmulatorEvidence, LegEvidence, StageEvidence

__all__ = ["LegJudgement", "doubtful", "flaky", "judge_leg", "started"]

# Less than this left where the stream was written: what failed there, failed for want of space.
_DISK_FULL_BYTES = 1 << 20
_NEEDS_SPACE = (Stage.EQUALITY, Stage.SAVE, Stage.MIGRATE)
_TERMINATED = re.compile(r"terminating on signal (\d+).*")
_NO_CHILDREN = re.compile(r"^(?:on|enable=on),(?:.*,)?spawn=deny(?:,|$)")
_STATUS = re.compile(r"status '([\w-]+)'")
# What a cause must tell at least to explain a problem; a guest that is not well is explained by no text.
_LEAST = {
    "deadline": Tells.END,
    **dict.fromkeys(("wrong-status", "silent", "malformed", "not-refused", "memory-differs"), Tells.CRASH),
}
_DOUBTFUL = ("crash", "hang", "guest-silent", "guest-broken")
_NO_REASON = "no reason given"  # how a leg says that the emulator could not be asked for one


@dataclass(frozen=True, slots=True)
class LegJudgement:
    """`stage`, `cause`, `problem` (of `StageEvidence`) and `build` say what, unless the verdict is pass."""

    verdict: Verdict
    stage: Stage | None = None
    cause: Cause | None = None
    problem: str = ""
    build: str = ""


@dataclass(frozen=True, slots=True)
class _Finding:
    cause: Cause
    role: str = ""
    build: str = ""


def judge_leg(evidence: LegEvidence) -> LegJudgement:
    """Verdict, stage and cause of one leg; pure."""
    judgement = _judge(evidence)
    return judgement if evidence.again is None else _both(judgement, _judge(evidence.again))


def doubtful(judgement: LegJudgement) -> bool:
    """Whether it counts only when the leg, done again, gives the same answer: a busy host may be behind it."""
    return judgement.cause is not None and judgement.cause.kind in _DOUBTFUL


def flaky(judgement: LegJudgement) -> bool:
    """Whether the leg was done twice and gave two answers."""
    return judgement.cause is not None and judgement.cause.kind == "flaky"


def _both(first: LegJudgement, second: LegJudgement) -> LegJudgement:
    """The judgement of a leg that was done twice."""
    if (first.verdict, first.stage, _signature(first)) == (second.verdict, second.stage, _signature(second)):
        return first
    verdict = Verdict.FAIL if first.verdict is second.verdict is Verdict.FAIL else Verdict.ERROR
    cause = Cause("flaky", message=f"flaky: {_told(first)}, and done again: {_told(second)}")
    return replace(first, verdict=verdict, cause=cause)


def _signature(judgement: LegJudgement) -> str:
    return signature(judgement.cause) if judgement.cause else ""


def _told(judgement: LegJudgement) -> str:
    if judgement.cause is None:
        return str(judgement.verdict)
    return f"{judgement.cause.kind} at {judgement.stage} ({judgement.cause.message})"


def _judge(evidence: LegEvidence) -> LegJudgement:
    if evidence.infrastructure:
        return _infrastructure(evidence)
    failed = evidence.failed
    if failed is None:
        return _of_state(evidence) or _of_guest(evidence)
    if failed.problem == "absent":
        cause = Cause("guest-absent", message=failed.detail)
        return LegJudgement(Verdict.ERROR, failed.stage, cause, failed.problem, evidence.emulators[-1].build)
    finding = _spawn_denied(evidence) or _placed(
        _lack_of_space(evidence, failed, _find(evidence, failed)), evidence, failed
    )
    verdict = _verdict(failed, finding)
    return LegJudgement(verdict, failed.stage, finding.cause, failed.problem, finding.build)


def started(judgement: LegJudgement) -> LegJudgement:
    """The judgement of a leg whose build started with the same arguments by itself.

    That it refuses a mode stays, and that it does not know what the mode adds to the arguments.
    """
    lacks = judgement.cause is not None and judgement.cause.kind == "mode-unknown"
    refused = judgement.stage is Stage.START and judgement.problem != "qmp-error" and not lacks
    if not refused or judgement.verdict is not Verdict.UNSUPPORTED:
        return judgement
    own = judgement.cause is not None and _own_end(judgement.cause)
    return replace(judgement, verdict=Verdict.FAIL if own else Verdict.ERROR)


def _own_end(cause: Cause) -> bool:
    """A crash, or an end with success that nobody asked for: nothing that a host lacks makes an emulator do that."""
    return cause.kind == "crash" or (cause.kind == "exit" and cause.field == "status 0")


def _of_state(evidence: LegEvidence) -> LegJudgement | None:
    """Of a leg whose stages all went well: what its emulator said otherwise than it was told."""
    changed = changed_state(evidence)
    if changed is None:
        return None
    verdict = load_table().kind(changed.kind).verdict
    return LegJudgement(verdict, Stage.EQUALITY, changed, changed.kind, evidence.emulators[-1].build)


def _of_guest(evidence: LegEvidence) -> LegJudgement:
    """Of a leg whose stages all went well: what the guest itself found wrong."""
    found = guest_cause(evidence)
    if found is None:
        return LegJudgement(Verdict.PASS)
    checked = any(stage.stage is Stage.CHECK for stage in evidence.stages)
    return LegJudgement(Verdict.FAIL, Stage.CHECK if checked else Stage.RUN, found[0], "guest", found[1])


def _placed(finding: _Finding, evidence: LegEvidence, failed: StageEvidence) -> _Finding:
    """A crash of few words is told with its stage: one while saving and one while loading are two problems.

    Of a kill from outside, all sides are told that got one.
    """
    cause = finding.cause
    if cause.kind == "killed":
        words = f"{cause.message} in {failed.stage}: {killed_sides(evidence)}"
        return replace(finding, cause=replace(cause, message=words))
    if cause.kind != "crash" or cause.message != f"ended by {cause.field}":
        return finding
    return replace(finding, cause=replace(cause, message=f"{cause.message} in {failed.stage}"))


def _infrastructure(evidence: LegEvidence) -> LegJudgement:
    stage = evidence.stages[-1].stage if evidence.stages else Stage.START
    build = evidence.emulators[-1].build if evidence.emulators else ""
    cause = Cause("infrastructure", message=evidence.infrastructure)
    return LegJudgement(Verdict.ERROR, stage, cause, "infrastructure", build)


def _spawn_denied(evidence: LegEvidence) -> _Finding | None:
    """A child process that the harness asked for with ``exec:``, of an emulator whose ``-sandbox`` forbids it."""
    for emulator in evidence.emulators:
        uris = (
            str(sent.message.get("arguments", {}).get("uri", ""))
            for sent in emulator.qmp
            if sent.direction == ">"
        )
        if any(map(_NO_CHILDREN.search, emulator.argv)) and any(uri.startswith("exec:") for uri in uris):
            cause = Cause(
                "spawn-denied", message="-sandbox with spawn=deny forbids the child process of exec:"
            )
            return _Finding(cause, emulator.role, emulator.build)
    return None


def _find(evidence: LegEvidence, failed: StageEvidence) -> _Finding:
    speakers = _speakers(evidence, failed)
    findings = [f for n, e in enumerate(speakers) if (f := _spoken(e, failed, is_first=n == 0))]
    least = _LEAST.get(failed.problem, Tells.SYMPTOM)
    findings = [f for f in findings if _tells(f.cause).rank <= least.rank]
    if findings:
        return min(findings, key=lambda f: _tells(f.cause).rank)  # the first of equals
    silent = _unspoken(speakers[0] if speakers else None, failed)
    return _Finding(silent, speakers[0].role, speakers[0].build) if speakers else _Finding(silent)


def _speakers(evidence: LegEvidence, failed: StageEvidence) -> list[EmulatorEvidence]:
    """The emulators, the one that the problem was seen on first; without a role the destination."""
    wanted = failed.role or "destination"
    return sorted(evidence.emulators, key=lambda e: e.role != wanted)


def _spoken(emulator: EmulatorEvidence, failed: StageEvidence, *, is_first: bool) -> _Finding | None:
    """What one emulator says, or how it ended."""
    detail = _detail(failed) if is_first else _error_desc(emulator)
    cause = classify(emulator.stderr, version=emulator.version, detail=detail, exit=emulator.exit)
    if cause is None and detail and is_first:
        cause = Cause("unclassified", message=detail.splitlines()[-1])
    if emulator.exit is not None and _TERMINATED.search(emulator.stderr):
        cause = _ended(emulator)
    elif emulator.exit is not None and (cause is None or _tells(cause) is Tells.SYMPTOM):
        cause = _ended(emulator) or cause
    return _Finding(cause, _role(emulator, failed), emulator.build) if cause else None


def _error_desc(emulator: EmulatorEvidence) -> str:
    """Why its migration failed, in its answer to `query-migrate`: 11.1 prints it nowhere else."""
    answers = (said.message.get("return") for said in reversed(emulator.qmp) if said.direction == "<")
    told = (str(answer.get("error-desc", "")) for answer in answers if isinstance(answer, dict))
    return next(filter(None, told), "")


def _tells(cause: Cause) -> Tells:
    return load_table().kind(cause.kind).tells


def _ended(emulator: EmulatorEvidence) -> Cause | None:
    """How an emulator ended that said nothing that is known; None when it said at least of a symptom."""
    if found := _TERMINATED.search(emulator.stderr):
        return Cause("terminated", field=f"signal {found[1]}", message=found[0])
    if lines := clean(emulator.stderr).splitlines():
        known = classify(emulator.stderr, version=emulator.version)
        return None if known else Cause("unclassified", message=lines[-1])
    status = f"status {emulator.exit}"
    return Cause("exit", field=status, message=f"ended with {status} and said nothing")


def _detail(failed: StageEvidence) -> str:
    """The emulator's own words; of other problems `detail` holds the harness's."""
    theirs = failed.problem in ("qmp-error", "migration-failed") and not failed.detail.startswith(_NO_REASON)
    return failed.detail if theirs else ""


def _role(emulator: EmulatorEvidence, failed: StageEvidence) -> str:
    """What the emulator was at that stage; a snapshot's is first destination, then source."""
    return {Stage.LOAD: "destination", Stage.EQUALITY: "source", Stage.SAVE: "source"}.get(
        failed.stage, emulator.role
    )


def _unspoken(emulator: EmulatorEvidence | None, failed: StageEvidence) -> Cause:
    """The cause when nothing that is known was printed and no emulator ended."""
    stage, detail = failed.stage.value, failed.detail
    match failed.problem:
        case "deadline":
            return Cause("hang", field=stage, message=detail)
        case "wrong-status":
            status = _STATUS.search(detail)
            return Cause("guest-status", field=status[1] if status else "", message=detail)
        case "silent" | "not-refused" | "memory-differs" as seen:
            return Cause("guest-silent" if seen == "silent" else seen, message=detail)
        case "malformed":
            return Cause("malformed", field=stage, message=detail)
    printed = clean(emulator.stderr).splitlines() if emulator else []
    if lines := [*printed, *_detail(failed).splitlines()]:
        return Cause("unclassified", message=lines[-1])
    return Cause("unexplained", field=stage, message=f"{failed.problem}, and nothing says why")


def _lack_of_space(evidence: LegEvidence, failed: StageEvidence, finding: _Finding) -> _Finding:
    full = evidence.free_bytes is not None and evidence.free_bytes < _DISK_FULL_BYTES
    if not full or failed.stage not in _NEEDS_SPACE or not load_table().kind(finding.cause.kind).vague:
        return finding
    message = f"{evidence.free_bytes} bytes left where the stream was written; {finding.cause.message}"
    return _Finding(Cause("disk-full", message=message), finding.role, finding.build)


def _verdict(failed: StageEvidence, finding: _Finding) -> Verdict:
    wanted = load_table().kind(finding.cause.kind).verdict
    if wanted is Verdict.ERROR or _own_doing(failed, finding.cause):
        return Verdict.ERROR
    if failed.stage is Stage.START:
        spoiled = failed.problem == "deadline" or finding.cause.kind == "malformed"
        return Verdict.FAIL if spoiled else Verdict.UNSUPPORTED
    if wanted is Verdict.BLOCKED and finding.role == "source":
        return Verdict.BLOCKED
    if wanted is Verdict.UNSUPPORTED and (
        failed.problem == "qmp-error" or finding.cause.kind == "spawn-denied"
    ):
        return Verdict.UNSUPPORTED
    return Verdict.FAIL


def _own_doing(failed: StageEvidence, cause: Cause) -> bool:
    """Of a snapshot: nobody but the harness holds its other end, and of old the harness asked for a child process."""
    return failed.stage is not Stage.MIGRATE and (
        cause.kind == "spawn-denied"
        or (failed.stage in (Stage.EQUALITY, Stage.SAVE) and cause.kind == "channel")
    )
