# SPDX-License-Identifier: Apache-2.0
"""Lines of `stream show`: long migrations are folded, negative numbers have the bytes of the wire."""

from __future__ import annotations

from typing import Any

from migmatrix.harness.streams.text import rendered


def lines(*sections: dict[str, Any], most: int | None = 200) -> list[str]:
    return list(rendered({"sections": list(sections), "commands": []}, True, most))


def part(offset: int, name: str = "ram", **more: Any) -> dict[str, Any]:
    entry = {"offset": offset, "kind": "part", "name": name, "instance": 0, "version": 4}
    return {**entry, "size": 100, "footer": True, **more}


START = part(0, kind="start")
END = part(900, kind="end")


def test_many_parts_are_one_line_for_each_section() -> None:
    parts = [part(at, "ram" if at % 20 else "block") for at in range(10, 100, 10)]
    assert lines(START, *parts, END) == [
        "0x00000000  start  ram#0 v4  100 bytes",
        "0x0000000a  part   ram#0 v4  5 parts, 500 bytes, the last at 0x5a (--full)",
        "0x00000014  part   block#0 v4  4 parts, 400 bytes, the last at 0x50 (--full)",
        "0x00000384  end    ram#0 v4  100 bytes",
    ]
    assert len(lines(START, *parts, END, most=None)) == 11


def test_a_few_parts_and_those_with_fields_are_lines_of_their_own() -> None:
    few = [part(at) for at in (10, 20, 30)]
    assert len(lines(START, *few, END)) == 5
    assert len(lines(START, *(part(at, fields=[]) for at in range(10, 90, 10)), END)) == 10


def test_a_negative_number_has_the_bytes_of_its_field() -> None:
    fields = [
        {"offset": 1, "path": "n", "type": "int32", "size": 4, "value": -1},
        {"offset": 5, "path": "m", "type": "int8", "size": 1, "value": 5},
    ]
    assert lines(part(0, kind="full", fields=fields))[1:] == [
        "    0x00000001  n = -1 (0xffffffff)  (int32)",
        "    0x00000005  m = 5 (0x5)  (int8)",
    ]


def test_registers_of_a_cpu_have_their_names() -> None:
    fields = [
        {
            "offset": 1,
            "path": "env.regs",
            "type": "uint64",
            "size": 128,
            "value": [16, 5],
            "registers": ["rax", "rcx"],
        },
        {"offset": 9, "path": "env.segs[1].base", "type": "uint32", "size": 4, "value": 0, "register": "cs"},
    ]
    assert lines(part(0, kind="full", fields=fields), most=10)[1:] == [
        "    0x00000001  env.regs = [rax=0x10 rcx=0x5]  (uint64)",
        "    0x00000009  env.segs[1].base (cs) = 0 (0x0)  (uint32)",
    ]
