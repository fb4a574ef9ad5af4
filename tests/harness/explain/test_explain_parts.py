# SPDX-License-Identifier: Apache-2.0
"""The pure parts of explaining: delta debugging, argument groups, candidates, fixes, the published form."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migmatrix.harness.builds import BuildFacts, MachineType, PreparedBuild
from migmatrix.harness.explain.candidates import candidates
from migmatrix.harness.explain.cure import _better
from migmatrix.harness.explain.ddmin import minimise
from migmatrix.harness.explain.explain_run import published
from migmatrix.harness.explain.fix import Findings, make_fix
from migmatrix.harness.explain.options import arguments_of, closed, closure, groups, without_part
from migmatrix.harness.explain.records import (
    Cure,
    Difference,
    Explanation,
    Fix,
    Near,
    Neighbour,
    Remedy,
    Reproducer,
    Rescue,
    RowCheck,
    Told,
    from_json,
)
from migmatrix.harness.explain.render import render
from migmatrix.harness.explain.rescue import distinct
from migmatrix.harness.model import Cause, Cell, Guest, Mode
from migmatrix.harness.trials.qom import MachineView, Object
from migmatrix.harness.trials.records import Setting, Side, Step, Trial

SCHEMA = Path(__file__).parents[3] / "docs" / "explain.schema.json"

AER = (
    "-m",
    "64",
    "-nodefaults",
    "-object",
    "x,id=o0",
    "-device",
    "port,id=rp0,slot=1",
    "-device",
    "nic,bus=rp0",
)


def smallest(items: range, needed: set[int]) -> tuple[tuple[int, ...], int]:
    """What `minimise` makes of a failure that needs exactly some items, and the tests that it took."""
    asked: list[tuple[int, ...]] = []

    async def holds(chosen: tuple[int, ...]) -> bool:
        asked.append(chosen)
        return needed <= set(chosen)

    found = asyncio.run(minimise(tuple(items), holds))
    assert len(asked) == len(set(asked)), "the same question twice"
    return found, len(asked)


@given(st.integers(0, 24).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, max(n - 1, 0))))))
def test_minimise_finds_exactly_what_is_needed(case: tuple[int, set[int]]) -> None:
    size, needed = case
    needed &= set(range(size))
    assert set(smallest(range(size), needed)[0]) == needed


def test_minimise_needs_few_tests_for_one_culprit() -> None:
    _, tests = smallest(range(64), {37})
    assert tests <= 24


def test_groups_give_the_arguments_again() -> None:
    assert arguments_of(groups(AER)) == AER


def test_a_selection_that_lacks_what_it_mentions_is_not_closed() -> None:
    every = groups(AER)
    nic, port = every[-1], every[-2]
    assert not closed([nic], every)
    assert closed([nic, port], every)
    assert closure([nic], every) == (port, nic)


def test_an_option_of_a_device_is_taken_out_of_its_middle() -> None:
    port = groups(AER)[-2]
    assert without_part(port, 1).value == "port,slot=1"
    assert without_part(port, 2).value == "port,id=rp0"


def view(type_: str, values: dict[str, bool | int | str], *others: str) -> MachineView:
    settable = frozenset(values) | frozenset(others)
    return MachineView((Object("/machine/peripheral-anon/device[0]", type_, values, settable),))


def settings(source: MachineView, destination: MachineView, cause: Cause, *where: Difference) -> list[str]:
    found = candidates(source, destination, cause, where)
    return [f"{c.side} {c.setting.text} {c.basis}" for c in found]


def test_each_side_may_take_the_others_value() -> None:
    found = settings(view("nic", {"mode": 1}), view("nic", {"mode": 2}), Cause("value"))
    assert found == ["destination nic.mode=1 difference", "source nic.mode=2 difference"]


def test_a_switch_that_only_one_side_has_is_turned_over() -> None:
    cause = Cause("pci-config", "0000:00:01.0/pcie-root-port", "0x10a")
    found = settings(view("pcie-root-port", {"x-err-mask": True}), view("pcie-root-port", {}), cause)
    assert found == ["source pcie-root-port.x-err-mask=off switch"]


def test_a_number_of_the_failing_place_is_exchanged() -> None:
    where = Difference("blk#0", "queue[0].num", "0x400", "0x100", blamed=True)
    both = view("virtio-blk-device", {"queue-size": 256, "seg-max": 3})
    found = settings(both, both, Cause("virtio-ring", "blk", "vring.num"), where)
    assert found == ["destination virtio-blk-device.queue-size=1024 number"]


def test_the_likelier_name_comes_first() -> None:
    cause = Cause("value", "0000:00:02.0/nic", "ring", "bad ring")
    here = view("nic", {"aaa": 1, "ring-size": 1})
    there = view("nic", {"aaa": 2, "ring-size": 2})
    assert settings(here, there, cause)[0] == "destination nic.ring-size=1 difference"


def build(id_: str, version: str) -> PreparedBuild:
    machine = (MachineType("pc-q35-7.2"),)
    return PreparedBuild(id_, "binary", "test", BuildFacts(id_, version, "", machine, (), ()), id_)


def test_a_line_of_the_builds_own_tables_is_taken_back_only_when_the_failure_points_to_it() -> None:
    """A build of 9.1 or later tells its lines; a base type's line counts for the device."""
    cause = Cause("value", "0000:00:02.0/nic", "", "the ring is bad")
    object_ = Object("/machine/peripheral-anon/device[0]", "nic", {"ring": 4, "other": 1}, frozenset({"ring", "other"}),
                     defaults={"ring": 8, "other": 2})  # fmt: skip
    lines = (("base-nic", "ring", "4"), ("base-nic", "other", "1"), ("gpu", "ring", "9"))
    here = MachineView((object_,), parents={"nic": "base-nic", "base-nic": "device"}, compat=lines)
    assert settings(here, here, cause) == ["destination nic.ring=8 default", "source nic.ring=8 default"]


