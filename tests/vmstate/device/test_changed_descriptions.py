# SPDX-License-Identifier: Apache-2.0
"""How a description may change between two versions of a device, and what each way breaks.

The ways are those of QEMU's migration document: "Changing migration data structures" to "Versions", and "Legacy way".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.errors import Kind, VMStateError
from migmatrix.vmstate.device.fields import uint8, uint16, uint32, unused
from migmatrix.vmstate.device.registry import LegacyHandlers, Registry
from migmatrix.vmstate.device.source import BytesSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.vmstate.device.protocols import Reading, Writing

STATE = {"first": 1, "gone": 2, "last": 3}
BEFORE = VMState("dev", (uint8("first"), uint16("gone"), uint8("last")), version_id=1, minimum_version_id=1)


def moved(source: Any, destination: Any, state: dict[str, Any] | None = None) -> tuple[dict[str, Any], int]:
    """What a destination has of a source's state, and how many bytes it left in the stream."""
    saved = Registry().register(source, dict(STATE if state is None else state))
    arrived: dict[str, Any] = {}
    incoming = BytesSource(saved.save()[0])
    Registry().register(destination, arrived).load(incoming, saved.version_id)
    return arrived, incoming.left


def test_a_field_that_is_taken_away_breaks_both_ways() -> None:
    after = VMState("dev", (uint8("first"), uint8("last")), version_id=1, minimum_version_id=1)
    arrived, left = moved(BEFORE, after)
    assert arrived["last"] != STATE["last"]  # read from bytes of the field that is gone
    assert left == 2  # not the footer that must follow
    with pytest.raises(VMStateError) as refused:
        moved(after, BEFORE)
    assert refused.value.kind is Kind.TRUNCATED


def test_a_field_that_depends_on_a_higher_version_breaks_the_way_back() -> None:
    after = VMState(
        "dev",
        (uint8("first"), uint16("gone", test=lambda _s, version: version < 2), uint8("last")),
        version_id=2,
        minimum_version_id=1,
    )
    assert moved(BEFORE, after) == (STATE, 0)
    with pytest.raises(VMStateError) as refused:
        moved(after, BEFORE)
    assert refused.value.kind is Kind.SECTION_TOO_NEW


def test_a_dummy_in_its_place_goes_both_ways() -> None:
    after = VMState("dev", (uint8("first"), unused(2), uint8("last")), version_id=1, minimum_version_id=1)
    assert moved(BEFORE, after) == ({"first": 1, "last": 3}, 0)
    assert moved(after, BEFORE) == ({"first": 1, "gone": 0, "last": 3}, 0)


def optional(old: bool) -> VMState:
    """The field is there for old machine types, as a property of the device would say."""
    return VMState(
        "dev",
        (uint8("first"), uint16("gone", test=lambda _s, _v: old), uint8("last")),
        version_id=1,
        minimum_version_id=1,
    )


def test_a_field_that_a_property_leaves_out_goes_where_the_property_agrees() -> None:
    assert moved(optional(old=True), BEFORE) == (STATE, 0)
    assert moved(BEFORE, optional(old=True)) == (STATE, 0)
    assert moved(optional(old=False), optional(old=False)) == ({"first": 1, "last": 3}, 0)


def test_conditions_that_disagree_load_bytes_into_the_wrong_fields() -> None:
    """A stream has no names of fields: nothing tells it but the end of the section."""
    arrived, left = moved(optional(old=True), optional(old=False), {"first": 1, "gone": 0x0709, "last": 3})
    assert (arrived, left) == ({"first": 1, "last": 7}, 2)


def test_a_sender_that_fills_what_it_no_longer_uses_is_understood() -> None:
    """The old side takes the value that the new one made for it."""
    after = VMState("dev", BEFORE.fields, 1, 1, pre_save=lambda state: state.update(gone=77))
    assert moved(after, BEFORE, {"first": 1, "last": 3})[0] == {"first": 1, "gone": 77, "last": 3}


def _save(writing: Writing, state: dict[str, int]) -> None:
    for name, size in (("first", 1), ("gone", 2), ("last", 1)):
        writing.number(state[name], size)


def _load(reading: Reading, state: dict[str, int], _version: int) -> None:
    for name, size in (("first", 1), ("gone", 2), ("last", 1)):
        state[name] = reading.number(size)


LEGACY = LegacyHandlers("dev", 1, _save, _load)


@pytest.mark.parametrize(("source", "destination"), [(LEGACY, BEFORE), (BEFORE, LEGACY)])
def test_a_description_replaces_two_functions_of_the_same_bytes(source: Any, destination: Any) -> None:
    assert moved(source, destination) == (STATE, 0)


def test_what_is_saved_has_the_newest_version_whatever_was_loaded() -> None:
    vmsd = VMState("dev", (uint8("a"), uint32("b", version=2)), version_id=2, minimum_version_id=1)
    state: dict[str, int] = {"a": 0, "b": 5}
    entry = Registry().register(vmsd, state)
    entry.load(BytesSource(b"\7"), 1)
    assert (entry.version_id, entry.save()[0]) == (2, b"\7\0\0\0\5")


def defaulted(which: Callable[[str], None]) -> VMState:
    """A device whose hooks note whether the subsection came, and fall back on 100 when it did not."""

    def before(state: dict[str, int]) -> None:
        which("pre_load")
        state["limit"] = -1

    def after(state: dict[str, int], _version: int) -> None:
        which("post_load")
        if state["limit"] == -1:
            state["limit"] = 100

    more = VMState("dev/limit", (uint8("limit"),), needed=lambda state: state["limit"] != 100)
    return VMState("dev", (uint8("a"),), pre_load=before, post_load=after, subsections=(more,))


@pytest.mark.parametrize(("limit", "sent"), [(100, 0), (7, 1)])
def test_the_outer_hooks_find_out_whether_a_subsection_came(limit: int, sent: int) -> None:
    calls: list[str] = []
    vmsd = defaulted(calls.append)
    source = Registry().register(vmsd, {"a": 1, "limit": limit})
    data, _ = source.save()
    assert data.count(b"dev/limit") == sent
    arrived: dict[str, int] = {}
    Registry().register(vmsd, arrived).load(BytesSource(data), 0)
    assert arrived == {"a": 1, "limit": limit}
    assert calls == ["pre_load", "post_load"]
