# SPDX-License-Identifier: Apache-2.0
"""Which differences a failure's message points to, and what a build passes on although it would not send it itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from emulated import write_matrix

from migmatrix.harness.explain.carried import carried
from migmatrix.harness.explain.reduce import _note
from migmatrix.harness.explain.saves import sent_and_own
from migmatrix.harness.explain.where import _blamed
from migmatrix.harness.model import Cause, Guest, Mode, Stage
from migmatrix.harness.run.opening import opened
from migmatrix.harness.run.pipeline import prepare_builds
from migmatrix.harness.run.runner import Settings
from migmatrix.harness.trials.records import Setting, Step, Trial
from migmatrix.harness.trials.runner import TrialRunner
from migmatrix.vmstate.view.compare import Change

if TYPE_CHECKING:
    from pathlib import Path

    from migmatrix.harness.explain.records import Difference


@pytest.mark.parametrize(
    ("kind", "path", "cause", "blamed"),
    [
        ("version", "", Cause("section-version", "nic"), True),
        ("value", "ring", Cause("section-version", "nic"), False),
        ("section", "", Cause("missing-device", "nic"), True),
        ("ram-size", "rom", Cause("ram-size", "rom"), True),
        ("ram-size", "vga", Cause("ram-size", "rom"), False),
        ("value", "state.vring[2].num", Cause("virtio-ring", "blk", "vring.num", "bad num 0x400"), True),
        ("value", "state.vring[2].num", Cause("virtio-ring", "blk", "vring.num", "bad num 7"), False),
        ("value", "state.vring[2].align", Cause("virtio-ring", "blk", "vring.num"), False),
        ("value", "anything", Cause("value", "blk"), False),
    ],
)
def test_the_message_points_to_a_difference(kind: str, path: str, cause: Cause, blamed: bool) -> None:
    assert _blamed(Change(kind, "nic#0", path, "0x400", "0x100"), cause, "") is blamed


def test_a_register_is_blamed_by_its_offset() -> None:
    cause = Cause("pci-config", "0000:00:01.0/port", "0x10a")
    change = Change("register", "port#0", "config[1][0x108] Mask", "0x1", "0x0")
    assert _blamed(change, cause, "[0x108]")
    assert not _blamed(change, cause, "[0x10c]")


@pytest.mark.parametrize(
    ("before", "after", "migration", "note"),
    [
        (("a", "b"), ("a", "b"), 1, ""),
        (("a", "b", "c"), ("a", "b", "c"), 2, "needs every step: the guest is started on a, and b changes its state"),
        (("a", "b", "c"), ("a", "c"), 2, "the state of a guest started on a is to blame: b passes it on unchanged in what matters"),
        (("a", "b", "c"), ("b", "c"), 2, "what a did before does not matter: b saves it so by itself"),
    ],
)  # fmt: skip
def test_a_note_says_how_the_builds_of_a_chain_matter(
    before: tuple[str, ...], after: tuple[str, ...], migration: int, note: str
) -> None:
    assert _note(before, after, migration) == note


STRICT = Setting("pci-device", "x-config-check", "strict")
PORT = ("-m", "64", "-nodefaults", "-device", "pcie-root-port,id=rp0,chassis=1")


def asked(tmp_path: Path, *path: Step) -> tuple[str, tuple[Difference, ...], list[str]]:
    """What a failing chain of emulators carries, its differences at the end, and all that was run."""
    prepared = prepare_builds(write_matrix(tmp_path, ["7.2", "8.0"]), tmp_path / "store", [], print)
    deadlines = dict.fromkeys(Stage, 60.0)

    async def ask() -> tuple[str, tuple[Difference, ...], list[str]]:
        async with opened(None, Settings(2, deadlines), print) as where:
            runner = TrialRunner(prepared, where, print)
            failing = await runner.one(
                "again", Trial("pc-q35-7.2", PORT, path, Mode("snapshot"), Guest("paused", "paused"))
            )
            assert failing.result.stage in (Stage.LOAD, None)
            found = await carried(runner, failing), await sent_and_own(runner, failing, path[-1])
            return *found, [a.purpose for a in runner.journal]

    return asyncio.run(ask())


def test_a_build_that_passes_on_what_it_would_not_send_is_named(tmp_path: Path) -> None:
    """8.0 takes 7.2's register, for it may be written, and saves it so; an 8.0 that compares every bit refuses it."""
    sentence, differences, _ = asked(
        tmp_path, Step("qemu-7.2"), Step("qemu-8.0"), Step("qemu-8.0", (STRICT,))
    )
    assert sentence.startswith("qemu-8.0 loads it and passes it on: then it saves 0x0 in ")
    assert sentence.endswith(", and 0x2400000 for a guest of its own")
    (blamed,) = [d for d in differences if d.blamed]
    assert (blamed.source, blamed.destination) == ("0x0", "0x2400000")


def test_nothing_is_run_for_what_did_not_fail_in_a_load(tmp_path: Path) -> None:
    sentence, differences, purposes = asked(tmp_path, Step("qemu-7.2"), Step("qemu-7.2"))
    assert (sentence, differences, purposes) == ("", (), ["again"])
