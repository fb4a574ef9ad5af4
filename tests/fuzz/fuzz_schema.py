# SPDX-License-Identifier: Apache-2.0
"""Any text gives a schema or `StreamError`; any two schemas can be compared, and one with itself breaks nothing.

Run: ``python tests/fuzz/fuzz_schema.py [-runs=N] [-max_total_time=S] [CORPUS]`` (libFuzzer's options).
"""

from __future__ import annotations

import json
import sys
from typing import Any

import atheris

with atheris.instrument_imports(include=["migmatrix.vmstate"]):
    from migmatrix.vmstate.check.schema import load_schema
    from migmatrix.vmstate.check.static_check import Certainty, FindingKind, static_check
    from migmatrix.vmstate.errors import StreamError

_KEYS = ["name", "Name", "field", "version_id", "minimum_version_id", "field_exists", "size", "num"]
_KEYS += ["Fields", "Subsections", "Description"]


def value(data: atheris.FuzzedDataProvider, depth: int) -> Any:
    """Something that looks like a dump, with mistakes."""
    kind = data.ConsumeIntInRange(0, 9)
    if kind < 2 or not depth:
        return data.ConsumeIntInRange(-2, 300)
    if kind < 4:
        return "abcdefgh/"[data.ConsumeIntInRange(0, 8) :]
    if kind == 4:
        return data.ConsumeBool()
    if kind == 5:
        return [value(data, depth - 1) for _ in range(data.ConsumeIntInRange(0, 3))]
    return description(data, depth)


def description(data: atheris.FuzzedDataProvider, depth: int) -> dict[str, Any]:
    """Mostly right, so that the comparison is reached."""
    made: dict[str, Any] = {
        "name": "abcd"[data.ConsumeIntInRange(0, 3) :],
        "version_id": 1,
        "minimum_version_id": 0,
    }
    made["Fields"] = [field(data, depth - 1) for _ in range(data.ConsumeIntInRange(0, 4))]
    if depth and data.ConsumeBool():
        made["Subsections"] = [description(data, depth - 1)]
    if data.ConsumeProbability() < 0.1:
        made[_KEYS[data.ConsumeIntInRange(0, len(_KEYS) - 1)]] = value(data, 1)
    return made


def field(data: atheris.FuzzedDataProvider, depth: int) -> dict[str, Any]:
    """A field, perhaps a struct."""
    made: dict[str, Any] = {
        "field": "wxyz"[data.ConsumeIntInRange(0, 3) :],
        "version_id": data.ConsumeIntInRange(0, 2),
    }
    made |= {"field_exists": data.ConsumeBool(), "size": data.ConsumeIntInRange(0, 8)}
    if data.ConsumeBool():
        made["num"] = data.ConsumeIntInRange(0, 4)
    if depth > 0 and data.ConsumeBool():
        made["Description"] = description(data, depth - 1)
    return made


def schema_text(data: atheris.FuzzedDataProvider) -> str | bytes:
    """Raw bytes, or a dump."""
    if data.ConsumeProbability() < 0.2:
        return bytes(data.ConsumeBytes(100))
    devices: dict[str, Any] = {"vmschkmachine": {"Name": "m"}}
    for name in "ab"[: data.ConsumeIntInRange(0, 2)]:
        devices[name] = {
            "Name": name,
            "version_id": 1,
            "minimum_version_id": 0,
            "Description": description(data, 3),
        }
    return json.dumps(devices)


def one(raw: bytes) -> None:
    """The invariant above."""
    data = atheris.FuzzedDataProvider(raw)
    try:
        first, second = load_schema(schema_text(data)), load_schema(schema_text(data))
    except StreamError:
        return
    static_check(first, second)
    for finding in static_check(first, first):
        if finding.certainty is Certainty.BREAKS and finding.kind is not FindingKind.VERSION:
            raise AssertionError(finding)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
