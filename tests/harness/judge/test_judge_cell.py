# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest
from judge_evidence import FIRST, NORMAL, SECONDS, emulator, leg

from migmatrix.harness.judge import CellJudgement, judge_cell, named_by
from migmatrix.harness.model import Cell, LegEvidence, Stage, Verdict

P = "qemu-system-x86_64: "
UNKNOWN = f"{P}-device igb: 'igb' is not a valid device model name"
BLOCKED = "State blocked by non-migratable device '0000:00:05.0/nvme'"
REJECTED = f"{P}Missing section footer for 0000:00:03.0/xhci\n{P}load of migration failed: Invalid argument"
START = (Stage.START,)
LOAD = (Stage.START, Stage.LOAD)
MIDDLE = (*NORMAL, Stage.SAVE)
LIVE = (Stage.START, Stage.MIGRATE, Stage.CHECK)

PAIR = Cell("pc-q35-7.2", "net", ("a", "b"))
CHAIN = Cell("pc-q35-7.2", "net", ("a", "b", "c"))
LIVE_CHAIN = Cell("pc-q35-7.2", "net", ("a", "b", "c"), "tcp")

SAVED = leg(emulator(build="a", role="source"), names=FIRST, key="k0")
LOADED = leg(emulator(build="b"), names=NORMAL, key="k1")
PASSED_ON = leg(emulator(build="b"), names=MIDDLE, key="k1")
ARRIVED = leg(emulator(build="c"), names=NORMAL, key="k2")
REFUSES_START = leg(emulator(UNKNOWN, exit_status=1, build="b"), names=START, problem="exited", key="p")
STARTS = leg(emulator(build="b"), names=START, key="p")


def rejecting(build: str, key: str = "k") -> LegEvidence:
    return leg(emulator(REJECTED, exit_status=1, build=build), names=LOAD, problem="exited", key=key)


def summary(result: CellJudgement) -> tuple[Verdict, int | None, Stage | None, str | None]:
    kind = result.cause.kind if result.cause else None
    return result.verdict, result.hop, result.stage, kind


def failing(names: tuple[Stage, ...], build: str, problem: str = "exited") -> LegEvidence:
    return leg(emulator(exit_status=-11, build=build), names=names, problem=problem)


def test_a_pass() -> None:
    result = judge_cell(CHAIN, [SAVED, PASSED_ON, ARRIVED], {"b": STARTS})
    assert summary(result) == (Verdict.PASS, None, None, None)
    assert result.legs == ("k0", "k1", "k2")
    assert result.seconds == pytest.approx(SECONDS * (len(FIRST) + len(MIDDLE) + len(NORMAL)))
    assert (result.signature, result.reason) == (None, "")


@pytest.mark.parametrize(
    ("legs", "migration", "stage"),
    [
        ([failing(FIRST, "a"), None, None], 1, Stage.SAVE),
        ([failing((Stage.START, Stage.RUN), "a"), None, None], 1, Stage.RUN),
        ([SAVED, failing(LOAD, "b"), None], 1, Stage.LOAD),
        ([SAVED, failing(NORMAL, "b"), None], 1, Stage.CHECK),
        ([SAVED, failing((*NORMAL, Stage.RUN), "b"), None], 2, Stage.RUN),
        ([SAVED, failing(MIDDLE, "b"), None], 2, Stage.SAVE),
        ([SAVED, PASSED_ON, failing(LOAD, "c")], 2, Stage.LOAD),
        ([SAVED, PASSED_ON, failing(NORMAL, "c")], 2, Stage.CHECK),
    ],
)
def test_the_migration_that_failed(legs: list[LegEvidence | None], migration: int, stage: Stage) -> None:
    result = judge_cell(CHAIN, legs, {})
    assert summary(result) == (Verdict.FAIL, migration, stage, "crash")
    assert result.signature == f"crash SIGSEGV {stage}"
    assert len(result.legs) == sum(h is not None for h in legs)


@pytest.mark.parametrize(("legs", "migration"), [(["bad", None], 1), (["good", "bad"], 2)])
def test_the_migration_that_failed_live(legs: list[str | None], migration: int) -> None:
    known = {"good": leg(names=LIVE), "bad": rejecting("c"), None: None}
    result = judge_cell(LIVE_CHAIN, [known[h] for h in legs], {})
    assert summary(result)[:2] == (Verdict.FAIL, migration)


def test_a_failing_cell_says_what_and_where() -> None:
    result = judge_cell(PAIR, [SAVED, rejecting("b", "k1")], {})
    assert summary(result) == (Verdict.FAIL, 1, Stage.LOAD, "missing-footer")
    assert result.signature == "missing-footer xhci"
    assert result.legs == ("k0", "k1")


def test_what_the_last_build_does_for_a_longer_chain_is_no_concern_of_a_pair() -> None:
    shared = failing(MIDDLE, "b")
    assert judge_cell(PAIR, [SAVED, shared], {}).verdict is Verdict.PASS
    assert judge_cell(CHAIN, [SAVED, shared, None], {}).verdict is Verdict.FAIL


