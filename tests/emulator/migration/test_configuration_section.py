# SPDX-License-Identifier: Apache-2.0
"""What a stream is framed with, when both sides agree and when they do not: configuration, footers, run state, order.

Each row was seen on real QEMU (`stream-format`, sections 1 to 3, and the capability rows of
`tests/data/failure-samples.jsonl`), except where a note says otherwise.
"""

from __future__ import annotations

from typing import Any, Final

import pytest
from migration_machines import RELEASES, Box, enable, make, memory, none, target
from whole_streams import loaded, saved

from migmatrix.vmstate.device.description import MigrationPriority, VMState
from migmatrix.vmstate.device.fields import uint8
from migmatrix.vmstate.view.stream import read_stream

OLD: Final = ("5.2", "7.2", "10.0")
ONE: Final = "11111111-1111-1111-1111-111111111111"
TWO: Final = "22222222-2222-2222-2222-222222222222"


def switched(name: str, value: str) -> tuple[str, str]:
    return "-global", f"migration.{name}={value}"


def hop(release: str, ours: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[int, list[str], Box]:
    """Status and lines of a destination, and the destination."""
    there = target(release, "-S", *theirs)
    return *loaded(there, saved(none(release, "-S", *ours))), there


# -- properties of the migration object ----------------------------------------------------------

OFF: Final = {
    name: switched(name, "off")
    for name in ("send-configuration", "send-section-footer", "store-global-state")
}


@pytest.mark.parametrize("name", OFF)
@pytest.mark.parametrize("release", RELEASES)
def test_two_sides_that_both_leave_it_out_agree(release: str, name: str) -> None:
    status, lines, there = hop(release, OFF[name], OFF[name])
    assert (status, lines) == (0, [])
    assert memory(there) == {"ram": bytes(1 << 20)}


@pytest.mark.parametrize(
    ("ours", "theirs", "old", "new"),
    [
        (
            "send-configuration",
            "",
            ["Configuration section missing"],
            "Configuration section missing, 1 != 7",
        ),
        (
            "send-section-footer",
            "",
            ["Missing section footer for ram"],
            "Section footer error, section_id: 1",
        ),
        ("", "send-configuration", ["Unknown savevm section type 7"], "Unknown section type 7"),
        ("", "send-section-footer", ["Unknown savevm section type 126"], "Unknown section type 126"),
    ],
)
@pytest.mark.parametrize("release", RELEASES)
def test_a_side_that_leaves_it_out_and_one_that_does_not(
    release: str, ours: str, theirs: str, old: list[str], new: str
) -> None:
    """The source's word decides what is there, the destination's what it looks for."""
    status, lines, there = hop(release, OFF.get(ours, ()), OFF.get(theirs, ()))
    assert status == 1
    assert there.migration.global_state.received == ""
    if release in OLD:
        assert lines == [*old, "load of migration failed: Invalid argument"]
    else:
        assert lines[-1] == f"load of migration failed: Invalid argument: {new}"


@pytest.mark.parametrize("before", ["running", "paused", "prelaunch", "io-error", "shutdown"])
@pytest.mark.parametrize("release", RELEASES)
def test_a_usual_run_state_may_be_left_out(release: str, before: str) -> None:
    """Running and paused; any other is sent whatever the property says (QEMU's `globalstate` section)."""
    names = {}
    for value in ("on", "off"):
        source = none(release, *switched("store-global-state", value))
        source.set_runstate(before)
        stream = saved(source)
        names[value] = [section.key[0] for section in read_stream(stream).sections]
        assert loaded(target(release), stream) == (0, [])
    usual = before in ("running", "paused")
    assert names["on"][-1] == "globalstate"
    assert names["off"] == (names["on"][:-1] if usual else names["on"])


@pytest.mark.parametrize("release", RELEASES)
def test_a_guest_whose_run_state_was_left_out_runs(release: str) -> None:
    source, there = none(release, *OFF["store-global-state"]), target(release)
    source.vm_stop("paused")
    assert loaded(there, saved(source)) == (0, [])
    assert there.migration.global_state.starts_guest


@pytest.mark.parametrize("release", RELEASES)
def test_only_what_is_left_out_is_missing(release: str) -> None:
    """A footer is five bytes after each section or piece of memory; the configuration is the first nine."""
    whole = saved(none(release))
    pieces = len(read_stream(whole).sections)  # a start, a part and an end of memory count each
    assert len(whole) - len(saved(none(release, *OFF["send-section-footer"]))) == 5 * pieces
    less = saved(none(release, *OFF["send-configuration"]))
    body, described = whole.partition(b"{")[0], less.partition(b"{")[0]
    assert described[:-4] == body[:8] + body[17:-4]  # the last four are the description's length
    assert (len(whole) - len(less) == 9) is (release in ("5.2", "7.2"))  # later ones describe it too


# -- capabilities and UUIDs ----------------------------------------------------------------------


def with_capabilities(machine: Box, *names: str) -> Box:
    if names:
        enable(machine, *names)
    return machine


@pytest.mark.parametrize(
    ("ours", "theirs", "lines"),
    [
        ((ONE, "validate-uuid"), (TWO, "validate-uuid"), [f"UUID received is {ONE} and local is {TWO}"]),
        ((ONE, "validate-uuid"), (TWO,), [f"UUID received is {ONE} and local is {TWO}"]),
        ((ONE, "validate-uuid"), (ONE, "validate-uuid"), None),
        ((ONE, "validate-uuid"), (ONE,), None),
        ((ONE,), (TWO, "validate-uuid"), None),
        ((ONE,), (TWO,), None),
    ],
)
@pytest.mark.parametrize("release", RELEASES)
def test_a_uuid_counts_when_it_is_sent(
    release: str, ours: tuple[str, ...], theirs: tuple[str, ...], lines: list[str] | None
) -> None:
    """It is sent when the source has the capability; the destination compares it whether or not it has."""
    source = with_capabilities(none(release, "-uuid", ours[0]), *ours[1:])
    there = with_capabilities(target(release, "-uuid", theirs[0]), *theirs[1:])
    status, found = loaded(there, saved(source))
    assert status == (0 if lines is None else 1)
    if lines is None:
        assert found == []
    else:
        assert lines[0] in (found[0] if release in OLD else found[-1]) or lines[0] in found


@pytest.mark.parametrize("release", RELEASES)
def test_a_uuid_that_nobody_here_has_is_warned_of(release: str) -> None:
    source = with_capabilities(none(release, "-uuid", ONE), "validate-uuid")
    words = f"warning: UUID is received {ONE}, but local uuid isn't set"
    assert loaded(target(release), saved(source)) == (0, [words])


@pytest.mark.parametrize(
    "names", [("xbzrle",), ("return-path",), ("auto-converge", "events"), ("dirty-bitmaps",)]
)
@pytest.mark.parametrize("release", RELEASES)
def test_a_capability_of_one_side_alone_is_not_announced(release: str, names: tuple[str, ...]) -> None:
    plain = saved(none(release))
    assert saved(with_capabilities(none(release), *names)) == plain
    assert loaded(with_capabilities(target(release), *names), plain) == (0, [])


# -- order and need of sections ------------------------------------------------------------------


class Part:
    """The state of a section that a test adds."""

    def __init__(self, value: int = 0) -> None:
        self.value = value


def described(name: str, priority: MigrationPriority = MigrationPriority.DEFAULT, **more: Any) -> VMState:
    return VMState(name, (uint8("value"),), version_id=1, minimum_version_id=1, priority=priority, **more)


@pytest.mark.parametrize("release", RELEASES)
def test_sections_go_by_priority_then_by_registration(release: str) -> None:
    source, there = none(release), target(release)
    levels = [
        MigrationPriority.DEFAULT,
        MigrationPriority.PCI_BUS,
        MigrationPriority.IOMMU,
        MigrationPriority.PCI_BUS,
    ]
    for machine in (source, there):
        for number, level in enumerate(levels):
            machine.registry.register(described(f"part-{number}", level), Part(number))
    stream = saved(source)
    names = [section.key[0] for section in read_stream(stream).sections]
    assert names[:4] == ["ram", "ram", "ram", "part-1"]
    assert [name for name in names if name.startswith("part")] == ["part-1", "part-3", "part-2", "part-0"]
    assert names.index("part-2") < names.index("globalstate") < names.index("part-0")
    assert loaded(there, stream) == (0, [])


@pytest.mark.parametrize("needed", [False, True])
@pytest.mark.parametrize("release", RELEASES)
def test_a_section_or_subsection_goes_when_it_is_needed(release: str, needed: bool) -> None:
    def is_needed(_state: Part) -> bool:
        return needed

    sub = VMState("kept/more", (uint8("value"),), version_id=1, minimum_version_id=1, needed=is_needed)
    source, there = none(release), target(release)
    states = []
    for machine, value in ((source, 5), (there, 0)):
        states.append(Part(value))
        machine.registry.register(described("maybe", needed=is_needed), Part(value))
        machine.registry.register(described("kept", subsections=(sub,)), states[-1])
    stream = saved(source)
    names = [section.key[0] for section in read_stream(stream).sections]
    assert ("maybe" in names) is needed
    assert (b"kept/more" in stream.partition(b"{")[0]) is needed
    assert loaded(there, stream) == (0, [])
    assert states[1].value == 5


@pytest.mark.parametrize("release", RELEASES)
def test_a_subsection_that_the_other_side_lacks_is_refused(release: str) -> None:
    sub = VMState("kept/more", (uint8("value"),), version_id=1, minimum_version_id=1)
    source, there = none(release), target(release)
    source.registry.register(described("kept", subsections=(sub,)), Part(5))
    there.registry.register(described("kept"), Part())
    status, lines = loaded(there, saved(source))
    assert status == 1
    if release in OLD:
        assert lines[-2:] == ["error while loading state for instance 0x0 of device 'kept'",
                              "load of migration failed: No such file or directory"]  # fmt: skip
    else:
        assert lines[-1].endswith("VM subsection 'kept/more' in 'kept' does not exist")


@pytest.mark.parametrize("machine", ["pc-q35-{}", "pc-i440fx-{}", "isapc", "none"])
@pytest.mark.parametrize("release", RELEASES)
def test_every_board_takes_its_own_stream(release: str, machine: str) -> None:
    name = machine.format(release)
    words = ("-M", name, "-m", "16", "-S", "-nodefaults")
    stream = saved(make(release, *words))
    there = make(release, *words, "-incoming", "defer")
    assert loaded(there, stream) == (0, [])
    assert read_stream(stream).machine == name
    for other in RELEASES:
        if other != release and machine not in ("isapc", "none"):
            elsewhere = make(other, "-M", machine.format(other), *words[2:], "-incoming", "defer")
            status, lines = loaded(elsewhere, stream)
            assert status == 1
            assert any(f"Machine type received is '{name}' and local is" in line for line in lines)
