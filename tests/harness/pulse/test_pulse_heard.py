# SPDX-License-Identifier: Apache-2.0
"""What `pulse` says: lines with sums, cut anywhere; which registers changed; and where it cannot run."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migmatrix.harness.model import Guest
from migmatrix.harness.pulse.changes import Register, allowed, registers
from migmatrix.harness.pulse.heard import Change, Heard, changes_of, records_of, sum_of
from migmatrix.harness.pulse.program import cannot_run, program_arguments, program_digest

PULSE = Guest("pulse", "pulse", 0.1)


def line(words: str) -> bytes:
    return f"@{words} #{sum_of(words.encode()):08x}\n".encode()


TALK = (
    line("pulse 1"),
    line("beat 1 0"),
    line("round 0"),
    line("is cpuid 0/1.0 00010203"),
    line("is cmos ram -"),
    line("done 0 2"),
    line("beat 2 3"),
    line("round 1"),
    line("was cmos ram - 01"),
    line("done 1 2"),
)


def test_the_sum_is_fnv_1a() -> None:
    assert sum_of(b"") == 0x811C9DC5
    assert sum_of(b"foobar") == 0xBF9CF968  # of its authors' own list


@given(st.lists(st.integers(0, len(b"".join(TALK))), max_size=9))
def test_it_does_not_matter_how_the_output_comes(cuts: list[int]) -> None:
    data = b"".join(TALK)
    heard = Heard()
    places = [0, *sorted(cuts), len(data)]
    for first, last in pairwise(places):
        heard.feed(data[first:last])
    assert (heard.starts, heard.beats, heard.last_beat, heard.rounds, heard.damaged) == (1, 2, 2, 2, 0)
    assert records_of(heard.facts()) == {("cpuid", "0/1.0"): bytes(range(4)), ("cmos", "ram"): b""}
    assert heard.facts()["said"] == [["was", "cmos", "ram", "-", "01"]]


@given(st.integers(0, len(b"".join(TALK))))
def test_a_hop_anywhere_damages_nothing_and_counts_no_round_twice(cut: int) -> None:
    data = b"".join(TALK)
    source, destination = Heard(), Heard()
    source.feed(data[:cut])
    destination.feed(data[cut:])
    assert source.damaged == destination.damaged == 0
    assert source.rounds + destination.rounds <= 2


@given(st.binary(max_size=400))
def test_hostile_output_is_counted_and_no_more(data: bytes) -> None:
    heard = Heard()
    heard.feed(data)
    heard.feed(b"\n" + line("beat 7 1"))
    assert heard.last_beat == 7


def test_a_line_with_another_sum_is_damaged() -> None:
    heard = Heard()
    heard.feed(b"".join(TALK[:2]) + line("beat 3 3").replace(b"3 3", b"4 3"))
    assert (heard.beats, heard.damaged) == (1, 1)


def test_a_change_and_its_way_back_is_none() -> None:
    there, back = ["was", "pci", "00:02.0", "00", "01"], ["was", "pci", "00:02.0", "01", "00"]
    assert changes_of([there, back]) == []
    assert changes_of([there]) == [Change("pci", "00:02.0", b"\0", b"\1")]
    assert changes_of([["gone", "pci", "00:02.0", "86"]]) == [Change("pci", "00:02.0", b"\x86", b"")]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            Change("cpuid", "0/1.0", bytes(16), bytes(5) + b"\2" + bytes(10)),
            [Register("cpuid 0/1.0", "ebx", "00000000", "00020000")],
        ),
        (
            Change("pci", "00:02.0", bytes(256), bytes(0x41) + b"\1\2" + bytes(8) + b"\3" + bytes(180)),
            [
                Register("pci 00:02.0", "0x41", "0000", "0102"),
                Register("pci 00:02.0", "0x4b", "00", "03"),
            ],
        ),
        (Change("pci", "00:02.0", bytes(256), bytes(6) + b"\1" + bytes(249)), []),  # its status
        (Change("cmos", "clock", b"\1", b"\2"), []),
        (Change("msr", "0/3a", bytes(8), b"\1" + bytes(7)), [Register("msr 0/3a", "", "00" * 8, "01" + "00" * 7)]),
        (Change("fw_cfg", "etc/e820", b"\1\2", b"\1\3"), [Register("fw_cfg etc/e820", "", "0102", "0103")]),
        (Change("fw_cfg", "genroms/kvmvapic.bin", b"\1", b"\2"), []),
        (Change("pci", "00:02.0", b"\1", b""), [Register("pci 00:02.0", "", "01", "")]),
    ],
)  # fmt: skip
def test_registers(change: Change, found: list[Register]) -> None:
    assert registers([change]) == found


def test_registers_are_told_in_an_order_that_the_moment_does_not_change() -> None:
    changes = [
        Change("fw_cfg", "etc/e820", b"\1", b"\2"),
        Change("smram", "30000", b"\1", b"\2"),
        Change("pci", "00:00.0", b"\1", b"\2"),
    ]
    told = [register.device for register in registers(changes)]
    assert told == [register.device for register in registers(changes[::-1])]
    assert told == ["pci 00:00.0", "smram 30000", "fw_cfg etc/e820"]


def test_every_exception_has_a_reason() -> None:
    assert allowed()
    assert all(entry.reason and entry.first <= entry.last for entry in allowed())


@pytest.mark.parametrize(
    ("machine", "arguments", "why"),
    [
        ("pc-q35-7.2", ("-kernel", "/x", "-boot", "menu=on"), ""),
        ("pc", ("-device", "virtio-blk,bootindex=1"), ""),
        ("pc", ("-device", "isa-debugcon,chardev=c0,iobase=0x402"), ""),
        ("pc", ("-device", '{"driver": "isa-debugcon", "iobase": "0x402"}'), ""),
        (
            "pc",
            ("-device", "isa-debugcon,chardev=c0"),
            "pulse talks to the debug port 0xe9, which is that of 'isa-debugcon,chardev=c0'",
        ),
        ("pc", ("-debugcon", "null"), "pulse talks to the debug port 0xe9, which is that of '-debugcon'"),
        ("microvm", (), "pulse is a program for the boards pc and q35"),
        ("virt", (), "pulse is a program for the boards pc and q35"),
        ("q35", ("-bios", "x"), "pulse is started by the board's own firmware, and '-bios' brings another"),
        (
            "q35",
            ("-drive", "if=pflash,file=x"),
            "pulse is started by the board's own firmware, and 'if=pflash,file=x' brings another",
        ),
    ],
)
def test_where_it_cannot_run(machine: str, arguments: tuple[str, ...], why: str) -> None:
    assert cannot_run(PULSE, machine, arguments) == why
    assert cannot_run(Guest("firmware", "firmware"), machine, arguments) == ""


def test_the_tasks_are_told_in_one_file() -> None:
    told = program_arguments("/c", "/j/".__add__, ("drivers", "lock-smram"))
    assert "name=opt/migmatrix/tasks,string=drivers lock-smram" in told
    assert "tasks" not in " ".join(program_arguments("/c", "/j/".__add__, ()))
    assert len(program_digest()) == 64
