# SPDX-License-Identifier: Apache-2.0
"""The phases of a main channel: every pair of a phase and what may be met, and where real channels go."""

from __future__ import annotations

import itertools

import pytest
from stream_data import load

from migmatrix.vmstate.view.stream import read_stream
from migmatrix.vmstate.wire.events import Footer, Packaged, Payload, SectionStart, Trailing, Undelimited
from migmatrix.vmstate.wire.phases import NEXT, Met, Phase, Progress
from migmatrix.vmstate.wire.reader import StreamReader, Walk

PAIRS = list(itertools.product(Phase, Met))
HEADER = b"QEVM" + (3).to_bytes(4)  # magic, version
CONFIGURATION = b"\x07" + (1).to_bytes(4) + b"m"  # type, length and name of the machine
SECTION = (
    b"\x04" + (9).to_bytes(4)  # FULL, section id
    + b"\x03dev" + (0).to_bytes(4) + (1).to_bytes(4)  # idstr, instance, version
    + b"abc"  # payload
)  # fmt: skip
FOOTER = b"\x7e" + (9).to_bytes(4)  # type, section id


def package(inner: bytes) -> bytes:
    return b"\x08" + (7).to_bytes(2) + (4).to_bytes(2) + len(inner).to_bytes(4) + inner


def of_three(_start: object) -> Walk:
    """Every payload has three bytes."""
    yield from ()
    return 3


@pytest.mark.parametrize(("phase", "met"), PAIRS)
def test_a_pair_leads_on_or_is_refused(phase: Phase, met: Met) -> None:
    progress = Progress(phase)
    if (phase, met) in NEXT:
        progress.advance(met)
        assert progress.phase is NEXT[phase, met]
        assert progress.configured is (met is not Met.NO_CONFIGURATION)
    else:
        with pytest.raises(KeyError):
            progress.advance(met)
        assert progress.phase is phase


def test_every_phase_leads_to_the_end() -> None:
    reached = {Phase.END}
    while more := {phase for (phase, _), after in NEXT.items() if after in reached} - reached:
        reached |= more
    assert reached == set(Phase)
    assert not [phase for phase, _ in NEXT if phase is Phase.END]


def phases(data: bytes) -> list[Phase]:
    """Where a reader is, without repeats, when the bytes come one by one."""
    reader = StreamReader(delimiter=of_three)
    seen = [reader.progress.phase]
    for at in range(len(data)):
        reader.feed(data[at : at + 1])
        list(reader.events())
        seen.append(reader.progress.phase)
    reader.close()
    list(reader.events())
    seen.append(reader.progress.phase)
    return [phase for phase, _ in itertools.groupby(seen)]


def test_a_channel_goes_through_its_phases() -> None:
    described = b"\x06" + (2).to_bytes(4) + b"{}"  # VM description
    assert phases(HEADER + CONFIGURATION + SECTION + FOOTER + b"\0" + described) == [
        Phase.HEADER, Phase.CONFIGURATION, Phase.SECTIONS, Phase.DESCRIPTION, Phase.TRAILING, Phase.END,
    ]  # fmt: skip


@pytest.mark.parametrize("footer", [b"", FOOTER])
def test_without_a_configuration_footers_may_be_missing_in_packages_too(footer: bytes) -> None:
    """Machine types up to 2.3."""
    inside = SECTION + footer
    reader = StreamReader(delimiter=of_three)
    reader.feed(HEADER + inside + package(inside) + b"\0")
    reader.close()
    events = list(reader.events())
    (packaged,) = (event for event in events if isinstance(event, Packaged))
    for found in (events, packaged.events):
        assert [event.raw for event in found if isinstance(event, Payload)] == [b"abc"]
        assert sum(isinstance(event, Footer) for event in found) == bool(footer)


def test_a_continued_channel_keeps_what_the_broken_one_said_of_footers() -> None:
    broken = StreamReader(delimiter=of_three)
    broken.feed(HEADER + SECTION)
    list(broken.events())
    going_on = StreamReader(delimiter=of_three, header=False, earlier=broken)
    going_on.feed(SECTION + SECTION + b"\0")
    going_on.close()
    assert [event.raw for event in going_on.events() if isinstance(event, Payload)] == [b"abc", b"abc"]


def test_what_follows_the_end_byte_of_a_package_is_kept() -> None:
    """A loader skips it in silence."""
    data = HEADER + CONFIGURATION + package(SECTION + FOOTER + b"\0rest") + b"\0"
    packaged = read_stream(data, delimiter=of_three).events[2]
    assert isinstance(packaged, Packaged)
    assert packaged.events[-1] == Trailing(b"rest")
    assert packaged.encode() == package(SECTION + FOOTER + b"\0rest")


def test_a_payload_of_unknown_length_in_a_package_ends_the_package_only() -> None:
    data = HEADER + CONFIGURATION + package(SECTION + FOOTER) + SECTION + FOOTER + b"\0"
    stream = read_stream(data)
    packaged, start, outer = stream.events[2:]
    assert isinstance(packaged, Packaged)
    assert isinstance(start, SectionStart)
    assert packaged.events == (start, Undelimited(start, b"abc" + FOOTER))
    assert outer == Undelimited(start, b"abc" + FOOTER + b"\0")
    assert stream.encode() == data


def test_every_prefix_of_a_real_channel_ends_in_an_error_or_in_its_last_phases() -> None:
    data = load("none-7.2.22")
    described = read_stream(data).vmdesc
    assert described is not None
    for end in range(0, len(data), 7):
        reader = StreamReader(delimiter=described.delimiter())
        reader.feed(data[:end])
        list(reader.events())
        assert reader.progress.phase is not Phase.END
