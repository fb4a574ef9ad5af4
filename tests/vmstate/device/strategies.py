# SPDX-License-Identifier: Apache-2.0
"""Strategies: `descriptions()` of any shape the document names, and `states(description)` that fit one.

A state is a dict. `before(description, state)` is what a destination must have to load it: values that must be
equal, and NULL pointers in the same places. Variable lengths are counted by a field ``n_<name>`` sent before.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from migmatrix.vmstate.device import fields as f
from migmatrix.vmstate.device.description import Field, Pointers, VMState

_RANGES: dict[str, tuple[int, int]] = {
    "int8": (-(1 << 7), (1 << 7) - 1),
    "int16": (-(1 << 15), (1 << 15) - 1),
    "int32": (-(1 << 31), (1 << 31) - 1),
    "int32 equal": (-(1 << 31), (1 << 31) - 1),
    "int32 le": (0, (1 << 31) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
    "int64 equal": (0, (1 << 64) - 1),
    "uint8": (0, (1 << 8) - 1),
    "uint8 equal": (0, (1 << 8) - 1),
    "uint16": (0, (1 << 16) - 1),
    "uint16 equal": (0, (1 << 16) - 1),
    "uint32": (0, (1 << 32) - 1),
    "uint32 equal": (0, (1 << 32) - 1),
    "uint64": (0, (1 << 64) - 1),
    "CPU_Double_U": (0, (1 << 64) - 1),
}
_NUMBERS = [f.int8, f.int16, f.int32, f.int64, f.uint8, f.uint16, f.uint32, f.uint64, f.cpu_double]
_CHECKED = [f.uint8_equal, f.uint16_equal, f.uint32_equal, f.int32_equal, f.uint64_equal, f.int32_le]

Fields = tuple[Field, ...]


# -- descriptions ------------------------------------------------------------------------------


@st.composite
def _numbers(draw: st.DrawFn, name: str, fresh: bool) -> Fields:
    make = draw(st.sampled_from(_NUMBERS))
    form = draw(st.sampled_from(["one", "array", "2d", "varray"] + ["pointers"] * (not fresh)))
    if form == "varray":
        return f.uint8(f"n_{name}"), make(name, count=f"n_{name}", multiply=draw(st.integers(1, 2)))
    if form == "pointers":
        return (make(name, count=draw(st.integers(0, 4)), pointers=Pointers.LOCAL),)
    counts = {"array": draw(st.integers(0, 4)), "2d": (2, draw(st.integers(1, 3)))}
    return (make(name, count=counts[form]),) if form in counts else (make(name),)


@st.composite
def _plain(draw: st.DrawFn, name: str, fresh: bool) -> Fields:
    return draw(
        st.sampled_from(
            [
                (f.boolean(name),) if fresh else (draw(st.sampled_from(_CHECKED))(name),),
                (f.boolean(name, count=2),),
                (f.timer(name),),
                (f.bitmap(name, 100),),
                (f.buffer(name, 3),),
                (f.uint16(f"n_{name}"), f.buffer(name, f"n_{name}", scale=2)),
                (f.unused(3),),
                (f.uint8(name, test=lambda _state, version: version > 1),),
                (f.uint8(name, version=2),),
                (f.validate("always", lambda _state, _version: True),),
            ]
        )
    )


@st.composite
def _nested(draw: st.DrawFn, name: str, depth: int, fresh: bool) -> Fields:
    kind = draw(
        st.sampled_from(
            ["one", "v", "array", "varray", "auto", "qtailq", "qlist", "gtree", "keyed"]
            + ["local"] * (not fresh)
        )
    )
    made = fresh or kind in ("auto", "qtailq", "qlist", "gtree", "keyed")
    vmsd = draw(descriptions(f"{depth}{name}", depth - 1, made))
    version = vmsd.version_id
    return {
        "one": (f.struct(name, vmsd),),
        "v": (f.vstruct(name, vmsd, version),),
        "array": (f.struct(name, vmsd, count=2),),
        "varray": (f.uint8(f"n_{name}"), f.struct(name, vmsd, count=f"n_{name}")),
        "local": (f.struct(name, vmsd, count=3, pointers=Pointers.LOCAL),),
        "auto": (f.struct(name, vmsd, count=3, pointers=Pointers.AUTO),),
        "qtailq": (f.qtailq(name, vmsd, version=version),),
        "qlist": (f.qlist(name, vmsd, version=version),),
        "gtree": (f.gtree(name, vmsd, version=version),),
        "keyed": (f.gtree(name, vmsd, vmsd, version=version),),
    }[kind]


@st.composite
def descriptions(draw: st.DrawFn, name: str = "d", depth: int = 2, fresh: bool = False) -> VMState:
    """A description of up to 4 fields (more with counts), structs `depth` deep, perhaps with a subsection.

    Two things that are ambiguous on the wire, in QEMU too, are not made: a subsection behind elements without
    bytes (whose is it?), and a struct whose name begins the name of an outer subsection (it takes it for its
    own). `fresh`: it is loaded into a new object, so nothing in it may depend on what the destination has.
    """
    version = draw(st.integers(0, 3))
    fields: list[Field] = []
    for each in draw(st.lists(st.text("abcde", min_size=1, max_size=3), unique=True, max_size=4)):
        kinds = [_numbers(each, fresh), _plain(each, fresh)] + (
            [_nested(each, depth, fresh)] if depth else []
        )
        fields += (_at(field, version) for field in draw(st.one_of(kinds)))
    subs: tuple[VMState, ...] = ()
    if depth and draw(st.booleans()):
        subs = (_subsection(draw(descriptions(f"{name}/sub", 0, fresh))),)
        fields.insert(0, f.uint8("first"))
    return VMState(name, tuple(fields), version, draw(st.integers(0, version)), subs)


def _at(field: Field, version: int) -> Field:
    """A queue is loaded at its field's version, so the field exists from that version on only."""
    from migmatrix.vmstate.record import replace

    if field.info is None or field.vmsd is None or field.version <= version:
        return field
    return replace(field, test=lambda _state, _version: True)