def test_a_line_of_compat_that_a_build_does_not_apply_is_set() -> None:
    """hw_compat_7_2 has x-pcie-err-unc-mask off for pci-device since 8.0.1; here it is on."""
    cause = Cause("pci-config", "0000:00:01.0/pcie-root-port", "0x10a")
    port = view("pcie-root-port", {"x-pcie-err-unc-mask": True}).objects
    here = MachineView(port, parents={"pcie-root-port": "pci-device", "pci-device": "device"})
    found = candidates(MachineView(), here, cause, (), "pc-q35-7.2")
    assert [(c.setting.value, c.basis) for c in found] == [("off", "table")]
    assert candidates(MachineView(), here, cause, (), "pc-q35-8.0") == ()


def test_the_base_type_of_a_property_is_the_farthest_that_has_it() -> None:
    here = MachineView(
        parents={"port": "bridge", "bridge": "pci-device", "pci-device": "device"},
        inherited={"bridge": frozenset({"x-mask"}), "pci-device": frozenset({"x-mask"})},
    )
    assert here.owner("port", "x-mask") == "pci-device"
    assert here.owner("port", "slot") == "port"


BUILDS = {
    "old": build("old", "7.2.5"),
    "new": build("new", "10.0.2"),
    "newer": build("newer", "10.0.13"),
}
OFF = Setting("port", "x-mask", "off")


def fix(route: tuple[str, ...], *remedies: Remedy, cause: Cause | None = None, **more: object) -> Fix:
    values: dict[str, object] = {"where": (), "neighbours": (), "rescues": (), "tried": 3, "stage": "load"}
    return make_fix(
        Findings(
            cause=cause or Cause("pci-config", "0000:00:01.0/port", "0x10a", "bad"),
            route=route,
            remedies=remedies,
            **{"cell": Cell("pc-q35-7.2", "p", route), "builds": BUILDS, **values, **more},  # type: ignore[arg-type]  # fields by name
        )
    )


def test_a_switch_of_the_newer_source_names_the_table_of_the_older_release() -> None:
    found = fix(("new", "old"), Remedy(Side.SOURCE, (OFF,), "switch", "why"))
    assert found.repairable
    assert '{ "port", "x-mask", "off" } in hw_compat_7_2 of 10.0.2' in found.compat
    assert "a guest that is already running cannot migrate there" in found.summary
    assert not found.stuck_guest


def test_a_stuck_guest_is_told_where_it_can_go() -> None:
    on = Setting("port", "x-mask", "on")
    found = fix(
        ("new", "old"),
        Remedy(Side.SOURCE, (OFF,), "switch", ""),
        rescues=(Rescue("newer", (on,)), Rescue("c", ())),
    )
    assert found.stuck_guest == "it cannot go to old; it can go to newer with -global port.x-mask=on, or to c"


