# SPDX-License-Identifier: Apache-2.0
"""What the two sides of a migration are told otherwise, and trials that tell them the same; nothing is run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from migmatrix.harness.errors import InfrastructureError
from migmatrix.harness.explain.explain import _told_otherwise
from migmatrix.harness.explain.fix import told_fix
from migmatrix.harness.explain.tableline import line_type
from migmatrix.harness.explain.told import alike, differing_units, shorter_pairs, told, without
from migmatrix.harness.model import Cell, CellResult, Guest, Mode, Outcome, Verdict
from migmatrix.harness.trials.qom import MachineView
from migmatrix.harness.trials.records import Attempt, Setting, Side, Step, Trial

if TYPE_CHECKING:
    from migmatrix.harness.trials.runner import TrialRunner

SNAPSHOT = Mode("snapshot")


def trial(source: str, destination: str, mode: Mode = SNAPSHOT) -> Trial:
    steps = (Step("old", args=tuple(source.split())), Step("new", args=tuple(destination.split())))
    return Trial("pc-q35-7.2", ("-nodefaults",), steps, mode, Guest("paused", "paused"))


@pytest.mark.parametrize(
    ("source", "destination", "texts"),
    [
        ("-smp 4", "-smp 2", ["-smp 4 against -smp 2"]),
        ("-device virtio-rng-pci", "", ["-device virtio-rng-pci against nothing"]),
        ("-m 64 -cpu max", "-cpu max -m 64", []),
        ("-m 64,slots=2,maxmem=1G", "-m 64", ["-m 64,slots=2,maxmem=1G against -m 64"]),
        ("-cpu max", "-cpu max,hle=off", ["-cpu max against -cpu max,hle=off"]),
        ("-numa node -numa node", "-numa node", ["-numa node against nothing"]),
        ("-smp 2,sockets=2", "-smp 2,sockets=1", ["-smp 2,sockets=2 against -smp 2,sockets=1"]),
        ("-rtc base=localtime", "", ["-rtc base=localtime against nothing"]),
        ("-no-hpet", "-machine hpet=off", ["-no-hpet against nothing", "nothing against -machine hpet=off"]),
        ("--device a", "-device a", []),
        ("-device a,x=1 -device b", "-device b -device a,x=2", ["-device a,x=1 against -device a,x=2"]),
        (
            "-global a.x-one=1 -global virtio-blk-pci.num-queues=1",
            "-global virtio-blk-pci.num-queues=2 -global a.x-one=2",
            [],  # other defaults of the build, which the search for properties answers for
        ),
        ("-global a.y=1", "-global a.y=2", ["-global a.y=1 against -global a.y=2"]),
        (
            "-global driver=virtio-net-pci,property=romfile,value=a",
            "-global virtio-net-pci.romfile=b",
            [
                "-global driver=virtio-net-pci,property=romfile,value=a against -global virtio-net-pci.romfile=b"
            ],
        ),
        ("-global driver=a,property=x-one,value=1", "", []),
        (
            "-object m,id=m0,size=1 -object m,id=m1",
            "-object m,id=m1",
            ["-object m,id=m0,size=1 against nothing"],
        ),
    ],
)
def test_arguments_are_compared_by_what_they_are_about(
    source: str, destination: str, texts: list[str]
) -> None:
    assert [one.text for one in told(trial(source, destination))] == texts


def test_settings_of_the_modes_sides_are_compared() -> None:
    mode = Mode(
        "m", "tcp", ("multifd",), (("x", 1),), ("postcopy-ram",), (("channels", 4),), (), (("channels", 2), ("x", 1)),
    )  # fmt: skip
    one = trial("", "", mode)
    assert [t.text for t in told(one)] == [
        "capability postcopy-ram: on against nothing",
        "parameter channels: 4 against 2",
    ]
    assert not told(without(one, differing_units(one)))
    for side in (Side.SOURCE, Side.DESTINATION):
        assert not told(alike(one, side))


@pytest.mark.parametrize(
    ("source", "destination", "texts"),
    [
        (("xbzrle",), (), ["capability xbzrle: on against nothing"]),
        ((), ("zero-blocks",), ["capability zero-blocks: nothing against on"]),
        ({"announce-rounds": 1}, {"announce-rounds": 9}, ["parameter announce-rounds: 1 against 9"]),
        ({"tls-creds": "tls0"}, {}, ["parameter tls-creds: tls0 against nothing"]),
        ({"downtime-limit": 0}, {"downtime-limit": 0}, []),
    ],
)
def test_a_setting_of_one_side_is_told(source: Any, destination: Any, texts: list[str]) -> None:
    names = [side if isinstance(side, tuple) else () for side in (source, destination)]
    values = [tuple(side.items()) if isinstance(side, dict) else () for side in (source, destination)]
    one = trial("", "", Mode("m", "tcp", (), (), names[0], values[0], names[1], values[1]))
    assert [t.text for t in told(one)] == texts


def test_both_builds_are_told_what_one_side_is() -> None:
    one = trial("-smp 4", "-smp 2")
    assert {step.args for step in alike(one, Side.SOURCE).path} == {("-smp", "4")}
    assert {step.args for step in alike(one, Side.DESTINATION).path} == {("-smp", "2")}


def test_an_option_is_left_out_on_both_builds() -> None:
    (shorter,) = shorter_pairs(trial("-device a,id=i,x=1", "-device a,id=i,x=2"))
    assert [step.args for step in shorter.path] == [("-device", "a,id=i")] * 2


def test_the_answer_names_the_difference_and_no_table_line() -> None:
    fix = told_fix(told(trial("-smp 4", "-smp 2")), ("old", "new"), Side.SOURCE)
    assert "-smp 4 against -smp 2" in fix.summary
    assert fix.stuck_guest == "start new as old: with -smp 4"
    assert (fix.repairable, fix.compat) == (False, "")


class Host:
    """A runner whose host cannot do what the source is told, as postcopy where there is no userfaultfd."""

    def __init__(self, *, passes: bool) -> None:
        self.verdict = Verdict.PASS if passes else Verdict.FAIL

    async def one(self, purpose: str, trial: Trial) -> Attempt:
        if purpose == "told as the source":
            raise InfrastructureError("no userfaultfd")
        cell = Cell(trial.machine, "p", tuple(step.build for step in trial.path))
        return Attempt(purpose, trial, CellResult(cell, self.verdict, Outcome.OK), 1)


@pytest.mark.parametrize("passes", [True, False])
def test_what_the_host_cannot_try_is_a_note_and_the_other_side_is_tried(passes: bool) -> None:
    one = trial("", "", Mode("m", "tcp", (), (), ("postcopy-ram",)))
    fix, untried = asyncio.run(_told_otherwise(cast("TrialRunner", Host(passes=passes)), one))
    note = ("not tried here: no userfaultfd",)
    assert (fix.caveats if fix else None, untried) == ((note, ()) if passes else (None, note))


@pytest.mark.parametrize(
    ("setting", "type_"),
    [
        (Setting("virtio-net-pci", "romfile", "pxe-virtio.rom"), "virtio-net-pci"),
        (Setting("virtio-net-pci", "romsize", "262144"), "virtio-net-pci"),
        (Setting("virtio-net-pci", "x-mask", "off"), "pci-device"),
        (Setting("virtio-net-pci", "vectors", "3"), "virtio-net-pci-base"),
    ],
)
def test_only_switches_are_raised_to_the_type_that_declares_them(setting: Setting, type_: str) -> None:
    view = MachineView(
        parents={
            "virtio-net-pci": "virtio-net-pci-base",
            "virtio-net-pci-base": "pci-device",
            "pci-device": "device",
        },
        inherited={
            "virtio-net-pci-base": frozenset({"vectors", "romfile", "romsize", "x-mask"}),
            "pci-device": frozenset({"romfile", "romsize", "x-mask"}),
        },
    )
    assert line_type(view, setting) == type_
