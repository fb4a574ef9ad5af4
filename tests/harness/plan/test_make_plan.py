# SPDX-License-Identifier: Apache-2.0
"""Which cells are planned, which legs they need, and what is left out and why."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import big_plan, builds_of, matrix_of, prepared

from migmatrix.harness.builds.facts import MachineType, PreparedBuild
from migmatrix.harness.config import ChainRule, MachineRule, PathRule, Policy
from migmatrix.harness.errors import ConfigError, Position, UserError
from migmatrix.harness.model import Cell, Guest, Mode, Profile
from migmatrix.harness.plan import Dropped, Plan, from_json, make_plan, parse_shard, render_plan, to_json
from migmatrix.harness.plan.cannot import cannot_path

if TYPE_CHECKING:
    from syrupy.assertion import SnapshotAssertion

THREE = builds_of("5.2", "7.2", "10.0")
OLD_NEW = builds_of("5.2", "10.0")
TCP = Mode("tcp", "tcp")


def ids(plan: Plan) -> list[str]:
    return [cell.id for cell in plan.cells]


def paths(plan: Plan) -> list[str]:
    return sorted({">".join(cell.path) for cell in plan.cells})


def legs(plan: Plan, cell: Cell) -> list[tuple[str | None, str, int]]:
    """(source, build, index) of the legs of a cell."""
    return [(leg.source, leg.build, leg.index) for leg in map(plan.leg, plan.legs_of(cell))]


def test_cells_stand_in_order() -> None:
    plan = make_plan(matrix_of(OLD_NEW, modes=(Mode("snapshot"), TCP)), OLD_NEW)
    assert ids(plan)[:5] == [
        "pc-q35-5.2/nic/qemu-5.2>qemu-5.2/snapshot/paused",
        "pc-q35-5.2/nic/qemu-5.2>qemu-10.0/snapshot/paused",
        "pc-q35-5.2/nic/qemu-10.0>qemu-5.2/snapshot/paused",
        "pc-q35-5.2/nic/qemu-10.0>qemu-10.0/snapshot/paused",
        "pc-q35-5.2/nic/qemu-5.2>qemu-5.2/tcp/paused",
    ]
    assert len(plan.cells) == 2 * 2 * 4


def test_snapshot_legs_share_prefixes_and_the_probe() -> None:
    plan = make_plan(matrix_of(THREE, chains=ChainRule()), THREE)
    per_profile = 3 + 9 + 27
    assert len(plan.legs) == 2 * per_profile
    cell = Cell("pc-q35-5.2", "nic", ("qemu-5.2", "qemu-7.2", "qemu-10.0"))
    assert legs(plan, cell) == [(None, "qemu-5.2", 0), (None, "qemu-7.2", 1), (None, "qemu-10.0", 2)]
    first, second, third = plan.legs_of(cell)
    assert plan.leg(third).incoming == second
    assert plan.leg(second).incoming == first
    assert plan.legs_of(Cell("pc-q35-5.2", "nic", ("qemu-5.2", "qemu-7.2"))) == (first, second)
    assert plan.probes_of(cell)["qemu-5.2"] == first
    assert list(plan.probes_of(cell)) == list(cell.path)
    assert third in plan.consumers(second)
    assert (plan.needs_out(first), plan.needs_out(second), plan.needs_out(third)) == (True, True, False)
    assert plan.leg(first).arguments == ("-m", "64", "-device", "e1000e")


def test_live_legs_have_a_source_and_their_own_probes() -> None:
    rules = (PathRule(("qemu-5.2", "qemu-7.2", "qemu-5.2")),)
    plan = make_plan(matrix_of(THREE, modes=(TCP,), pairs=(), explicit=rules), THREE)
    cell = plan.cells[0]
    assert legs(plan, cell) == [("qemu-5.2", "qemu-7.2", 1), ("qemu-7.2", "qemu-5.2", 2)]
    first, second = plan.legs_of(cell)
    assert (plan.leg(first).incoming, plan.leg(second).incoming) == (None, first)
    probes = [plan.leg(key) for key in plan.probes_of(cell).values()]
    assert [(probe.build, probe.mode, probe.guest) for probe in probes] == [
        ("qemu-5.2", Mode("snapshot"), Guest("paused", "paused")),
        ("qemu-7.2", Mode("snapshot"), Guest("paused", "paused")),
    ]
    assert not any(plan.needs_out(probe.key) for probe in probes)


def test_firmware_guests_share_nothing_but_probes() -> None:
    guests = (Guest("paused", "paused"), Guest("firmware", "firmware", 1.0))
    plan = make_plan(matrix_of(OLD_NEW, guests=guests), OLD_NEW)
    assert len(plan.legs) == 2 * 2 * (2 + 4)


def test_same_content_under_two_ids_is_one_leg() -> None:
    builds = {"a": prepared("a", "7.2"), "b": prepared("b", "7.2"), "c": prepared("c", "7.2", args=("-x",))}
    plan = make_plan(matrix_of(builds), builds)
    assert len(plan.cells) == 2 * 9
    assert len(plan.legs) == 2 * (2 + 4)


def test_legs_stand_after_what_they_load() -> None:
    plan = make_plan(matrix_of(THREE, chains=ChainRule((3, 4)), modes=(TCP, Mode("snapshot"))), THREE)
    seen: set[str | None] = {None}
    for leg in plan.legs.values():
        assert leg.incoming in seen
        seen.add(leg.key)


def test_common_machines() -> None:
    rule = MachineRule(common="pc-q35")
    plan = make_plan(matrix_of(OLD_NEW, machines=(rule,)), OLD_NEW)
    assert list(dict.fromkeys(cell.machine for cell in plan.cells)) == ["pc-q35-2.4", "pc-q35-5.2"]
    rule = MachineRule(common="pc-i440fx", only=("newest", "2.4"))
    plan = make_plan(matrix_of(THREE, machines=(rule,)), THREE)
    assert list(dict.fromkeys(cell.machine for cell in plan.cells)) == ["pc-i440fx-2.4", "pc-i440fx-7.2"]


def test_common_machines_may_all_be_a_vendors() -> None:
    def vendors(id_: str, version: str, *types: str) -> PreparedBuild:
        build = prepared(id_, version)
        machines = tuple(MachineType(name) for name in types)
        return replace(build, facts=replace(build.facts, machines=machines))

    builds = {
        "el9": vendors("el9", "9.1", "pc-q35-rhel9.6.0", "pc-q35-rhel8.6.0", "none", "microvm"),
        "el10": vendors("el10", "10.0", "pc-q35-rhel10.0.0", "pc-q35-rhel9.6.0", "pc-q35-rhel8.6.0", "none"),
    }
    plan = make_plan(matrix_of(builds, machines=(MachineRule(common="pc-q35"),)), builds)
    assert list(dict.fromkeys(cell.machine for cell in plan.cells)) == [
        "pc-q35-rhel8.6.0",
        "pc-q35-rhel9.6.0",
    ]
    rule = MachineRule(common="pc-q35", only=("newest",))
    plan = make_plan(matrix_of(builds, machines=(rule,)), builds)
    assert {cell.machine for cell in plan.cells} == {"pc-q35-rhel9.6.0"}


def test_machine_that_a_build_does_not_know_drops_cells() -> None:
    plan = make_plan(matrix_of(OLD_NEW, machines=(MachineRule(name="pc-q35-8.0"),)), OLD_NEW)
    assert paths(plan) == ["qemu-10.0>qemu-10.0"]
    assert plan.dropped == (Dropped("pc-q35-8.0", "qemu-5.2 does not know the machine", 2 * 3),)


def test_capability_that_a_build_does_not_know_drops_cells() -> None:
    mode = Mode("mapped", source_capabilities=("mapped-ram",))
    plan = make_plan(matrix_of(OLD_NEW, modes=(mode,)), OLD_NEW)
    assert paths(plan) == ["qemu-10.0>qemu-10.0", "qemu-10.0>qemu-5.2"]
    reason = "qemu-5.2 does not know the capability 'mapped-ram'"
    assert plan.dropped == (Dropped("mode mapped", reason, 2 * 2),)


def test_a_guest_that_a_mode_says_nothing_with_drops_cells() -> None:
    mode = Mode("late", "unix", ("postcopy-ram",), postcopy=True, passes=1)
    guests = (Guest("paused", "paused"), Guest("firmware", "firmware", 1.0))
    plan = make_plan(matrix_of(OLD_NEW, modes=(mode,), guests=guests), OLD_NEW)
    assert {cell.guest for cell in plan.cells} == {"firmware"}
    (dropped,) = plan.dropped
    assert (dropped.what, dropped.cells) == ("mode late, guest paused", 8)
    assert dropped.reason.startswith("a paused guest writes nothing")


@pytest.mark.parametrize(
    ("capabilities", "kept"),
    [
        (("multifd",), {"8.0>8.0", "8.0>10.0", "10.0>8.0", "10.0>10.0"}),
        (("multifd", "postcopy-ram"), {"10.0>10.0"}),  # which refuses it itself
        (("postcopy-ram",), {"8.0>8.0", "8.0>10.0", "10.0>8.0", "10.0>10.0"}),
    ],
)
def test_a_build_that_cannot_do_two_things_at_once_drops_cells(
    capabilities: tuple[str, ...], kept: set[str]
) -> None:
    builds = {version: prepared(version, version) for version in ("8.0", "10.0")}
    mode = Mode("m", "unix", capabilities, postcopy="postcopy-ram" in capabilities)
    plan = make_plan(matrix_of(builds, modes=(mode,)), builds)
    assert {">".join(cell.path) for cell in plan.cells} == kept
    assert {d.reason.split()[0] for d in plan.dropped} <= {"8.0"}


def test_one_release_is_no_destination_of_older_multifd() -> None:
    """Only 9.2.0 itself; 9.2.1 has it repaired."""
    builds = {version: prepared(version, version) for version in ("8.0", "9.2.0", "9.2.1")}
    mode = Mode("m", "unix", ("multifd",))
    plan = make_plan(matrix_of(builds, modes=(mode,)), builds)
    assert {(d.reason, d.cells) for d in plan.dropped} == {
        ("9.2.0 (9.2.0) loses count of the multifd packets that 8.0 sends", 2)
    }


@pytest.mark.parametrize("machine", ["none", "isapc", "pc-q35-7.2"])
@pytest.mark.parametrize(
    ("capability", "cannot", "why"),
    [
        ("postcopy-preempt", ("8.0", "7.2"), "8.0 opens the second channel when the postcopy begins"),
        ("multifd", ("8.0", "8.1"), "8.0 has its channels wait after each section"),
    ],
)
def test_a_board_without_versions_lacks_what_compat_tables_set(
    capability: str, cannot: tuple[str, str], why: str, machine: str
) -> None:
    builds = {version: prepared(version, version) for version in ("8.0", *cannot)}
    mode = Mode("m", "unix", (capability,))
    told = {path: cannot_path(mode, path, builds, machine) for path in product(builds, repeat=2)}
    versioned = machine == "pc-q35-7.2"
    assert [path for path, reason in told.items() if reason] == ([] if versioned else [cannot])
    assert versioned or told[cannot].startswith(why)


def test_profile_is_for_some_machines() -> None:
    profiles = (Profile("all", ()), Profile("q35", (), ("pc-q35-*",)))
    machines = (MachineRule(name="pc-i440fx-5.2"), MachineRule(name="pc-q35-5.2"))
    plan = make_plan(matrix_of(OLD_NEW, profiles=profiles, machines=machines), OLD_NEW)
    assert {(cell.machine, cell.profile) for cell in plan.cells} == {
        ("pc-i440fx-5.2", "all"),
        ("pc-q35-5.2", "all"),
        ("pc-q35-5.2", "q35"),
    }
    assert plan.dropped == (Dropped("profile q35 on pc-i440fx-5.2", "meant for pc-q35-*", 4),)


def test_explicit_builds_take_part_where_they_are_named() -> None:
    builds = {**OLD_NEW, "aer": prepared("aer", "10.0", args=("-global", "a.b=on"))}
    changes = {
        "explicit_builds": frozenset({"aer"}),
        "explicit": (PathRule(("aer", "qemu-5.2"), profiles=("ni*",)),),
    }
    plan = make_plan(matrix_of(builds, **changes), builds)
    assert [cell.profile for cell in plan.cells if "aer" in cell.path] == ["nic"]


def test_explicit_profiles_take_part_where_they_are_named() -> None:
    profiles = (Profile("nic", ()), Profile("own", (), explicit=True))
    rules = (PathRule(("qemu-5.2", "qemu-10.0"), profiles=("own",)), PathRule(("qemu-10.0",) * 3))
    matrix = matrix_of(OLD_NEW, profiles=profiles, explicit=rules)
    plan = make_plan(matrix, OLD_NEW)
    assert [cell.path for cell in plan.cells if cell.profile == "own"] == [("qemu-5.2", "qemu-10.0")]
    assert len(plan.cells) == 4 + 1 + 1
    by_hand = make_plan(matrix, OLD_NEW, paths=["qemu-10.0>qemu-5.2"])
    assert [cell.profile for cell in by_hand.cells] == ["nic", "own"]


def test_chains_without_repeats() -> None:
    plan = make_plan(matrix_of(THREE, pairs=(), chains=ChainRule((3,), repeats=False)), THREE)
    assert len(paths(plan)) == 6


def test_paths_by_hand_replace_those_of_the_matrix() -> None:
    plan = make_plan(matrix_of(THREE), THREE, paths=["qemu-10.0>qemu-5.2>qemu-10.0", "qemu-7.2>qemu-7.2"])
    assert paths(plan) == ["qemu-10.0>qemu-5.2>qemu-10.0", "qemu-7.2>qemu-7.2"]


def test_sample_is_seeded_and_keeps_pairs_and_explicit_paths() -> None:
    explicit = (PathRule(("qemu-5.2",) * 3),)
    matrix = matrix_of(THREE, chains=ChainRule(sample=10, seed=3), explicit=explicit)
    plan = make_plan(matrix, THREE)
    assert len(plan.cells) == 2 * (9 + 1) + 10
    assert plan.dropped == (Dropped("chains", "not drawn into the sample", 2 * 26 - 10),)
    assert make_plan(matrix, THREE) == plan
    assert make_plan(matrix, THREE, seed=3) == plan
    assert make_plan(matrix, THREE, seed=4).cells != plan.cells


def test_a_larger_sample_holds_the_smaller_one() -> None:
    small, large = (
        set(make_plan(matrix_of(THREE, chains=ChainRule(sample=n)), THREE).cells) for n in (10, 20)
    )
    assert small < large


def test_selection_counts_what_it_leaves_out() -> None:
    plan = make_plan(matrix_of(THREE), THREE, select=["profile=nic", "path=qemu-5.2>*"])
    assert paths(plan) == ["qemu-5.2>qemu-10.0", "qemu-5.2>qemu-5.2", "qemu-5.2>qemu-7.2"]
    assert plan.dropped == (Dropped("--select", "not selected", 18 - 3),)


def test_what_is_left_out_is_of_the_selection() -> None:
    machines = (MachineRule(name="pc-q35-8.0"), MachineRule(name="pc-q35-5.2"))
    plan = make_plan(
        matrix_of(OLD_NEW, machines=machines), OLD_NEW, select=["profile=nic", "path=qemu-10.0>*"]
    )
    assert plan.dropped == (
        Dropped("pc-q35-8.0", "qemu-5.2 does not know the machine", 1),
        Dropped("--select", "not selected", 10 - 3),
    )


def test_a_reason_is_one_line_of_the_plan() -> None:
    machines = tuple(
        MachineRule(name=f"{kind}-{v}") for kind in ("pc-q35", "pc-i440fx") for v in ("8.0", "9.2")
    )
    plan = make_plan(matrix_of(OLD_NEW, machines=machines), OLD_NEW)
    reason = "qemu-5.2 does not know the machine"
    assert list(render_plan(plan))[-3:-1] == [
        "left out: 24 cells",
        f"   24 cells: pc-q35-8.0, pc-q35-9.2, pc-i440fx-8.0 and 1 more: {reason}",
    ]
    assert f"   6 cells: pc-i440fx-9.2: {reason}" in list(render_plan(plan, verbose=True))


def test_a_long_plan_is_folded_to_its_machines() -> None:
    profiles = tuple(Profile(f"p{number}", ()) for number in range(40))
    plan = make_plan(matrix_of(OLD_NEW, profiles=profiles), OLD_NEW)
    lines = list(render_plan(plan))
    assert len(lines) == 4
    assert lines[1].startswith("1. pc-q35-5.2: cells 1-160: 40 profiles: qemu-5.2>")
    assert len(list(render_plan(plan, verbose=True))) > 200


MISTAKES = [
    ({}, {"select": ["profile=nix"]}, "--select profile=nix matches no cell: did you mean 'nic'?"),
    (
        {},
        {"select": ["profile=nic", "cell=*/disk/*"]},
        "no cell matches all of --select",
    ),
    (
        {},
        {"select": ["machin=pc-*"]},
        "unknown selection key 'machin': known are machine, profile, path, mode, guest, cell, build",
    ),
    ({}, {"select": ["verdict=fail"]}, "'verdict=fail' needs results: a plan has none"),
    ({}, {"shard": (3, 2)}, "shard 3/2 does not exist: I goes from 1 to N"),
    (
        {},
        {"paths": ["qemu-5.2>qemu-5"]},
        "unknown build 'qemu-5' in path 'qemu-5.2>qemu-5': known: qemu-5.2, qemu-7.2, qemu-10.0",
    ),
    ({}, {"paths": ["qemu-5.2"]}, "'qemu-5.2' is not a path: write A>B or A>B>C"),
    (
        {"machines": (MachineRule(name="pc-q35-9.9"),)},
        {},
        (
            "m.yaml:1:2: machine 'pc-q35-9.9' is known to no build:"
            " known: pc-q35-2.4, pc-q35-5.2, pc-q35-7.2, pc-q35-8.0, pc-q35-9.2, pc-q35-10.0"
        ),
    ),
    (
        {"machines": (MachineRule(name="q35"),)},
        {},
        (
            "m.yaml:1:2: 'q35' means another machine in each build: name a versioned type,"
            " for example pc-q35-10.0 or {common: pc-q35}"
        ),
    ),
    (
        {"machines": (MachineRule(common="pc-q36"),)},
        {},
        "m.yaml:1:2: no versioned machine type of 'pc-q36' is known to two builds",
    ),
    (
        {"machines": (MachineRule(common="pc-q35", only=("9.9",)),)},
        {},
        "m.yaml:1:2: pc-q35-9.9 is not known to two builds: known: 2.4, 5.2, 7.2",
    ),
    (
        {"profiles": (Profile("nic", ("-device", "e1001,id=n")),)},
        {},
        "m.yaml:3:4: no build accepts profile 'nic': device 'e1001' is known to none: did you mean 'e1000e'?",
    ),
    (
        {"modes": (Mode("snapshot", capabilities=("multi-fd",)),)},
        {},
        "m.yaml:5:6: capability 'multi-fd' is known to no build: did you mean 'multifd'?",
    ),
    (
        {"modes": (Mode("snapshot", source_parameters=(("tls-creds", "tls0"),)),)},
        {},
        "m.yaml:5:6: mode 'snapshot' names the TLS object 'tls0', which no argument makes (-object ...,id=tls0)",
    ),
]


@pytest.mark.parametrize("arguments", [("-object", "tls-creds-x509,id=tls0"), ("-readconfig", "more.cfg")])
def test_tls_credentials_that_an_argument_may_make_are_taken(arguments: tuple[str, ...]) -> None:
    tls = Mode("snapshot", parameters=(("tls-creds", "tls0"),))
    assert make_plan(matrix_of(THREE, profiles=(Profile("nic", arguments),), modes=(tls,)), THREE).cells


def test_a_device_s_typo_is_told_at_the_word_and_all_of_them_at_once() -> None:
    profiles = Profile("nic", ("-device", "e1001")), Profile("two", ("-nodefaults", "-device", "e1002,id=n"))
    where: dict[tuple[str | int, ...], Position] = {
        ("profiles", "nic"): Position("m.yaml", 3, 4),
        ("profiles", "nic", 1): Position("m.yaml", 3, 20),
        ("profiles", "two"): Position("m.yaml", 4, 4),
        ("profiles", "two", 2): Position("m.yaml", 4, 32),
    }
    with pytest.raises(UserError) as caught:
        make_plan(matrix_of(THREE, where=where, profiles=profiles), THREE)
    told = str(caught.value).splitlines()
    assert [line.partition(": ")[0] for line in told] == ["m.yaml:3:20", "m.yaml:4:32"]
    skipping = matrix_of(THREE, where=where, profiles=profiles, policy=Policy(unusable="skip"))
    assert make_plan(skipping, THREE).cells


@pytest.mark.parametrize(("changes", "options", "message"), MISTAKES, ids=[m[2] for m in MISTAKES])
def test_mistake(changes: dict[str, object], options: dict[str, object], message: str) -> None:
    where = {
        ("machines", 0): Position("m.yaml", 1, 2),
        ("profiles", "nic"): Position("m.yaml", 3, 4),
        ("modes", "snapshot"): Position("m.yaml", 5, 6),
    }
    with pytest.raises(UserError) as caught:
        make_plan(matrix_of(THREE, where=where, **changes), THREE, **options)  # type: ignore[arg-type]  # by word
    assert str(caught.value) == message
    assert isinstance(caught.value, ConfigError) == message.startswith("m.yaml")


@pytest.mark.parametrize("text", ["", "1", "1/", "/2", "a/b", "0/2", "3/2", "-1/2", "1/2/3", "²/3"])
def test_bad_shard(text: str) -> None:
    with pytest.raises(UserError, match="shard"):
        parse_shard(text)


def test_good_shard() -> None:
    assert parse_shard("2/3") == (2, 3)


WHOLE = make_plan(matrix_of(THREE, chains=ChainRule()), THREE)


@settings(max_examples=20)
@given(st.integers(1, 12))
def test_shards_are_disjoint_and_complete(count: int) -> None:
    matrix = matrix_of(THREE, chains=ChainRule())
    parts = [make_plan(matrix, THREE, shard=(index, count)) for index in range(1, count + 1)]
    assert sorted(cell for part in parts for cell in part.cells) == sorted(WHOLE.cells)
    assert all(set(part.legs) <= set(WHOLE.legs) for part in parts)
    assert all(len(part.cells) + part.dropped_cells == len(WHOLE.cells) for part in parts)


def test_a_cell_stays_in_its_shard_when_the_matrix_grows() -> None:
    small = make_plan(matrix_of(THREE), THREE, shard=(1, 4))
    large = make_plan(matrix_of(THREE, chains=ChainRule()), THREE, shard=(1, 4))
    assert {cell for cell in large.cells if len(cell.path) == 2} == set(small.cells)


def golden() -> Plan:
    """One of everything: two modes, two guests, a machine that one build lacks, a sample, a shard."""
    matrix = matrix_of(
        OLD_NEW,
        machines=(MachineRule(name="pc-q35-5.2"), MachineRule(name="pc-i440fx-8.0")),
        modes=(Mode("snapshot"), Mode("many", "tcp", ("multifd",), (("multifd-channels", 4),))),
        guests=(Guest("paused", "paused"), Guest("firmware", "firmware", 1.5)),
        chains=ChainRule(sample=9, seed=1),
    )
    return make_plan(matrix, OLD_NEW, shard=(1, 2))


def test_golden_tree(snapshot: SnapshotAssertion) -> None:
    assert "\n".join(render_plan(golden())) == snapshot


def test_golden_tree_verbose(snapshot: SnapshotAssertion) -> None:
    assert "\n".join(render_plan(golden(), verbose=True)) == snapshot


def test_golden_json() -> None:
    """A change of this file is a change of leg keys: raise `LEG_FORMAT`, then write the file anew."""
    file = Path(__file__).with_name("golden-plan.json")
    assert to_json(golden()) == json.loads(file.read_text())


def test_json_and_back() -> None:
    plan = golden()
    again = from_json(json.loads(json.dumps(to_json(plan))))
    assert again == plan
    assert again.digest == plan.digest
    with pytest.raises(ValueError, match="a plan of format 0"):
        from_json({**to_json(plan), "format": 0})


def test_long_lists_of_paths_are_counted() -> None:
    assert list(render_plan(WHOLE)) == [
        "plan: 72 cells, 78 distinct legs (6 probes, 24 saved states)",
        "1. pc-q35-5.2",
        "   1.1 nic",
        "       snapshot, paused: cells 1-36: 9 pairs, 27 chains of 3",
        "   1.2 disk",
        "       snapshot, paused: cells 37-72: 9 pairs, 27 chains of 3",
        "total: 72 cells, 78 distinct legs (6 probes, 24 saved states)",
    ]


def test_a_big_plan_has_the_legs_that_it_needs() -> None:
    """The 30,000 cells of the benchmark, at a tenth of the size; its time is measured by `tox -e bench`."""
    plan = big_plan(profiles=4)
    assert len(plan.cells) + plan.dropped_cells == 3_000
    assert len(plan.legs) == 4 * 5 * (5 + 25 + 125)
