# SPDX-License-Identifier: Apache-2.0
"""Any bytes, for a description made of the first of them, give a state or `StreamError`; what loads saves again.

Run: ``python tests/fuzz/fuzz_description.py [-runs=N] [-max_total_time=S] [CORPUS]`` (libFuzzer's options).
"""

from __future__ import annotations

import sys
from typing import Any

import atheris

with atheris.instrument_imports(include=["migmatrix.vmstate"]):
    from migmatrix.vmstate.device import fields as f
    from migmatrix.vmstate.device.description import Field, Pointers, VMState
    from migmatrix.vmstate.device.interpret import BytesSource, Kind, VMStateError, load_from, save_state
    from migmatrix.vmstate.errors import StreamError

_PAIR = VMState("d", (f.uint8("a"), f.uint16("b")), subsections=(VMState("d/s", (f.uint32("c"),)),))
_MAKERS: list[Any] = [
    f.uint8,
    f.int32,
    lambda n: f.uint64(n, count=2),
    f.boolean,
    f.timer,
    lambda n: f.uint8(n, count="n", multiply=2),
    lambda n: f.uint32(n, count="n"),
    lambda n: f.buffer(n, "n"),
    lambda n: f.bitmap(n, "n"),
    lambda _n: f.unused(2, count="n"),
    lambda n: f.struct(n, _PAIR),
    lambda n: f.struct(n, _PAIR, count="n"),
    lambda n: f.struct(n, VMState("empty"), count="n"),
    lambda n: f.struct(n, _PAIR, count=3, pointers=Pointers.AUTO),
    lambda n: f.qtailq(n, _PAIR),
    lambda n: f.qlist(n, VMState("empty")),
    lambda n: f.gtree(n, _PAIR),
    lambda n: f.gtree(n, _PAIR, _PAIR),
    lambda n: f.uint8(n, version=2),
    lambda n: f.uint16(n, test=lambda state, _version: state["n"] > 1),
]


def description(data: atheris.FuzzedDataProvider) -> VMState:
    """Up to six fields after a count that the stream tells."""
    picked = [data.ConsumeIntInRange(0, len(_MAKERS) - 1) for _ in range(data.ConsumeIntInRange(0, 6))]
    fields: list[Field] = [f.uint32("n"), *(_MAKERS[pick](f"v{at}") for at, pick in enumerate(picked))]
    subs = (VMState("d/x", (f.uint8("x"),), needed=lambda state: "x" in state),)
    return VMState("d", tuple(fields), data.ConsumeIntInRange(0, 3), 0, subs)


def one(raw: bytes) -> None:
    """The invariant above."""
    data = atheris.FuzzedDataProvider(raw)
    vmsd = description(data)
    state: dict[str, Any] = {}
    try:
        load_from(BytesSource(data.ConsumeBytes(sys.maxsize)), vmsd, state, data.ConsumeIntInRange(0, 4))
    except StreamError:
        return
    try:
        save_state(vmsd, state)
    except VMStateError as error:
        if error.kind is not Kind.STATE:  # an older version left out what this one sends
            raise


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
