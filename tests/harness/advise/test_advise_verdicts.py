# SPDX-License-Identifier: Apache-2.0
"""What a run knows by route: builds with more globals are the same build with overrides."""

from __future__ import annotations

from dataclasses import replace

from migmatrix.harness.advise import Verdicts
from migmatrix.harness.builds import BuildFacts, MachineType, PreparedBuild
from migmatrix.harness.explain.records import Explanation, Remedy, Reproducer, Rescue
from migmatrix.harness.model import Cell, CellResult, Outcome, Verdict
from migmatrix.harness.trials.records import Setting, Side, Step

MARK = Setting("port", "x-mask", "on")


def build(id_: str, version: str, *args: str) -> PreparedBuild:
    facts = BuildFacts(f"digest of {version}", version, "", (MachineType("pc"),), (), ())
    return PreparedBuild(id_, "emulator", "", facts, "/qemu", args=args)


BUILDS = {
    b.id: b
    for b in (
        build("new", "8.2"),
        build("old", "7.2"),
        build("marked", "8.2", "-global", "port.x-mask=on"),
        build("other-cpu", "8.2", "-cpu", "host"),
    )
}


def known(*paths: tuple[str, ...], verdict: Verdict = Verdict.PASS) -> Verdicts:
    results = (CellResult(Cell("pc", "p", path), verdict, Outcome.OK) for path in paths)
    return Verdicts(BUILDS, tuple(results), ())


SETUP = ("pc", "p", "snapshot", "paused")


def test_a_build_with_more_globals_is_the_same_build_marked() -> None:
    found = known(("old", "marked"))
    assert found.canonical(Step("marked")) == Step("new", (MARK,))
    assert found.verdict(SETUP, [Step("old"), Step("new", (MARK,))]) is not None
    assert found.verdict(SETUP, [Step("old"), Step("new")]) is None


def test_other_arguments_make_another_build_but_no_place_to_go() -> None:
    found = known()
    assert found.canonical(Step("other-cpu")) == Step("other-cpu")
    assert found.base_builds == ("old", "new")


def test_pairs_imply_no_chain_and_what_the_host_failed_is_not_known() -> None:
    pairs = known(("old", "new"), ("new", "old"))
    assert pairs.verdict(SETUP, [Step("old"), Step("new"), Step("old")]) is None
    assert known(("old", "new"), verdict=Verdict.ERROR).verdict(SETUP, [Step("old"), Step("new")]) is None


def test_the_order_of_versions_is_that_of_numbers() -> None:
    ten = replace(BUILDS["new"], id="ten", facts=replace(BUILDS["new"].facts, version="10.0", digest="x"))
    assert Verdicts({**BUILDS, "ten": ten}, (), ()).base_builds == ("old", "new", "ten")


def test_marks_come_from_what_an_explanation_verified_on_a_destination_or_saw_on_the_source() -> None:
    off, room = Setting("port", "x-mask", "off"), Setting("blk", "queue-size", "1024")
    found = Explanation(
        cell="", signature="pci-config port 0x10a", kind="", cells=1, verdict="fail", message="", stage="load",
        migration=("a", "b"), reproduced=True, reproducer=Reproducer("", (), (), "", ""),
        remedies=(
            Remedy(Side.SOURCE, (off,), "difference", "", instead_of=(MARK,)),
            Remedy(Side.DESTINATION, (room,), "number", ""),
        ),
        rescues=(Rescue("plain", ()), Rescue("new", (MARK,))),
    )  # fmt: skip
    overrides = Verdicts(BUILDS, (), (found,)).overrides(found.signature)
    assert overrides == ((room,), (MARK,)), (
        "never what would have to be set on the source: the guest runs already"
    )
    assert Verdicts(BUILDS, (), ()).overrides(found.signature) == ()