@pytest.mark.parametrize(
    ("route", "remedy", "why"),
    [
        (("new", "newer"), Remedy(Side.DESTINATION, (OFF,), "switch", ""), "same machine types"),
        (("old", "new"), Remedy(Side.DESTINATION, (OFF,), "number", ""), "makes room"),
        (("old", "new"), Remedy(Side.SOURCE, (OFF,), "switch", ""), "newer side"),
        (
            ("old", "new"),
            Remedy(Side.DESTINATION, (OFF,), "switch", "", rows=(RowCheck("m", "new>old", "pass", "fail"),)),
            "breaks a direction",
        ),
    ],
)
def test_no_table_line_is_named_where_it_would_be_wrong(
    route: tuple[str, ...], remedy: Remedy, why: str
) -> None:
    found = fix(route, remedy)
    assert found.compat.startswith("none: ")
    assert why in found.compat


def test_a_vendors_machine_type_has_tables_whose_names_nobody_knows() -> None:
    remedy = Remedy(Side.DESTINATION, (OFF,), "switch", "")
    found = fix(("old", "new"), remedy, cell=Cell("pc-q35-rhel9.6.0", "p", ("old", "new")))
    assert "in the table that new has for pc-q35-rhel9.6.0, if it has one" in found.compat


def test_a_property_that_an_argument_sets_is_no_default() -> None:
    remedy = Remedy(Side.DESTINATION, (OFF,), "switch", "")
    assert "hw_compat_7_2" in fix(("old", "new"), remedy).compat
    found = fix(("old", "new"), remedy, own=frozenset({"x-mask"}))
    assert found.compat == "none: x-mask is an argument of a build of this matrix, not a default of a version"


def test_a_vendors_own_version_has_no_table() -> None:
    found = fix(("vendor", "new"), Remedy(Side.DESTINATION, (OFF,), "switch", ""),
                builds={**BUILDS, "vendor": build("vendor", "rhel9.6.0")})  # fmt: skip
    assert found.compat == "none: rhel9.6.0 is of no release line, so no table is named after it"


def test_a_table_line_that_qemus_own_tables_contradict_is_not_named() -> None:
    """The older side was started with the property on, which hw_compat_7_2 says is off."""
    on = Setting("pcie-root-port", "x-pcie-err-unc-mask", "on")
    base_types = {"pcie-root-port": ("pcie-root-port", "pci-device")}
    found = fix(("old", "new"), Remedy(Side.DESTINATION, (on,), "difference", ""), base_types=base_types)
    assert found.compat == 'none: QEMU has { "pci-device", "x-pcie-err-unc-mask", "off" } in hw_compat_7_2'


def test_a_cure_names_the_line_that_the_better_build_has() -> None:
    off = Setting("port", "x-other", "off")
    cure = Cure(Side.SOURCE, "newer", "new", Setting("port", "x-other", "on"), off, "base")
    found = fix(("new", "old"), cures=(cure,), rescues=(Rescue("newer", (cure.broken,)),))
    assert not found.repairable
    assert found.compat.startswith(
        '{ "base", "x-other", "off" } in a table for this machine type; newer (10.0.13)'
    )
    assert found.new_guests == "start guests on newer instead of new"
    assert found.stuck_guest == "it cannot go to old; it can go to newer with -global port.x-other=on"


def test_what_a_remedy_breaks_is_said() -> None:
    rows = (RowCheck("m1", "new>old", "pass", "fail"), RowCheck("m2", "old>new", "fail", "pass"))
    found = fix(("old", "new"), Remedy(Side.DESTINATION, (OFF,), "switch", "", rows=rows))
    assert any("breaks new>old on m1" in caveat for caveat in found.caveats)


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (Cause("section-version", "bmc"), "version bump"),
        (Cause("missing-subsection", "bmc"), "missing subsection"),
        (Cause("missing-device", "bmc"), "missing device"),
        (Cause("ram-size", "/rom@etc/acpi"), "memory or ROM size"),
        (Cause("crash", "", "SIGSEGV", "a {brace}"), "crash"),
        (Cause("blocked", "nvme"), "not migratable"),
        (Cause("virtio-ring", "blk", "vring.num", "{odd}"), "value"),
    ],
)
def test_without_a_remedy_the_class_of_the_reason_is_named(cause: Cause, reason: str) -> None:
    found = fix(("old", "new"), cause=cause)
    assert not found.repairable
    assert found.reason == reason
    assert found.summary.startswith("not repairable by a property: ")


VERSIONS = Difference("bmc#0", "version", "0x2", "0x1", blamed=True)
ONLY_SENT = Difference("bmc#0", "fifo", "0x0", "absent")
ONLY_READ = Difference("bmc#0", "mode", "absent", "0x0")


