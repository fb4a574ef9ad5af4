# SPDX-License-Identifier: Apache-2.0
"""The statuses and events of each side are read from the evidence, bounded, and builds are compared by them."""

from __future__ import annotations

from typing import Any

import pytest

from migmatrix.harness.judge import judge_cell
from migmatrix.harness.model import (
    Cell,
    CellResult,
    Course,
    EmulatorEvidence,
    LegEvidence,
    Outcome,
    QmpMessage,
    Stage,
    StageEvidence,
    Verdict,
)
from migmatrix.harness.report.courses import Unlike, describe_unlike, unlike

SENDS, LOADS = {"execute": "migrate"}, {"execute": "migrate-incoming"}
RESUMES = {"execute": "migrate", "arguments": {"resume": True}}


def said(*words: str | dict[str, Any]) -> tuple[QmpMessage, ...]:
    """A QMP exchange: commands are objects, statuses lower case, events capitals."""
    log = []
    for word in words:
        if isinstance(word, dict):
            log.append(QmpMessage(0.0, ">", word))
        elif word.isupper():
            log.append(QmpMessage(0.0, "<", {"event": word}))
        else:
            log.append(QmpMessage(0.0, "<", {"event": "MIGRATION", "data": {"status": word}}))
    return tuple(log)


def leg(*emulators: tuple[str, str, tuple[QmpMessage, ...]], stage: Stage = Stage.MIGRATE) -> LegEvidence:
    told = tuple(EmulatorEvidence(role, build, "10.0.0", ("q",), qmp=log) for role, build, log in emulators)
    return LegEvidence("k", (StageEvidence(stage, 0.1),), told)


def courses_of(*legs: LegEvidence, path: str) -> list[tuple[int, str, str, str]]:
    judged = judge_cell(Cell("m", "p", tuple(path)), legs, {})
    return [(c.hop, c.role, c.build, " ".join(c.said)) for c in judged.courses]


def test_a_live_hop_has_two_courses() -> None:
    """What came in late of the time before is left out, as is what the guest does."""
    source = said(
        SENDS, "RESUME", "setup", "MIGRATION_PASS", "active", "RESET", "STOP", "completed", "SHUTDOWN"
    )
    destination = said(LOADS, "setup", "active", "RESUME", "completed")
    assert courses_of(leg(("source", "A", source), ("destination", "B", destination)), path="AB") == [
        (1, "source", "A", "setup MIGRATION_PASS active STOP completed"),
        (1, "destination", "B", "setup active RESUME completed"),
    ]


def test_a_recovery_goes_on_with_the_course() -> None:
    """7.2 says `setup` once more at its destination."""
    source = said(SENDS, "setup", "postcopy-paused", RESUMES, "postcopy-recover", "completed")
    destination = said(LOADS, "setup", "postcopy-paused", "setup", "postcopy-recover", "completed")
    assert [
        c[3] for c in courses_of(leg(("source", "A", source), ("destination", "B", destination)), path="AB")
    ] == [
        "setup postcopy-paused postcopy-recover completed",
        "setup postcopy-paused setup postcopy-recover completed",
    ]


def test_the_middle_of_a_chain_says_each_of_its_courses_once() -> None:
    loads = said(LOADS, "setup", "completed")
    first = leg(("source", "A", said(SENDS, "setup", "device", "completed")), ("destination", "B", loads))
    both = (*loads, *said(SENDS, "setup", "failed", "completed"))
    second = leg(("source", "B", both), ("destination", "C", loads))
    assert [c[:3] for c in courses_of(first, second, path="ABC")] == [
        (1, "source", "A"), (1, "destination", "B"), (2, "source", "B"), (2, "destination", "C")
    ]  # fmt: skip


def test_a_snapshot_leg_has_the_end_of_one_hop_and_the_begin_of_the_next() -> None:
    """What the last build saves for the sake of a longer chain is left out."""
    sends, loads = said(SENDS, "setup", "completed"), said(LOADS, "setup", "active", "completed")
    legs = [
        leg(("source", "A", sends), stage=Stage.SAVE),
        leg(("destination", "B", (*loads, *sends)), stage=Stage.SAVE),
    ]
    assert courses_of(*legs, path="AB") == [
        (1, "source", "A", "setup completed"),
        (1, "destination", "B", "setup active completed"),
    ]


@pytest.mark.parametrize("strange", ["\x1b[31mred", "", "x" * 41, "two words"])
def test_a_strange_word_is_not_repeated(strange: str) -> None:
    log = (*said(SENDS, "setup"), QmpMessage(0.0, "<", {"event": "MIGRATION", "data": {"status": strange}}))
    assert courses_of(leg(("source", "A", log), ("destination", "B", ())), path="AB")[0][3] == "setup ?"


@pytest.mark.parametrize("data", [None, [], {}, {"status": None}, {"status": {"a": 1}}])
def test_an_event_of_another_shape_is_strange(data: object) -> None:
    log = (*said(SENDS, "setup"), QmpMessage(0.0, "<", {"event": "MIGRATION", "data": data}))
    (course,) = courses_of(leg(("source", "A", log), ("destination", "B", ())), path="AB")
    assert course[3] == "setup ?"


def test_a_course_is_bounded() -> None:
    log = said(SENDS, "setup", *[f"status-{n}" for n in range(100_000)])
    ((*_, text),) = courses_of(leg(("source", "A", log), ("destination", "B", ())), path="AB")
    assert len(text.split()) == 65
    assert text.endswith(" status-62 ...")


def result(mode: str, *courses: Course) -> CellResult:
    path = tuple(course.build for course in courses)
    return CellResult(Cell("m", "p", path, mode), Verdict.PASS, Outcome.OK, courses=courses)


def pair(mode: str, source: str, destination: str, **words: str) -> CellResult:
    return result(
        mode,
        Course(1, "source", source, ("setup", *words.get(source, "").split(), "completed")),
        Course(1, "destination", destination, ("setup", "completed")),
    )


def test_a_status_that_only_one_build_has_is_found_once_for_all_modes() -> None:
    results = [
        pair(mode, source, destination, new="device")
        for mode in ("tcp", "unix")
        for source in ("old", "new")
        for destination in ("old", "new")
    ]
    found = Unlike("device", "source", ("new",), ("old",), ("tcp", "unix"), ("paused",))
    assert unlike(results) == [found]
    assert describe_unlike(found) == (
        "'device' on the source's side: said by new, not by old (mode tcp, unix; guest paused)"
    )


def test_a_build_is_asked_only_where_it_took_part() -> None:
    assert unlike([pair("tcp", "new", "new", new="device"), pair("unix", "old", "old")]) == []


def test_a_status_that_comes_again_is_another_and_an_event_is_not() -> None:
    again = [pair("tcp", "a", "a", a="x PASS x PASS"), pair("tcp", "b", "b", b="x PASS")]
    assert [one.word for one in unlike(again)] == ["x again"]


def test_a_result_keeps_its_courses() -> None:
    one = pair("tcp", "old", "new", old="device")
    assert CellResult.from_json(one.to_json()) == one
    data = one.to_json()
    del data["courses"]  # as an older version wrote it
    assert CellResult.from_json(data).courses == ()
