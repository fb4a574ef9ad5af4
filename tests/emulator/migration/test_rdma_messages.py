# SPDX-License-Identifier: Apache-2.0
"""Messages of the RDMA control channel: their bytes, what is refused, and any bytes at all (`fuzzing`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fuzzing import each
from rdma_inputs import GOOD, hostile, served

from migmatrix.emulator.memory import RamBlock
from migmatrix.emulator.migration.channel import ChannelError
from migmatrix.emulator.migration.faults import LoadFault
from migmatrix.emulator.migration.rdma.exchange import (
    ANSWERS,
    FLOW,
    Receiver,
    Sender,
    State,
    Step,
    next_state,
    step_of,
)
from migmatrix.emulator.migration.rdma.memory import SourceMemory
from migmatrix.emulator.migration.rdma.messages import (
    MOST,
    Block,
    Capabilities,
    Compress,
    Kind,
    Message,
    MessageError,
    Register,
    Result,
    pack,
    pack_all,
    read,
    read_all,
    size_of,
)
from migmatrix.emulator.migration.rdma.verbs import Frames, pair
from migmatrix.emulator.migration.streams import BytesChannel, BytesSink

if TYPE_CHECKING:
    from random import Random


@pytest.mark.parametrize(
    ("message", "raw"),
    [
        (Message(Kind.READY), "00000000 00000002 00000001 00000000"),
        (Message(Kind.QEMU_FILE, b"\xab\xcd"), "00000002 00000003 00000001 00000000 abcd"),
        (
            Message(Kind.RAM_BLOCKS_RESULT, pack_all([Block(1, 2, 3, 4)])),
            "00000020 00000005 00000001 00000000 0000000000000001 0000000000000002 0000000000000003 00000004 00000000",
        ),
        (
            Message(Kind.COMPRESS, pack_all([Compress(0, 1, 2, 3)])),
            "00000018 00000006 00000001 00000000 00000000 00000001 0000000000000002 0000000000000003",
        ),
        (
            Message(Kind.REGISTER_REQUEST, pack_all([Register(1, 2, 3)])),
            "00000018 00000007 00000001 00000000 0000000000000001 00000002 00000000 0000000000000003",
        ),
        (
            Message(Kind.REGISTER_RESULT, pack_all([Result(1, 2)])),
            "00000010 00000008 00000001 00000000 00000001 00000000 0000000000000002",
        ),
    ],
)
def test_bytes_of_messages(message: Message, raw: str) -> None:
    assert pack(message) == bytes.fromhex(raw)
    assert read(bytes.fromhex(raw)) == message


@pytest.mark.parametrize("message", GOOD)
def test_every_cut_of_a_message_is_refused(message: Message) -> None:
    raw = pack(message)
    for end in range(len(raw)):
        with pytest.raises(MessageError, match="Malformed length"):
            read(raw[:end])


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ((MOST - 15, 3, 1, 0), f"too long length: {MOST - 15}"),
        ((1, 3, 1, 0), "Malformed length: 1 byte_len 16"),
        ((0, 7, 4097, 0), "rdma: Too many requests in this message (4097).Bailing."),
    ],
)
def test_heads_that_are_refused(head: tuple[int, ...], words: str) -> None:
    with pytest.raises(MessageError) as error:
        read(b"".join(number.to_bytes(4) for number in head))
    assert str(error.value) == words


def test_a_message_too_long_to_send() -> None:
    with pytest.raises(ValueError, match="bytes do not fit a message"):
        pack(Message(Kind.QEMU_FILE, bytes(MOST - 15)))
    assert len(pack(Message(Kind.QEMU_FILE, bytes(MOST - 16)))) == MOST


def test_records_that_are_not_there() -> None:
    with pytest.raises(MessageError, match="Malformed length"):
        read_all(Register, Message(Kind.REGISTER_REQUEST, bytes(size_of(Register)), 2))


def test_a_version_that_nobody_knows() -> None:
    assert Capabilities.read(Capabilities(flags=1).pack() + bytes(40)).flags == 1
    with pytest.raises(MessageError, match=r"Unknown source RDMA version: 2, bailing\.\.\."):
        Capabilities.read(Capabilities(version=2).pack())


# -- exchange ------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("step", Step)
def test_all_pairs_of_the_flow(state: State, step: Step) -> None:
    for kind in (kind for kind in Kind if step_of(kind) is step):
        if (state, step) in FLOW:
            assert next_state(state, kind) is FLOW[state, step]
        else:
            with pytest.raises(MessageError, match=f"Unknown control message {kind.word}"):
                next_state(state, kind)


def test_an_answer_that_nobody_asked_for_is_not_sent() -> None:
    one, two = pair()
    with pytest.raises(MessageError, match="Unknown control message REGISTER RESULT"):
        Receiver(two).answer(Message(Kind.REGISTER_RESULT))
    with pytest.raises(ChannelError):
        one.receive()


def test_every_type_has_its_class() -> None:
    assert [step_of(kind) for kind in (Kind.NONE, Kind.ERROR, 12, 2**32 - 1)] == [None] * 4
    assert {kind for kind in Kind if step_of(kind) is Step.REQUEST} == set(ANSWERS)


def test_a_message_of_another_type_is_refused() -> None:
    one, two = pair()
    one.send(pack(Message(99, b"abc")))
    words = r"Was expecting a QEMU FILE \(3\) control message, but got: \?\?BAD CONTROL VALUE\?\? \(99\), length: 3"
    with pytest.raises(MessageError, match=words):
        Receiver(two).receive(Kind.QEMU_FILE)


def test_an_error_of_the_other_side_is_one_here() -> None:
    one, two = pair()
    one.send(pack(Message(Kind.ERROR)))
    with pytest.raises(
        MessageError, match=r"Was expecting a NONE \(0\) control message, but got: ERROR \(1\)"
    ):
        Receiver(two).receive()


# -- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Message(Kind.REGISTER_REQUEST, pack_all([Register(0, 2, 0)])), "rdma: 'register' bad block index 2 (vs 2)"),
        (
            Message(Kind.REGISTER_REQUEST, pack_all([Register(0, 1, 0)])),
            "rdma: bad register address for block rom offset: 8000 current_addr: 0",
        ),
        (Message(Kind.COMPRESS, pack_all([Compress(0, 9, 0, 0)])), "rdma: 'compress' bad block index 9 (vs 2)"),
        (Message(Kind.COMPRESS, pack_all([Compress(3, 0, 0, 4096)])), "rdma: Zero page with non-zero (3) value"),
        (
            Message(Kind.COMPRESS, pack_all([Compress(0, 0, 0x7000, 0x1001)])),
            "rdma: bad range for block ram offset: 7000 length: 1001",
        ),
        (Message(Kind.UNREGISTER_REQUEST, pack_all([Register(0, 0, 0)])), "rdma: bad chunk for block ram chunk: 0"),
        (Message(Kind.REGISTER_RESULT), "Unknown control message REGISTER RESULT"),
        (Message(Kind.QEMU_FILE), "Unknown control message QEMU FILE"),
    ],
)  # fmt: skip
def test_what_a_destination_refuses(message: Message, words: str) -> None:
    with pytest.raises(LoadFault) as error:
        served(pack(message))
    assert error.value.said == (words,)


def test_no_write_leaves_what_was_registered() -> None:
    one, two = pair()
    block = RamBlock("ram", 4 << 12)
    key = two.regions.register(1 << 40, 2 << 12, block.store)
    one.write(1 << 40, key.number, b"in")
    for address, length, number in (
        ((1 << 40) - 1, 1, key.number),
        ((1 << 40) + (2 << 12) - 1, 2, key.number),
        (1 << 40, 1, key.number + 1),
    ):
        with pytest.raises(ChannelError):
            one.write(address, number, bytes(length))
    two.regions.forget(key.number)
    with pytest.raises(ChannelError):
        one.write(1 << 40, key.number, b"x")
    assert block.data[:4] == b"in\0\0"


def test_a_key_is_asked_for_once_and_zeros_are_told() -> None:
    """The messages of a source that writes the same chunk twice, after a zero one, to a destination that answers."""
    one, two = pair()
    here, there = RamBlock("ram", 8 << 12), RamBlock("ram", 8 << 12)
    here.write(5 << 12, b"five")
    for message in (
        Message(Kind.READY),
        Message(Kind.RAM_BLOCKS_RESULT, pack_all([Block(1 << 40, 4096, 8 << 12)])),
        Message(Kind.READY),
        Message(Kind.READY),
        Message(Kind.READY),
        Message(Kind.REGISTER_RESULT, pack_all([Result(1, 1 << 40)])),
    ):
        two.send(pack(message))
    two.regions.register(1 << 40, 8 << 12, there.store)
    source = SourceMemory(Sender(one), one, 1 << 14, pinned=False)
    source.set_up([here])
    assert list(source.parts(1 << 12, 8 << 12)) == [(1 << 12, 1 << 14), (1 << 14, 1 << 15)]
    assert source.write(here, 1 << 12, 1 << 14)
    assert not source.write(here, 1 << 14, 1 << 15)
    assert not source.write(here, 1 << 14, 1 << 15)
    sent = [read(two.receive()) for _ in range(4)]
    assert [Kind(message.kind) for message in sent] == [
        Kind.RAM_BLOCKS_REQUEST, Kind.REGISTER_FINISHED, Kind.COMPRESS, Kind.REGISTER_REQUEST,
    ]  # fmt: skip
    assert read_all(Compress, sent[2]) == [Compress(0, 0, 8192, 3 << 12)]
    assert read_all(Register, sent[3]) == [Register(4096 + (1 << 14), 0, 0)]
    assert there.data[:] == here.data[:]


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([], "ram blocks mismatch (Number of blocks 1 vs 0)"),
        ([Block(0, 0, 4096)], "Block ram/0 has a different length 32768vs 4096"),
    ],
)
def test_blocks_that_do_not_match(told: list[Block], words: str) -> None:
    one, two = pair()
    two.send(pack(Message(Kind.READY)))
    two.send(pack(Message(Kind.RAM_BLOCKS_RESULT, pack_all(told))))
    with pytest.raises(ChannelError) as error:
        SourceMemory(Sender(one), one, 1 << 20, pinned=False).set_up([RamBlock("ram", 8 << 12)])
    assert str(error.value) == words


# -- anything ------------------------------------------------------------------------------------


def test_any_message_is_refused_cleanly_or_changes_only_what_it_says() -> None:
    """A destination takes a hostile message or refuses it with LoadFault, in bounded memory."""

    def run(random: Random) -> None:
        found = served(hostile(random))
        assert not any(block.data[:].strip(b"\0") for block in found)  # only zeros can be told

    assert each("RDMA messages", run, LoadFault).keys() == {"taken", "LoadFault"}


def test_any_frames_are_refused_cleanly() -> None:
    """A reader of frames gives messages or ChannelError, writes only where it may, and holds no more than a message."""
    block = RamBlock("ram", 4 << 12)

    def run(random: Random) -> None:
        sink = BytesSink()
        wire = Frames(BytesChannel(b""), sink)
        wire.write(random.choice((1 << 40, (1 << 40) + 8191, 0)), random.randrange(3), random.randbytes(8))
        wire.send(hostile(random))
        raw = sink.data
        raw[random.randrange(len(raw))] = random.choice((0, 1, 0x80, 0xFF))
        frames = Frames(BytesChannel(bytes(raw)), sink)
        frames.regions.register(1 << 40, 2 << 12, block.store)
        for _ in range(len(raw)):
            assert len(frames.receive()) <= MOST

    assert each("RDMA frames", run, ChannelError).keys() == {"ChannelError"}  # at the end at the latest
    assert not block.data[2 << 12 :].strip(b"\0")
