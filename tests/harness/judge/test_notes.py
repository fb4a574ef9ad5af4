# SPDX-License-Identifier: Apache-2.0
"""A passing cell whose sides were told different things says so."""

from __future__ import annotations

import shlex

import pytest

from migmatrix.harness.judge import judge_cell
from migmatrix.harness.model import Cell, EmulatorEvidence, LegEvidence, Stage, StageEvidence, Verdict


def leg(build: str, arguments: str, *, problem: str = "") -> LegEvidence:
    """A leg as the harness starts it: each in a job of its own, all but the first with a stream to come."""
    role = "source" if build == "A" else "destination"
    incoming = () if build == "A" else ("-incoming", "defer")
    argv = (
        *(f"/builds/{build}/qemu", "-machine", "pc-q35-10.0", "-display", "none", "-S"),
        *shlex.split(arguments.replace("JOB", f"/jobs/{build}/7")),
        *("-qmp", f"unix:/jobs/{build}/7/qmp", *incoming),
    )
    stages = (StageEvidence(Stage.START, 0.1), StageEvidence(Stage.LOAD, 0.1, problem))
    return LegEvidence(build, stages, (EmulatorEvidence(role, build, "10.0.13", argv),))


def notes_of(*arguments: str, problem: str = "") -> tuple[str, ...]:
    builds = tuple("ABCD"[: len(arguments)])
    legs = [leg(*pair, problem=problem) for pair in zip(builds, arguments, strict=True)]
    return judge_cell(Cell("pc-q35-10.0", "p", builds), legs, {}).notes


@pytest.mark.parametrize(
    ("source", "destination", "note"),
    [
        ("-smp 2", "-smp 4", "'-smp 4' in place of '-smp 2'"),
        ("-m 64", "-m 64 -device i6300esb", "'-device i6300esb' is new"),
        ("-device pc-dimm,id=d -m 64", "-m 64", "'-device pc-dimm,id=d' is gone"),
        ("-device e1000,mac=0", "-device e1000,mac=1", "'-device e1000,mac=1' in place of '-device e1000,mac=0'"),
        ("-device hda-duplex", "-device hda-micro", "'-device hda-micro' is new, '-device hda-duplex' is gone"),
        ("-machine acpi=off", "--machine acpi=on", "'-machine acpi=on' in place of '-machine acpi=off'"),
        ("-no-hpet", "", "'-no-hpet' is gone"),
        ("-global a.x=1 -global b.y=1", "-global a.x=1 -global b.y=2", "'-global b.y=2' in place of '-global b.y=1'"),
        (
            "-blockdev null-co,node-name=n,size=1 -device ide-hd,drive=n,serial=A",
            "-blockdev null-co,node-name=n,size=2 -device ide-hd,drive=n,serial=B",
            (
                "'-blockdev null-co,node-name=n,size=2' in place of '-blockdev null-co,node-name=n,size=1', "
                "'-device ide-hd,drive=n,serial=B' in place of '-device ide-hd,drive=n,serial=A'"
            ),
        ),
        (
            "-device pc-dimm,memdev=a -device pc-dimm,memdev=b",
            "-device pc-dimm,memdev=b -device pc-dimm,memdev=a",
            "the same in another order",
        ),
    ],
)  # fmt: skip
def test_what_the_destination_is_told_otherwise(source: str, destination: str, note: str) -> None:
    assert notes_of(source, destination) == (f"A > B: {note}",)


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("-smp 2 -m 64", "-smp 2 -m 64"),
        ("-name one -vnc :1 -accel tcg", "-name two -display none -accel kvm"),
        ("-L /one -D log -sandbox on", "-L /two"),
        ("-chardev file,id=migmatrix,path=JOB/log", "-chardev file,id=migmatrix,path=JOB/log"),
    ],
)
def test_what_no_guest_sees_is_no_note(source: str, destination: str) -> None:
    assert notes_of(source, destination) == ()


def test_a_chain_has_the_notes_of_its_steps() -> None:
    assert notes_of("-smp 2", "-smp 2", "-smp 4", "-smp 4") == ("B > C: '-smp 4' in place of '-smp 2'",)


def test_a_cell_that_fails_has_none() -> None:
    assert notes_of("-smp 2", "-smp 4", problem="exited") == ()


def test_a_note_changes_no_verdict() -> None:
    cell = Cell("pc-q35-10.0", "p", ("A", "B"))
    assert judge_cell(cell, [leg("A", "-smp 2"), leg("B", "-smp 4")], {}).verdict is Verdict.PASS


def test_a_note_names_builds_as_the_cell_does() -> None:
    """Evidence of a store bears the names of the run that made it."""
    legs = [leg("A", "-smp 2"), leg("B", "-smp 4")]
    (note,) = judge_cell(Cell("pc-q35-10.0", "p", ("old", "new")), legs, {}).notes
    assert note == "old > new: '-smp 4' in place of '-smp 2'"