def test_a_build_that_does_not_start_makes_the_cell_unsupported() -> None:
    result = judge_cell(PAIR, [None, None], {"a": leg(names=START), "b": REFUSES_START})
    assert summary(result) == (Verdict.UNSUPPORTED, None, Stage.START, "unknown-device")
    assert result.reason == "build 'b' cannot start this: 'igb' is not a valid device model name"
    assert result.legs == ("p",)


def test_a_first_leg_that_does_not_start_needs_no_probe() -> None:
    result = judge_cell(PAIR, [REFUSES_START, None], {})
    assert summary(result)[:2] == (Verdict.UNSUPPORTED, None)


def test_a_crash_at_a_plain_start_is_unsupported_and_says_so() -> None:
    crash = leg(emulator(exit_status=-6), names=START, problem="exited")
    result = judge_cell(PAIR, [None, None], {"a": crash})
    assert result.verdict is Verdict.UNSUPPORTED
    assert result.reason == "build 'a' crashed at its start: ended by SIGABRT in start"


def test_a_build_that_starts_alone_but_not_in_a_leg_fails() -> None:
    crash = leg(emulator(exit_status=-11, build="b"), names=START, problem="exited")
    assert judge_cell(PAIR, [SAVED, crash], {}).verdict is Verdict.UNSUPPORTED
    result = judge_cell(PAIR, [SAVED, crash], {"b": STARTS})
    assert summary(result) == (Verdict.FAIL, 1, Stage.START, "crash")


def test_a_build_that_starts_alone_and_is_refused_in_a_leg_met_the_host() -> None:
    taken = f"{P}-netdev user,id=n: something is taken\n"
    refused = leg(emulator(taken, exit_status=1, build="b"), names=START, problem="exited")
    assert judge_cell(PAIR, [SAVED, refused], {"b": STARTS}).verdict is Verdict.ERROR


def test_a_mode_that_a_build_does_not_know_is_unsupported_though_it_starts() -> None:
    text = "Parameter 'capability' does not accept value 'mapped-ram'"
    refusal = leg(emulator(build="b"), names=START, problem="qmp-error", detail=text)
    result = judge_cell(PAIR, [SAVED, refusal], {"b": STARTS})
    assert result.verdict is Verdict.UNSUPPORTED
    assert result.reason == f"build 'b' refuses this mode: {text}"


def test_a_plain_start_that_hangs_is_a_failure() -> None:
    hang = leg(names=START, problem="deadline", detail="not done within 30 s")
    assert summary(judge_cell(PAIR, [None, None], {"b": hang})) == (*(Verdict.FAIL, 1, Stage.START, "hang"),)


def test_what_a_probe_did_after_its_start_does_not_matter() -> None:
    probe = leg(emulator(exit_status=-11), names=FIRST, problem="exited")
    assert judge_cell(PAIR, [SAVED, LOADED], {"a": probe}).verdict is Verdict.PASS


def test_a_source_that_refuses_is_blocked() -> None:
    refusal = leg(emulator(build="b"), names=MIDDLE, problem="qmp-error", detail=BLOCKED, role="source")
    result = judge_cell(CHAIN, [SAVED, refusal, None], {})
    assert summary(result) == (Verdict.BLOCKED, 2, Stage.SAVE, "blocked")
    assert result.signature == "blocked nvme"


@pytest.mark.parametrize("in_probe", [False, True])
def test_a_fault_of_the_host_is_an_error(in_probe: bool) -> None:
    broken = leg(names=START, infrastructure="the engine went away", key="x")
    result = judge_cell(PAIR, [SAVED, broken], {"b": broken} if in_probe else {})
    assert summary(result) == (Verdict.ERROR, 1, Stage.START, "infrastructure")
    assert result.reason == "the engine went away"


@pytest.mark.parametrize("legs", [[SAVED, None], [None, LOADED], [None, None]])
def test_a_leg_that_is_missing_for_no_reason_is_a_bug(legs: list[LegEvidence | None]) -> None:
    with pytest.raises(ValueError, match="is missing, and nothing before it failed"):
        judge_cell(PAIR, legs, {})


@pytest.mark.parametrize("legs", [[], [SAVED, LOADED, LOADED]])
def test_a_wrong_number_of_legs_is_a_bug(legs: list[LegEvidence | None]) -> None:
    with pytest.raises(ValueError, match="neither one a build nor one a migration"):
        judge_cell(PAIR, legs, {})


def test_judging_again_gives_the_same() -> None:
    legs = [SAVED, rejecting("b"), None]
    assert judge_cell(CHAIN, legs, {}) == judge_cell(CHAIN, legs, {})


def test_builds_are_named_as_the_cell_names_them_not_as_the_run_that_filled_the_store() -> None:
    """A start that is refused in a leg though its probe starts is the host's: the probe is found by the cell's name."""
    refused = leg(emulator(UNKNOWN, exit_status=1, build="other"), names=START, problem="exited")
    result = judge_cell(PAIR, [SAVED, refused], {"b": STARTS})
    assert summary(result)[0] is Verdict.ERROR
    live = leg(
        emulator(build="x", role="source"), emulator(REJECTED, exit_status=1, build="y"), names=LIVE, problem="exited",
    )  # fmt: skip
    named = named_by(("b", "c"), replace(live, again=live))
    assert [one.build for one in named.emulators] == ["b", "c"]
    assert named.again is not None
    assert [one.build for one in named.again.emulators] == ["b", "c"]
