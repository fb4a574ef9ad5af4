# SPDX-License-Identifier: Apache-2.0
"""What the framework promises: versions, hooks and their order, subsections, checks, errors that say where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from migmatrix.vmstate.device.description import HookError, Info, Pointers, Slot, VMState
from migmatrix.vmstate.device.fields import (
    buffer,
    custom,
    gtree,
    int32_le,
    qtailq,
    struct,
    uint8,
    uint32,
    uint32_equal,
    validate,
)
from migmatrix.vmstate.device.interpret import (
    BytesSource,
    Frame,
    Kind,
    VMStateError,
    WindowSource,
    load_from,
    load_state,
    save_state,
)
from migmatrix.vmstate.wire.window import Window

if TYPE_CHECKING:
    from migmatrix.vmstate.device.protocols import Reading, Writing


def refused(vmsd: VMState, state: object, data: bytes, version: int | None = None) -> VMStateError:
    with pytest.raises(VMStateError) as caught:
        load_state(vmsd, state, data, version, path="dev")
    return caught.value


# -- versions ----------------------------------------------------------------------------------

SLIRP = VMState("slirp", (uint8("a"), uint8("ip_id", version=2)), version_id=3, minimum_version_id=1)


def test_a_versioned_field_is_read_only_from_its_version_on() -> None:
    old: dict[str, int] = {}
    load_state(SLIRP, old, b"\1", 1)
    new: dict[str, int] = {}
    load_state(SLIRP, new, b"\1\2", 2)
    assert (old, new) == ({"a": 1}, {"a": 1, "ip_id": 2})


def test_versions_outside_the_limits_are_refused() -> None:
    newer, older = refused(SLIRP, {}, b"", 4), refused(SLIRP, {}, b"", 0)
    assert (newer.kind, newer.facts["incoming"], newer.facts["local"]) == (Kind.TOO_NEW, 4, 3)
    assert (older.kind, older.facts["incoming"], older.facts["local"]) == (Kind.TOO_OLD, 0, 1)
    assert str(newer) == "offset 0x0 (dev): expected 'slirp' version at most 3, read 4"


def test_a_test_alone_decides_whatever_the_version() -> None:
    vmsd = VMState("d", (uint8("v", version=9, test=lambda _s, version: version == 1),), version_id=1)
    assert save_state(vmsd, {"v": 5}).data == b"\5"


# -- hooks -------------------------------------------------------------------------------------


@dataclass
class Log:
    v: int = 0
    w: int = 0
    calls: list[str] = field(default_factory=list)


def logging(name: str, *, fail: str = "", **more: Any) -> VMState:
    def hook(which: str) -> Any:
        def call(state: Log, *version: int) -> None:
            state.calls.append(":".join([name, which, *map(str, version)]))
            if which == fail:
                raise HookError("no")

        return call

    hooks = {which: hook(which) for which in ("pre_save", "post_save", "pre_load", "post_load")}
    return VMState(name, **hooks, **more)


def test_hooks_run_in_order_the_outer_post_load_last() -> None:
    sub = logging("d/sub", fields=(uint8("w"),), version_id=1)
    vmsd = logging("d", fields=(uint8("v"),), version_id=2, subsections=(sub,))
    state = Log(1, 2)
    data = save_state(vmsd, state).data
    assert state.calls == ["d:pre_save", "d/sub:pre_save", "d/sub:post_save", "d:post_save"]
    loaded = Log()
    load_state(vmsd, loaded, data)
    assert loaded.calls == ["d:pre_load", "d/sub:pre_load", "d/sub:post_load:1", "d:post_load:2"]
    assert (loaded.v, loaded.w) == (1, 2)


def test_hooks_of_a_subsection_that_does_not_come_do_not_run() -> None:
    sub = logging("d/sub", fields=(uint8("w"),))
    loaded = Log()
    load_state(logging("d", fields=(uint8("v"),), subsections=(sub,)), loaded, b"\1")
    assert loaded.calls == ["d:pre_load", "d:post_load:0"]


def test_a_struct_finishes_before_its_parents_next_field() -> None:
    inner = logging("in", fields=(uint8("v"),))
    state = Log()
    seen: list[list[str]] = []

    def note(log: Log, _version: int) -> bool:
        seen.append(list(log.calls))
        return True

    check = validate("inner is done", note)
    load_state(VMState("out", (struct("s", inner, attr=""), check)), state, b"\1")
    assert seen == [["in:pre_load", "in:post_load:0"]]


@pytest.mark.parametrize(
    ("fail", "calls"),
    [("pre_save", ["d:pre_save"]), ("post_save", ["d:pre_save", "d:post_save"])],
)
def test_a_failing_save_hook(fail: str, calls: list[str]) -> None:
    state = Log(1)
    with pytest.raises(VMStateError) as caught:
        save_state(logging("d", fail=fail, fields=(uint8("v"),)), state)
    assert (caught.value.kind.value, state.calls) == (fail.replace("_", "-"), calls)


def test_post_save_runs_after_a_field_failed_and_the_first_failure_is_reported() -> None:
    state = Log(v=999)
    with pytest.raises(VMStateError) as caught:
        save_state(logging("d", fail="post_save", fields=(uint8("v"),)), state)
    assert (caught.value.kind, state.calls) == (Kind.VALUE, ["d:pre_save", "d:post_save"])


@pytest.mark.parametrize("fail", ["pre_load", "post_load"])
def test_a_failing_load_hook_carries_its_words_and_number(fail: str) -> None:
    error = refused(logging("d", fail=fail, fields=(uint8("v"),)), Log(), b"\1")
    assert (error.kind.value, error.facts["message"], error.errno) == (fail.replace("_", "-"), "no", 1)


def test_what_a_hook_raises_by_mistake_is_not_hidden() -> None:
    def broken(_state: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        load_state(VMState("d", pre_load=broken), {}, b"")


# -- subsections -------------------------------------------------------------------------------

PIO = VMState(
    "ide_drive/pio_state", (uint8("left"),), version_id=1, needed=lambda s: s["drq"], minimum_version_id=1
)
IDE = VMState("ide_drive", (uint8("status"),), version_id=3, subsections=(PIO,))
PREFIX = b"\x05\x13ide_drive/pio_state\0\0\0\1"


def test_a_subsection_is_sent_only_when_needed() -> None:
    assert save_state(IDE, {"status": 1, "drq": False}).data == b"\1"
    assert save_state(IDE, {"status": 1, "drq": True, "left": 2}).data == b"\1" + PREFIX + b"\2"


def test_an_unknown_subsection_is_refused_by_name() -> None:
    error = refused(VMState("ide_drive", (uint8("status"),)), {}, b"\1" + PREFIX + b"\2")
    assert (error.kind, error.errno, error.offset) == (Kind.UNKNOWN_SUBSECTION, 2, 1)
    assert error.facts == {"name": "ide_drive/pio_state", "parent": "ide_drive"}


@pytest.mark.parametrize("name", [b"ide", b"ide_drive", b"other_thing/sub"])
def test_what_cannot_be_our_subsection_is_left_in_the_stream(name: bytes) -> None:
    source = BytesSource(b"\1\x05" + bytes([len(name)]) + name + b"\0\0\0\1")
    load_from(source, IDE, {})
    assert source.offset == 1


def test_a_subsection_of_the_outer_description_after_a_struct() -> None:
    outer = VMState("out", (struct("s", IDE, attr=""),), subsections=(VMState("out/x", (uint8("x"),)),))
    state: dict[str, int] = {}
    load_state(outer, state, b"\1" + PREFIX + b"\2" + b"\x05\x05out/x\0\0\0\0\7")
    assert state == {"status": 1, "left": 2, "x": 7}


def test_the_same_subsection_may_come_twice() -> None:
    state: dict[str, int] = {}
    load_state(IDE, state, b"\1" + (PREFIX + b"\2") + (PREFIX + b"\3"))
    assert state["left"] == 3


def test_a_subsections_version_is_kept_in_eight_bits() -> None:
    state: dict[str, int] = {}
    load_state(IDE, state, b"\1" + PREFIX[:-4] + b"\0\0\1\1" + b"\2")
    assert state["left"] == 2
    assert refused(IDE, {}, b"\1" + PREFIX[:-1] + b"\2").kind is Kind.TOO_NEW


def test_bytes_left_over_are_an_error() -> None:
    assert refused(IDE, {}, b"\1\2").kind is Kind.COUNT


# -- checks ------------------------------------------------------------------------------------


def test_equal_says_both_values_and_the_hint() -> None:
    error = refused(VMState("d", (uint32_equal("n", hint="use the same"),)), {"n": 8}, b"\0\0\0\4")
    assert (error.kind, error.facts["local"], error.facts["incoming"]) == (Kind.EQUAL, 8, 4)
    assert error.facts["hint"] == "use the same"
    assert error.frames == [Frame("field", "d", "n", "uint32 equal")]


@pytest.mark.parametrize("wire", [b"\0\0\0\5", b"\xff\xff\xff\xff"])
def test_le_refuses_more_than_local_and_negative(wire: bytes) -> None:
    error = refused(VMState("d", (int32_le("n"),)), {"n": 4}, wire)
    assert (error.kind, error.facts["local"]) == (Kind.NOT_LE, 4)


def test_validate_fails_both_ways_without_a_frame() -> None:
    vmsd = VMState("hpet", (uint8("n"), validate("num_timers must match", lambda s, _v: s["n"] == 3)))
    error = refused(vmsd, {}, b"\4")
    assert (error.kind, error.errno, error.frames) == (Kind.VALIDATE, 1, [])
    assert error.facts == {"name": "hpet", "check": "num_timers must match", "version": 0}
    with pytest.raises(VMStateError):
        save_state(vmsd, {"n": 4})


def test_nulls_in_other_places_are_refused_and_leave_the_marker_named() -> None:
    vmsd = VMState("d", (uint8("p", count=1, pointers=Pointers.LOCAL),))
    error = refused(vmsd, {"p": [None]}, b"\x31")
    assert (error.kind, error.facts["incoming"]) == (Kind.NULL_MARKER, 0x31)


@pytest.mark.parametrize("wire", ["00000001 00", "00000000 01 0000000000000001 02"])
def test_a_tree_with_another_number_of_nodes_is_refused(wire: str) -> None:
    vmsd = VMState("d", (gtree("t", VMState("v", (uint8("x"),))),))
    assert refused(vmsd, {}, bytes.fromhex(wire)).kind is Kind.TREE


def test_queue_elements_are_loaded_at_the_fields_version() -> None:
    element = VMState("e", (uint8("x"),), version_id=2, minimum_version_id=2)
    error = refused(VMState("d", (qtailq("q", element),)), {}, b"\0")
    assert (error.kind, error.facts["problem"]) == (Kind.ELEMENT_VERSION, "too old")
    state: dict[str, Any] = {}
    load_state(VMState("d", (qtailq("q", element, version=2),), version_id=2), state, b"\0")
    assert state == {"q": []}


# -- errors ------------------------------------------------------------------------------------


def test_the_path_leads_to_the_byte() -> None:
    fifo = VMState("fifo", (uint8("len"), uint32("word")))
    vmsd = VMState("serial", (uint8("lcr"), struct("fifo", fifo, count=4)))
    with pytest.raises(VMStateError) as caught:
        load_state(vmsd, {}, bytes(1 + 3 * 5 + 2), path="serial", base=0x1000)
    assert str(caught.value) == "offset 0x1011 (serial/fifo[3].word): expected 4 bytes, read 1"
    assert caught.value.frames == [
        Frame("field", "fifo", "word", "uint32"), Frame("field", "serial", "fifo", "struct")
    ]  # fmt: skip


def test_a_custom_type_may_refuse() -> None:
    def get(reading: Reading, old: Any, slot: Slot) -> bytes:
        data = reading.take(slot.size)
        if data != old:
            raise HookError("bad config data", 22)
        return data

    def put(writing: Writing, value: Any, _slot: Slot) -> None:
        writing.put(value)

    vmsd = VMState("PCIDevice", (custom("config", Info("pci config", get, put), 2),))
    assert save_state(vmsd, {"config": b"ab"}).desc["fields"] == [
        {"name": "config", "type": "pci config", "size": 2}
    ]
    error = refused(vmsd, {"config": b"ab"}, b"ac")
    assert (error.kind, error.facts["message"], error.errno) == (Kind.CUSTOM, "bad config data", 22)


# -- state objects -----------------------------------------------------------------------------


@dataclass
class Drive:
    status: int = 0
    buffer: bytearray = field(default_factory=lambda: bytearray(4))
    words: list[int] = field(default_factory=lambda: [0, 0])
    heads: tuple[int, ...] = (0, 0)


DRIVE = VMState(
    "drive", (uint8("status"), uint8("buffer", count=2), uint32("words", count=2), uint8("heads", count=2))
)


def test_objects_keep_their_containers_and_what_was_not_sent() -> None:
    drive = Drive()
    words, data = drive.words, drive.buffer
    load_state(DRIVE, drive, bytes.fromhex("07 0102 00000003 00000004 0506"))
    assert drive == Drive(7, bytearray(b"\1\2\0\0"), [3, 4], (5, 6))
    assert drive.words is words
    assert drive.buffer is data


def test_an_object_without_the_attribute_is_named() -> None:
    @dataclass(slots=True)
    class Empty:
        pass

    assert refused(DRIVE, Empty(), b"\0").kind is Kind.STATE


def test_structs_in_objects_are_made_by_new() -> None:
    vmsd = VMState("d", (uint8("n"), struct("drives", DRIVE, count="n", new=Drive)))
    state: dict[str, Any] = {}
    load_state(vmsd, state, b"\1" + bytes.fromhex("07 0102 00000003 00000004 0506"))
    assert state["drives"][0].words == [3, 4]


# -- hostile input -----------------------------------------------------------------------------


def test_a_huge_count_reads_no_more_than_there_is() -> None:
    vmsd = VMState("d", (uint32("n"), uint8("v", count="n")))
    assert refused(vmsd, {}, b"\x7f\xff\xff\xff\0").kind is Kind.TRUNCATED
    assert refused(vmsd, {}, b"\xff\xff\xff\xff\0").kind is Kind.COUNT


def test_elements_without_bytes_do_not_take_forever() -> None:
    vmsd = VMState("d", (uint32("n"), struct("v", VMState("empty"), count="n")))
    assert refused(vmsd, {}, b"\x7f\xff\xff\xff").kind is Kind.COUNT


def test_a_live_source_waits_for_just_what_is_needed() -> None:
    window, pieces = Window(), [b"\0", b"\0\0\2", b"a", b"b", b"\x7e", b"never"]

    def fill() -> bool:
        window.feed(pieces.pop(0))
        return True

    vmsd = VMState("d", (uint32("n"), buffer("v", "n")))
    state: dict[str, Any] = {}
    load_from(WindowSource(window, fill), vmsd, state)
    assert (state, pieces) == ({"n": 2, "v": b"ab"}, [b"never"])


def test_a_description_that_cannot_work_is_refused_when_made() -> None:
    with pytest.raises(ValueError, match="minimum version"):
        VMState("d", version_id=1, minimum_version_id=2)
    with pytest.raises(ValueError, match="must begin with"):
        VMState("d", subsections=(VMState("other/x"),))
    with pytest.raises(ValueError, match="1 to 255"):
        VMState("x" * 256)


# -- room --------------------------------------------------------------------------------------

LIST = VMState("list", (uint8("n"), uint8("v", count="n")))
STRUCTS = VMState("structs", (uint8("n"), struct("v", VMState("one", (uint8("a"),)), count="n")))


@pytest.mark.parametrize(("vmsd", "two"), [(LIST, [7, 8]), (STRUCTS, [{"a": 7}, {"a": 8}])])
def test_an_array_takes_no_more_elements_than_it_has(vmsd: VMState, two: list[Any]) -> None:
    """QEMU leaves this to the device, and writes beyond the array."""
    state: dict[str, Any] = {"n": 2, "v": two}
    load_state(vmsd, state, bytes((1, 9)), 0, path="dev")
    error = refused(vmsd, state, bytes((3, 1, 2, 3)))
    assert (error.kind, error.offset) == (Kind.COUNT, 1)
    assert "expected at most 2 elements in 'v', read 3" in str(error)
    assert len(state["v"]) == 2


def test_a_check_of_the_device_comes_first() -> None:
    checked = VMState(
        "checked", (uint8("n"), validate("fits", lambda s, _: bool(s["n"] < 3)), uint8("v", count="n"))
    )
    assert refused(checked, {"n": 2, "v": [7, 8]}, bytes((3, 1, 2, 3))).kind is Kind.VALIDATE


def test_an_array_that_a_load_makes_has_no_limit() -> None:
    made = VMState("made", (uint8("n"), uint8("v", count="n", alloc=True)))
    state: dict[str, Any] = {"n": 1, "v": [7]}
    load_state(made, state, bytes((3, 1, 2, 3)), 0)
    assert state["v"] == [1, 2, 3]