def _subsection(vmsd: VMState) -> VMState:
    """Its fields live under names of their own, in the same state; sent when the state says so."""
    from migmatrix.vmstate.record import replace

    fields = tuple(
        replace(field, attr=_own(field.attr), count=_own(field.count), size=_own(field.size))
        for field in vmsd.fields
    )
    return replace(vmsd, fields=fields, needed=lambda state: bool(state.get("sub")))


def _own(name: Any) -> Any:
    return f"sub_{name}" if isinstance(name, str) and name else name


# -- states ------------------------------------------------------------------------------------


@st.composite
def states(draw: st.DrawFn, vmsd: VMState) -> dict[str, Any]:
    """A state that `vmsd` can save, with just what it saves."""
    state: dict[str, Any] = {}
    counts = {field.count for field in vmsd.fields} | {field.size for field in vmsd.fields}
    for field in vmsd.fields:
        if field.attr in counts:
            state[field.attr] = draw(st.integers(0, 3))
        elif field.attr and _sent(field, vmsd.version_id):
            state[field.attr] = draw(_values(field, state))
    for sub in vmsd.subsections:
        if draw(st.booleans()):
            state |= {**draw(states(sub)), "sub": True}
    return state


def _sent(field: Field, version: int) -> bool:
    return field.test(None, version) if field.test else field.version <= version


def _values(field: Field, state: dict[str, Any]) -> st.SearchStrategy[Any]:
    if field.count is None:
        return _elements(field, state)
    count = (state[field.count] if isinstance(field.count, str) else field.count) * field.multiply
    one = _elements(field, state)
    if len(field.shape) == 2:
        row = st.lists(one, min_size=field.shape[1], max_size=field.shape[1])
        return st.lists(row, min_size=field.shape[0], max_size=field.shape[0])
    return st.lists(st.none() | one if field.pointers else one, min_size=count, max_size=count)


def _elements(field: Field, state: dict[str, Any]) -> st.SearchStrategy[Any]:
    name = field.type_name
    if name in _RANGES:
        return st.integers(*_RANGES[name])
    if field.vmsd is None:
        size = (state[field.size] if isinstance(field.size, str) else field.size) * field.scale
        return {
            "bool": st.booleans(),
            "timer": st.none() | st.integers(0, (1 << 64) - 2),
            "bitmap": st.integers(0, (1 << 128) - 1),
            "buffer": st.binary(min_size=size, max_size=size),
        }[name]
    one = states(field.vmsd)
    if name in ("qtailq", "qlist"):
        return st.lists(one, max_size=3)
    if name == "gtree" and field.key is not None:
        return st.lists(st.tuples(states(field.key), one), max_size=3)
    return st.dictionaries(st.integers(0, (1 << 64) - 1), one, max_size=3) if name == "gtree" else one


# -- destinations ------------------------------------------------------------------------------


def before(vmsd: VMState, state: dict[str, Any]) -> dict[str, Any]:
    """The least that a destination must have for `state` to load."""
    found: dict[str, Any] = {}
    for field in vmsd.fields:
        if field.attr in state and (field.vmsd or field.pointers or field.type_name not in _FREE):
            found[field.attr] = _blank(field, state[field.attr])
    for sub in vmsd.subsections:
        found |= before(sub, state)
    return found


_FREE = {"bool", "timer", "bitmap", "buffer", "unused_buffer"} | {
    name for name in _RANGES if not name.endswith((" equal", " le"))
}


def _blank(field: Field, value: Any) -> Any:
    if field.pointers == "auto" or field.type_name in ("qtailq", "qlist", "gtree"):
        return {} if isinstance(value, dict) else []
    if isinstance(value, list):
        return [None if item is None else _blank(field, item) for item in value]
    return before(field.vmsd, value) if field.vmsd is not None else value
