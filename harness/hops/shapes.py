# SPDX-License-Identifier: Apache-2.0
"""What a hostile emulator may not say over QMP: the one check of messages as they come in, and of answers by command.

1. `message` makes a message of bytes, or raises `ProtocolError`: an object, not too deep, with an id and an event of
   the right types. Its texts are of bounded length and hold no lone surrogates, its numbers are small enough for every format.
2. `misfit` says where an answer differs from what its command returns; what the harness does not look at is free.

The shapes are those of QEMU's QAPI schema (`query-qmp-schema`), as far as the harness reads them.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

from qemu.qmp import Message
from qemu.qmp.error import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["message", "misfit"]

_DEEPEST: Final = 64  # QEMU's own schema needs a dozen
_LARGEST: Final = 1 << 64
_LONGEST: Final = 64 << 10  # as of standard error: evidence keeps it, patterns go through it
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NAMES: Final = {bool: "a truth value", str: "a text", int: "a number", dict: "an object", list: "a list"}

# By command: a type, an object by its members ("?" ends the name of one that may be absent), or a list of such.
_TYPED: Final = [{"name": str, "type": str}]
_SHAPES: Final[Mapping[str, Any]] = {
    "query-status": {"running": bool, "status": str},
    "query-migrate": {"error-desc?": str, "status?": str, "socket-address?": [{"port?": str}]},
    "qom-list": _TYPED,
    "qom-list-properties": _TYPED,
    "device-list-properties": _TYPED,
    "qom-list-types": [{"name": str, "parent?": str, "abstract?": bool}],
    "query-machines": [{"name": str, "compat-props?": [{"qom-type": str, "property": str, "value": str}]}],
    "query-cpu-model-expansion": {"model": {"props": dict}},
}
_EVENTS: Final[Mapping[str, Any]] = {
    "MIGRATION": {"data": {"status": str}},
    "MIGRATION_PASS": {"data": {"pass": int}},
}


def message(data: bytes) -> Message:
    """The message that `data` holds, its values harmless; ProtocolError for what is none."""
    try:
        value = _harmless(json.loads(data), 0)
    except (ValueError, RecursionError) as err:
        raise ProtocolError(f"no JSON: {type(err).__name__}") from err
    if not isinstance(value, dict):
        raise ProtocolError(f"{_named(value)}, where an object is due")
    event = value.get("event")
    wrong = _misfit(value, {"event?": str, "id?": str, "data?": dict}, "message")
    if wrong := wrong or _misfit(value, _EVENTS.get(str(event), {}), "event"):
        raise ProtocolError(wrong)
    return Message(value, eager=False)


def _harmless(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError("nested too deep")
    match value:
        case str():
            return _shortened(value if value.isascii() else _SURROGATE.sub("\ufffd", value))
        case dict():
            return {_harmless(k, depth): _harmless(v, depth + 1) for k, v in value.items()}
        case list():
            return [_harmless(item, depth + 1) for item in value]
        case float() if not math.isfinite(value):
            return str(value)
        case int() if abs(value) >= _LARGEST:
            return f"a number of {value.bit_length()} bits"
    return value


def _shortened(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]}[... {len(text) - 2 * half} characters left out ...]{text[-half:]}"


def misfit(command: str, value: Any) -> str:
    """Where `value` is not what `command` returns, in words; empty when it fits."""
    return _misfit(value, _SHAPES.get(command, object), command)


def _misfit(value: Any, shape: Any, where: str) -> str:
    kind: Any = shape if isinstance(shape, type) else type(shape)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        return f"{where}: {_named(value)}, where {_NAMES[kind]} is due"
    if isinstance(shape, list):
        found = (_misfit(item, shape[0], f"{where}[{n}]") for n, item in enumerate(value))
        return next(filter(None, found), "")
    if isinstance(shape, dict):
        found = (_member(value, name, wanted, where) for name, wanted in shape.items())
        return next(filter(None, found), "")
    return ""


def _member(value: Mapping[str, Any], name: str, shape: Any, where: str) -> str:
    name, optional = name.removesuffix("?"), name.endswith("?")
    if name not in value:
        return "" if optional else f"{where}: no {name!r}"
    return _misfit(value[name], shape, f"{where}.{name}")


def _named(value: Any) -> str:
    return "null" if value is None else _NAMES.get(type(value), "a number")
