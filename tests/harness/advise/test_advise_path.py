# SPDX-License-Identifier: Apache-2.0
"""The AER case on the reference emulator: a guest of 8.0 needs its override wherever it goes, and 7.2 has none."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from emulated import MARK
from typer.testing import CliRunner

from migmatrix.harness.advise import advise_path
from migmatrix.harness.advise.advisor import open_advisor
from migmatrix.harness.commands.advise import app
from migmatrix.harness.errors import UserError
from migmatrix.harness.store import RunStore

if TYPE_CHECKING:
    from pathlib import Path

    from migmatrix.harness.advise import PathAdvice

KIND = ("pc-q35-7.2", "pcie-root-port")
REGISTER = "pci-config pcie-root-port 0x10a"


def advised(run: Path, store: Path, start: str, goal: str, *via: str) -> PathAdvice:
    async def ask() -> PathAdvice:
        with RunStore.open(run) as opened:
            async with open_advisor(opened, None, store, 2, print) as advisor:
                return await advise_path(
                    advisor.routes(*KIND), advisor.prove, start, goal, via=via, longest=2
                )

    return asyncio.run(ask())


def test_the_chain_through_8_0_1_keeps_the_mark_to_8_2(aer_run: Path, aer_store: Path) -> None:
    found = advised(aer_run, aer_store, "qemu-8.0", "qemu-8.2", "qemu-8.0.1")
    assert [step.text for step in found.route] == [
        "qemu-8.0",
        f"qemu-8.0.1({MARK})",
        f"qemu-8.2({MARK})",
    ]
    assert found.found
    assert found.proved_now
    assert not found.stored, "the run has no chains: pairs must not stand for one"
    assert [(m.build, m.without, m.signature) for m in found.overrides] == [
        ("qemu-8.0.1", "fail", REGISTER),
        ("qemu-8.2", "fail", REGISTER),
    ]


def test_the_shortest_path_is_the_direct_one_with_the_mark(aer_run: Path, aer_store: Path) -> None:
    found = advised(aer_run, aer_store, "qemu-8.0", "qemu-8.2")
    assert [step.text for step in found.route] == ["qemu-8.0", f"qemu-8.2({MARK})"]


def test_a_guest_without_the_defect_needs_no_mark_and_the_run_knew_it(aer_run: Path, aer_store: Path) -> None:
    found = advised(aer_run, aer_store, "qemu-7.2", "qemu-8.2")
    assert found.found
    assert found.stored
    assert found.overrides == ()


def test_no_path_says_what_blocks_also_with_the_mark_and_after_it(aer_run: Path, aer_store: Path) -> None:
    found = advised(aer_run, aer_store, "qemu-8.0", "qemu-7.2")
    assert not found.found
    blocked = {b.route: (b.verdict, b.signature) for b in found.blockers}
    assert blocked["qemu-8.0>qemu-7.2"] == ("fail", REGISTER)
    on_the_way = f"qemu-8.0>qemu-8.0.1({MARK})>qemu-7.2"
    assert blocked[on_the_way] == ("fail", REGISTER)
    assert blocked[f"{on_the_way}({MARK})"][0] == "unsupported", "7.2 does not know the property"
    assert "more routes alike" in "\n".join(found.render())


def test_the_command_answers_for_machines_and_by_its_exit_code(aer_run: Path, aer_store: Path) -> None:
    words = ["path", str(aer_run), "--machine", KIND[0], "--profile", KIND[1], "--store", str(aer_store)]
    good = CliRunner().invoke(app, [*words, "--from", "qemu-7.2", "--to", "qemu-8.2", "--json"])
    assert good.exit_code == 0, good.output
    (answer,) = json.loads(good.stdout)
    assert answer["found"]
    assert answer["proof"] == "pass"
    bad = CliRunner().invoke(app, [*words, "--from", "qemu-8.0", "--to", "qemu-7.2", "--longest", "1"])
    assert bad.exit_code == 1
    assert "no path" in bad.stdout


@pytest.mark.parametrize("words", [("--from", "qemu-9"), ("--from", "qemu-8.0", "--to", "nowhere")])
def test_unknown_builds_are_the_users_mistake(aer_run: Path, aer_store: Path, words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(
        app,
        ["path", str(aer_run), "--machine", KIND[0], "--profile", KIND[1], "--store", str(aer_store), *words],
    )
    assert isinstance(done.exception, UserError)
    assert "the run has no build" in str(done.exception)
