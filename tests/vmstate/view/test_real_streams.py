# SPDX-License-Identifier: Apache-2.0
"""Whole real streams: everything is read, accounted for, written back the same, and decoded."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from stream_checks import Counts, check_flips

from migmatrix.vmstate.view.accounting import account
from migmatrix.vmstate.view.compare import diff, lookup, values
from migmatrix.vmstate.view.decode import Node, decode, leaves
from migmatrix.vmstate.view.digest import digest
from migmatrix.vmstate.view.stream import Stream, page_runs, read_stream
from migmatrix.vmstate.view.vmdesc import find_vmdesc
from migmatrix.vmstate.view.volatile import mask

Load = Callable[[str], bytes]


def problems(node: Node) -> list[str]:
    return [node.problem, *(p for child in node.children for p in problems(child))]


def test_every_byte_is_accounted_for_and_written_back(main_stream: bytes) -> None:
    stream = read_stream(main_stream)
    found = account(stream, main_stream)
    assert found.complete, found.problems
    assert sum(found.by_kind.values()) == len(main_stream)
    assert stream.encode() == main_stream


def test_every_section_is_decoded(main_stream: bytes) -> None:
    stream = read_stream(main_stream)
    assert stream.vmdesc is not None
    payloads = [s for s in stream.sections if s.payload]
    assert len(payloads) == len(stream.vmdesc.devices)
    for section in payloads:
        device = stream.vmdesc.find(*section.key)
        assert device is not None
        assert section.payload is not None
        node = decode(device, section.payload.raw)
        assert not any(problems(node))


def test_known_values_of_a_real_stream(stream_bytes: Load) -> None:
    stream = read_stream(stream_bytes("q35-7.2.22"))
    assert stream.machine == "pc-q35-5.2"
    assert stream.ram.blocks["pc.ram"].used_length == 1 << 20
    found = values(stream)
    serial = found["serial", 0, 0]
    assert serial["state.divider"].value == 12
    assert found["timer", 0, 0]["cpu_clock_offset"].value == 0
    port = next(v for k, v in found.items() if k[0].endswith("/pcie-root-port"))
    mask_register = next(p for p in port if p.endswith("AER capability (0x100) Uncorrectable Error Mask"))
    assert port[mask_register].kind == "register"


def test_a_name_that_stands_twice_hides_no_value(main_stream: bytes) -> None:
    """i8254 sends channels[0].next_transition_time by itself and again with the array of channels."""
    stream = read_stream(main_stream)
    assert stream.vmdesc is not None
    for key, found in values(stream).items():
        section = next(s for s in stream.sections if s.key == key[:2])
        device = stream.vmdesc.find(*key)
        assert device is not None
        assert section.payload is not None
        sent = {leaf.offset for _, leaf in leaves(decode(device, section.payload.raw)) if leaf.size}
        starts = {leaf.offset for leaf in found.values()}
        assert not sent - starts, key


def test_arrays_have_the_same_names_in_all_versions(stream_bytes: Load) -> None:
    versions = ("5.2.0", "7.2.22", "10.0.13", "11.1.3")
    names = []
    for version in versions:
        found = values(read_stream(stream_bytes(f"q35-{version}")))
        ahci = next(v for k, v in found.items() if k[0].endswith("/ich9_ahci"))
        names.append({p for p in ahci if p.startswith("ahci.dev[")})
    assert names[0]
    assert names[0] == names[1] == names[2] == names[3]


def test_two_saves_of_the_same_paused_guest_are_equal_but_for_the_clock(stream_bytes: Load) -> None:
    a, b = (read_stream(stream_bytes(n)) for n in ("q35-7.2.22", "q35-7.2.22-again"))
    changes = diff(a, b)
    assert changes  # the two were saved at different times
    assert all(c.volatile and c.section == "mc146818rtc#0" for c in changes)
    assert digest(a) == digest(b)


def test_digest_changes_with_each_lasting_value(stream_bytes: Load) -> None:
    data = stream_bytes("q35-7.2.22")
    stream = read_stream(data)
    before, tried, every = digest(stream), 0, values(stream)
    for section in stream.sections:
        if section.payload is None:
            continue
        found = every[*section.key, 0]
        for path, leaf in list(found.items())[:2]:
            lasting = not mask(section.key[0], path, leaf.value, lookup(found))[1]
            if leaf.offset < 0 or leaf.kind == "subsection" or not lasting:
                continue
            changed = bytearray(data)
            changed[section.payload.offset + leaf.offset] ^= 1
            assert digest(read_stream(bytes(changed))) != before, (section.key, path)
            tried += 1
    assert tried > 20


def test_diff_names_register_field_and_memory(stream_bytes: Load) -> None:
    data = bytearray(stream_bytes("q35-7.2.22"))
    stream = read_stream(bytes(data))
    port = next(s for s in stream.sections if s.key[0].endswith("/pcie-root-port"))
    found = values(stream)[*port.key, 0]
    path, leaf = next((p, v) for p, v in found.items() if "Uncorrectable Error Mask" in p)
    assert port.payload is not None
    data[port.payload.offset + leaf.offset + 2] ^= 0x40
    bios = data.index(b"\xf4" * 16)  # the start of the firmware image
    data[bios] = 0
    changes = diff(stream, read_stream(bytes(data)))
    assert [(c.kind, c.section) for c in changes] == [
        ("register", f"{port.key[0]}#0"),
        ("ram-content", "ram"),
    ]
    assert changes[0].path == path
    assert int(changes[0].a, 16) ^ int(changes[0].b, 16) == 0x400000


@pytest.mark.parametrize("pair", [("5.2.0", "7.2.22"), ("10.0.13", "11.1.3")])
def test_diff_of_two_versions_tells_layout_from_names(stream_bytes: Load, pair: tuple[str, str]) -> None:
    a, b = (read_stream(stream_bytes(f"q35-{v}")) for v in pair)
    changes = diff(a, b, ram=False)
    reverse = diff(b, a, ram=False)
    assert {(c.kind, c.section, c.path) for c in changes} == {(c.kind, c.section, c.path) for c in reverse}
    if pair == ("10.0.13", "11.1.3"):
        subsections = [c for c in changes if c.kind == "subsection"]
        assert [c.path for c in subsections] == ["pm/ich9_pm/cpuhp"]
        assert subsections[0].a == ""


def test_without_description_a_device_is_undelimited_and_not_guessed(stream_bytes: Load) -> None:
    data = stream_bytes("q35-7.2.22")
    place = find_vmdesc(memoryview(data))
    assert place is not None
    stream = read_stream(data[: place[0]])
    assert stream.undelimited is not None
    first = stream.undelimited.section.idstr
    assert first == "0000:00:01.0/pcie-root-port"
    assert stream.encode() == data[: place[0]]
    found = account(stream, data[: place[0]])
    assert not found.complete
    assert f"nothing tells the length of the payload of {first}#0" in found.problems[0]


def test_trailing_bytes_are_reported(stream_bytes: Load) -> None:
    data = stream_bytes("none-7.2.22")
    place = find_vmdesc(memoryview(data))
    assert place is not None
    whole = read_stream(data)
    assert whole.vmdesc is not None
    stream = read_stream(data + b"junk", delimiter=whole.vmdesc.delimiter())
    assert stream.trailing == b"junk"
    assert account(stream, data + b"junk").problems == (f"offset {len(data):#x}: 4 bytes after the end",)


def test_every_prefix_fails_cleanly(stream_bytes: Load) -> None:
    data = stream_bytes("none-5.2.0")
    whole = read_stream(data)
    assert whole.vmdesc is not None
    place = find_vmdesc(memoryview(data))
    assert place is not None
    for size in range(len(data)):
        found = read_stream(data[:size], delimiter=whole.vmdesc.delimiter(), strict=False)
        if found.error is None:
            assert size == place[0]  # the end byte was the last
            assert found.encode() == data[:size]
        else:
            assert 0 <= found.error.offset <= size
            assert data[:size].startswith(found.encode())


def test_lenient_reading_keeps_what_came_before_the_error(stream_bytes: Load) -> None:
    data = stream_bytes("q35-7.2.22")
    stream = read_stream(data[:5000], strict=False)
    assert isinstance(stream, Stream)
    assert stream.machine == "pc-q35-5.2"
    assert stream.error is not None
    assert data.startswith(stream.encode())


def test_a_page_that_is_sent_again_counts_as_it_was_sent_last(stream_bytes: Load) -> None:
    """As a guest's that ran while it was saved; a bit of what came before changes nothing, any other does."""
    once = stream_bytes("q35-7.2.22")
    run = next(page_runs(read_stream(once)))
    first = slice(run.offset, run.offset + len(run.raw))
    earlier = bytearray(once[first])
    earlier[run.lead] ^= 1
    data = once[: first.start] + earlier + once[first.start :]
    assert digest(read_stream(data)) == digest(read_stream(once))
    counts = Counts()
    assert not [found for seed in range(8) for found in check_flips(data, random.Random(seed), counts)]
    assert counts.flips == 16