@pytest.mark.parametrize(
    ("cause", "where", "said"),
    [
        (Cause("section-version", "bmc"), (VERSIONS,), "version bump of bmc: old (7.2.5) sends version 2, new (10.0.2) reads up to 1"),
        (Cause("vmsd-version", "bmc"), (), "old (7.2.5) sends a version that new (10.0.2) does not read"),
        (Cause("footer-id", "bmc"), (VERSIONS, ONLY_SENT, ONLY_READ), "accepts it and does not consume just the bytes that were written (only one side sends: mode, fifo)"),
        (Cause("truncated", "bmc"), (), "does not consume just the bytes that old (7.2.5) wrote under the same version number"),
        (Cause("value", "bmc"), (replace(ONLY_SENT, blamed=True),), "sends 0x0 in bmc fifo, new (10.0.2) has absent and refuses it"),
        (Cause("hang"), (), "no end of load within the deadline"),
    ],
)  # fmt: skip
def test_the_reason_is_said_in_a_sentence(cause: Cause, where: tuple[Difference, ...], said: str) -> None:
    assert said in fix(("old", "new"), cause=cause, where=where).summary


def test_what_was_tried_is_said_and_what_could_not_be_read() -> None:
    assert fix(("old", "new")).summary.endswith("; 3 settings were tried and none makes it pass")
    assert fix(("old", "new"), unseen="no qom-list").summary.endswith("could not be read (no qom-list)")
    assert "no settable property" in fix(("old", "new"), tried=0).summary


def test_the_caveats_of_a_remedy_are_its_unhealed_rows_its_owner_and_its_size() -> None:
    rows = (RowCheck("m1", "new>old", "fail", "fail"), RowCheck("m2", "old>new", "fail", "pass"))
    size = Remedy(Side.BOTH, (Setting("blk", "queue-size", "1024"),), "number", "", rows=rows)
    caveats = fix(("old", "new"), size).caveats
    assert caveats[0] == "with it these still do not pass: new>old on m1"
    assert "keep it to the guests that need it" in caveats[1]
    owned = Remedy(Side.DESTINATION, (OFF,), "switch", "", owners=("base",))
    found = fix(("old", "new"), owned)
    assert found.compat.startswith('{ "base", "x-mask", "off" }')
    assert found.caveats == ("x-mask is a property of base, which other device types have as well",)
    assert found.stuck_guest == "start new with -global port.x-mask=off"


@pytest.mark.parametrize(("stage", "build"), [("load", "new (10.0.2)"), ("save", "old (7.2.5)")])
def test_who_says_that_a_device_is_not_migratable_is_the_side_that_fails(stage: str, build: str) -> None:
    found = fix(("old", "new"), cause=Cause("blocked", "0000:00:01.0/nvme"), stage=stage)
    assert found.summary.endswith(f"nvme is declared not migratable in {build}")


def adjacent_source(*path: str, how: str = "adjacent source build", verdict: str = "pass") -> Neighbour:
    cell = f"m/p/{'>'.join(path)}/snapshot/paused"
    return Neighbour(Near.ADJACENT, Side.SOURCE, path, how, cell, verdict, None, stored=True)


@pytest.mark.parametrize("how", ["adjacent source build", "destination side, reworded", "nachbar"])
def test_a_reworded_label_changes_no_answer(how: str) -> None:
    """What is concluded from a neighbour hangs on its kind, side and path; never on the words for people."""
    near = replace(adjacent_source("new", "old", how=how), cell="another form of id")
    saver = Neighbour(Near.SAVE, None, ("old", "old"), how, "x", "fail", None, stored=True)
    found = fix(("newer", "old"), neighbours=(near, saver))
    assert found == fix(
        ("newer", "old"), neighbours=(adjacent_source("new", "old"), replace(saver, how="save"))
    )
    assert found.caveats == (
        "builds of this run that do not save it: old (7.2.5)",
        "source side: introduced between 10.0.2 and 10.0.13 (a point release of this run: with new it passes)",
    )
    trial = Trial("m", (), (Step("newer"), Step("old")), Mode("snapshot"), Guest("paused", "paused"))
    (better,) = _better(trial, (near,))
    assert (better.side, better.build, better.instead_of) == (Side.SOURCE, "new", "newer")


def test_the_point_release_that_made_the_difference_is_named() -> None:
    found = fix(("newer", "old"), neighbours=(adjacent_source("new", "old"),))
    assert found.caveats == (
        "source side: introduced between 10.0.2 and 10.0.13 (a point release of this run: with new it passes)",
    )


