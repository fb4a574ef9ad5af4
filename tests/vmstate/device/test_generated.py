# SPDX-License-Identifier: Apache-2.0
"""Properties over generated descriptions and states: what is saved loads, is described exactly, and fails cleanly."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from strategies import before, descriptions, states

from migmatrix.vmstate.device.interpret import (
    BytesSource,
    Style,
    load_from,
    load_state,
    save_section,
    save_state,
)
from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.decode import decode
from migmatrix.vmstate.view.vmdesc import parse_vmdesc

if TYPE_CHECKING:
    from migmatrix.vmstate.device.description import VMState

CALM = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=60)


@st.composite
def described(draw: st.DrawFn) -> tuple[VMState, dict[str, Any]]:
    vmsd = draw(descriptions())
    return vmsd, draw(states(vmsd))


def plain(value: Any) -> Any:
    """Without the marks that say which subsections to send."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != "sub"}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


@CALM
@given(described())
def test_what_is_saved_loads_again(case: tuple[VMState, dict[str, Any]]) -> None:
    vmsd, state = case
    loaded = before(vmsd, state)
    load_state(vmsd, loaded, save_state(vmsd, state).data)
    assert plain(loaded) == plain(state), (loaded, state)


@CALM
@given(described(), st.sampled_from(list(Style)), st.integers(0, 1 << 40))
def test_the_style_of_the_description_changes_no_byte(
    case: tuple[VMState, dict[str, Any]], style: Style, base: int
) -> None:
    vmsd, state = case
    assert save_state(vmsd, state, style=style, base=base).data == save_state(vmsd, state).data


@CALM
@given(described(), st.sampled_from(list(Style)))
def test_the_vm_description_accounts_for_every_byte(
    case: tuple[VMState, dict[str, Any]], style: Style
) -> None:
    vmsd, state = case
    data, desc = save_section(vmsd, state, "dev", 0, style=style)
    parsed = parse_vmdesc(json.dumps({"page_size": 4096, "devices": [desc]}).encode())
    assert decode(parsed.devices[0], data).size == len(data)


@CALM
@given(described(), st.data())
def test_a_cut_load_fails_cleanly_or_is_a_whole_shorter_one(
    case: tuple[VMState, dict[str, Any]], data: st.DataObject
) -> None:
    """A cut subsection is no subsection to a loader, in QEMU too; any other cut is an error."""
    vmsd, state = case
    wire = save_state(vmsd, state).data
    cut = data.draw(st.integers(0, max(0, len(wire) - 1)))
    source = BytesSource(wire[:cut])
    try:
        load_from(source, vmsd, before(vmsd, state))
    except StreamError as error:
        offset = error.offset
    else:
        offset = 0 if not wire or b"/sub" in wire else -1
    assert 0 <= offset <= cut


@CALM
@given(descriptions(), st.binary(max_size=80), st.integers(0, 4))
def test_any_bytes_give_a_state_or_a_stream_error(vmsd: VMState, wire: bytes, version: int) -> None:
    try:
        load_state(vmsd, {}, wire, version)
    except StreamError:
        return


@CALM
@given(described())
def test_loading_needs_what_saving_checked(case: tuple[VMState, dict[str, Any]]) -> None:
    """A saved state can be saved again after a load: nothing was lost that saving needs."""
    vmsd, state = case
    loaded = before(vmsd, state)
    data = save_state(vmsd, state).data
    load_state(vmsd, loaded, data)
    again = save_state(vmsd, _marked(loaded, state)).data
    assert again == data


def _marked(loaded: Any, state: Any) -> Any:
    """`loaded` with the marks of `state` put back: they are no part of the stream."""
    if isinstance(loaded, dict) and isinstance(state, dict):
        marks = {"sub": state["sub"]} if "sub" in state else {}
        return {key: _marked(value, state.get(key)) for key, value in loaded.items()} | marks
    if isinstance(loaded, list | tuple) and isinstance(state, list | tuple):
        return type(loaded)(_marked(one, other) for one, other in zip(loaded, state, strict=True))
    return loaded


KINDS = ["struct", "vstruct", "qtailq", "qlist", "gtree", "bitmap", "timer", "uint32 equal", "int32 le"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_strategies_make_all_kinds_of_fields(kind: str) -> None:
    quick = settings(CALM, phases=[Phase.generate], max_examples=2000)
    find(descriptions(), lambda vmsd: any(field.type_name == kind for field in vmsd.fields), settings=quick)