def test_of_one_emulator_with_several_arguments_the_plainest_is_a_rescue() -> None:
    plain, same = build("plain", "8.2.0"), BuildFacts("plain", "8.2.0", "", (), (), ())
    marked = PreparedBuild("marked", "binary", "test", same, "plain", args=("-global", "port.x-mask=on"))
    known = {"marked": marked, "plain": plain, "same": replace(plain, id="same"), "old": BUILDS["old"]}
    assert distinct(known, ["marked", "old", "plain", "same"]) == ["old", "plain"]
    assert distinct(known, ["marked", "old"]) == ["marked", "old"], "there is no plainer one"


def test_a_neighbour_with_other_arguments_tells_nothing_about_releases() -> None:
    """As 7.2 beside 10.0 with the property on: plain 10.0 passes as well."""
    near = adjacent_source("old", "new")
    marked = {**BUILDS, "marked": replace(BUILDS["newer"], args=("-global", "port.x-mask=on"))}
    found = fix(("marked", "new"), neighbours=(near,), builds=marked)
    assert found.caveats == ("source side: with old, 7.2.5 with other arguments, it passes",)


def explanation_with(*neighbours: Neighbour) -> Explanation:
    rows = (RowCheck("m", "a>b", "fail", "pass"),)
    remedy = Remedy(Side.SOURCE, (OFF,), "switch", "why", (OFF,), rows, ("base",), "1 of the 1 machines")
    return Explanation(
        cell="m/p/a>b/snapshot/paused",
        signature="pci-config port 0x10a",
        kind="pair: a > b",
        cells=3,
        verdict="fail",
        message="bad",
        stage="load",
        migration=("a", "b"),
        reproduced=True,
        reproducer=Reproducer("m", AER, ("a", "b"), "snapshot", "paused", ("-x",), "a", ""),
        where=(Difference("port#0", "config", "0x1", "0x0", blamed=True),),
        neighbours=neighbours,
        remedies=(remedy,),
        cures=(Cure(Side.SOURCE, "a1", "a", Setting("port", "x-mask", "on"), OFF, "base"),),
        rescues=(Rescue("c", (OFF,)),),
        fix=Fix(repairable=True, reason="", summary="s", caveats=("c",)),
    )


@pytest.mark.parametrize(
    ("cells", "repeats", "text"),
    [
        (8, 2, "10 cells: 8 pairs' and 2 that repeat them"),
        (1, 1, "2 cells: 1 pair's and 1 that repeats it"),
        (1, 0, "1 cell"),
    ],
)
def test_cells_are_counted_as_the_report_counts_them(cells: int, repeats: int, text: str) -> None:
    lines = list(render(replace(explanation_with(), cells=cells, repeats=repeats)))
    assert f"  stands for   {text}; pair: a > b" in lines


def test_the_reproducer_shows_what_the_mode_sets_on_each_side() -> None:
    told = (Told("capability", "xbzrle", "on", ""), Told("parameter", "multifd-channels", "4", "2"))
    lines = [line.strip() for line in render(replace(explanation_with(), told=told))]
    assert "source: capability xbzrle on, parameter multifd-channels 4" in lines
    assert "destination: no capability xbzrle, parameter multifd-channels 2" in lines


def test_the_published_form_is_as_the_schema_says_and_comes_back() -> None:
    near = adjacent_source("b", "a")
    explanation = explanation_with(near, replace(near, kind=Near.REVERSE, side=None))
    data = json.loads(json.dumps(published(explanation)))
    jsonschema.validate(data, json.loads(SCHEMA.read_text()))
    assert from_json(data) == explanation


@pytest.mark.parametrize(
    ("how", "kind", "side"),
    [
        ("other machine", Near.OTHER_MACHINE, None),
        ("reverse direction", Near.REVERSE, None),
        ("source to itself", Near.TO_ITSELF, Side.SOURCE),
        ("destination to itself", Near.TO_ITSELF, Side.DESTINATION),
        ("adjacent source build", Near.ADJACENT, Side.SOURCE),
        ("adjacent destination build", Near.ADJACENT, Side.DESTINATION),
        ("without qemu-8.0", Near.WITHOUT_BUILD, None),
        ("save of another build", Near.SAVE, None),
    ],
)
def test_an_explanation_of_the_version_before_is_still_read(how: str, kind: Near, side: Side | None) -> None:
    """It has a label and a cell id only; the reader derives the facts, and the schema takes the file."""
    near = replace(adjacent_source("b", "a", how=how), kind=kind, side=side)
    data = json.loads(json.dumps(published(explanation_with(near))))
    for key in ("kind", "side", "path"):
        del data["neighbours"][0][key]
    jsonschema.validate(data, json.loads(SCHEMA.read_text()))
    assert from_json(data).neighbours == (near,)
