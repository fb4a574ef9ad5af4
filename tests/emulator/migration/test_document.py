# SPDX-License-Identifier: Apache-2.0
"""Claims of QEMU's migration document that no other test is about; `docs/document.md` lists all of them.

In the order of the document, from its introduction to the return path.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest
from migration_machines import RELEASES, Box, enable, fill, make, memory, none, runs, status, target, until
from monitor_calls import said
from told_migrations import send, waiting
from whole_streams import loaded, saved

from migmatrix.emulator.memory import RamBlock
from migmatrix.emulator.migration.channel import Channel
from migmatrix.emulator.migration.postcopy import Postcopy
from migmatrix.emulator.migration.ram_save import RamSaver
from migmatrix.emulator.migration.returnpath import LOADED, ReplyPath
from migmatrix.emulator.migration.streams import Output
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import uint8
from migmatrix.vmstate.view.stream import Stream, read_stream
from migmatrix.vmstate.wire.commands import advise
from migmatrix.vmstate.wire.constants import SectionType
from migmatrix.vmstate.wire.events import Command, Packaged, SectionStart

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from migmatrix.vmstate.wire.events import Event

PC = ("-M", "pc-i440fx-7.2", "-m", "16", "-nodefaults", "-S")
WAITS = ("-incoming", "defer")

# -- the same devices on both sides --------------------------------------------------------------


def test_a_device_that_the_destination_has_not_is_refused() -> None:
    stream = saved(make("10.0", *PC, "-device", "virtio-rng-pci,addr=5"))
    found, lines = loaded(make("10.0", *PC, *WAITS), stream)
    assert found == 1
    assert lines[0].startswith("Unknown savevm section or instance '0000:00:05.0/virtio-rng' 0.")


def test_a_device_that_only_the_destination_has_stays_as_it_was() -> None:
    """What the document calls relaxed: nobody looks for sections that did not come."""
    there = make("10.0", *PC, *WAITS, "-device", "virtio-rng-pci,addr=5,id=r")
    assert loaded(there, saved(make("10.0", *PC))) == (0, [])
    assert there.find("r") is not None


# -- transports ----------------------------------------------------------------------------------


def _collect(end: socket.socket, into: bytearray) -> threading.Thread:
    """Read `end` until it is closed, in a thread of its own."""

    def read() -> None:
        with end:
            while data := end.recv(1 << 16):
                into.extend(data)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    return reader


def _accepting(server: socket.socket, into: bytearray) -> threading.Thread:
    def serve() -> None:
        with server:
            _collect(server.accept()[0], into).join()

    reader = threading.Thread(target=serve, daemon=True)
    reader.start()
    return reader


def over(kind: str, machine: Box, place: Path) -> bytes:
    """The bytes of a migration of `machine` over a transport."""
    came, path, reader = bytearray(), place / kind, None
    uri, lookup = f"{kind}:{path}", None
    if kind == "tcp":
        server = socket.create_server(("127.0.0.1", 0))
        uri, reader = f"tcp:127.0.0.1:{server.getsockname()[1]}", _accepting(server, came)
    elif kind == "unix":
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen(1)
        reader = _accepting(server, came)
    elif kind == "exec":
        uri = f"exec:cat > {path}"
    elif kind.startswith("fd"):
        uri, lookup, reader = _descriptor(kind, path, came)
    machine.migration.migrate(uri, lookup) if lookup else machine.migration.migrate(uri)
    status(machine, "completed")
    if reader is None:
        return path.read_bytes()
    reader.join(120)
    return bytes(came)


def _descriptor(kind: str, path: Path, came: bytearray) -> tuple[str, Any, threading.Thread | None]:
    """The ways in which a descriptor can have been opened: a socket, a pipe, a file."""
    if kind == "fd-socket":
        ours, theirs = socket.socketpair()
        return "fd:it", {"it": ours.detach()}.get, _collect(theirs, came)
    if kind == "fd-pipe":
        reader, writer = os.pipe()

        def read() -> None:
            with os.fdopen(reader, "rb") as pipe:
                came.extend(pipe.read())

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return "fd:it", {"it": writer}.get, thread
    return "fd:it", {"it": os.open(path, os.O_WRONLY | os.O_CREAT)}.get, None


KINDS = ("tcp", "unix", "exec", "fd-socket", "fd-pipe", "fd-file", "file")


@pytest.mark.parametrize("release", ["7.2", "10.0"])
def test_the_bytes_are_the_same_over_every_transport(release: str, tmp_path: Path) -> None:
    kinds = [kind for kind in KINDS if (release, kind) != ("7.2", "file")]  # from 8.2 on
    streams = {}
    for kind in kinds:
        machine = none(release, "-S")
        fill(machine)
        streams[kind] = over(kind, machine, tmp_path)
    assert len(streams["tcp"]) > 1 << 18
    assert {kind for kind, data in streams.items() if data != streams["tcp"]} == set()


# -- debugging -----------------------------------------------------------------------------------


def test_the_size_of_memory_in_the_documents_example(tmp_path: Path) -> None:
    """A machine that nobody said anything of has 128 MiB in `pc.ram`, and the stream says so."""
    machine = make("10.0", "-display", "none")
    machine.migration.migrate(f"exec:cat > {tmp_path / 'mig'}")
    status(machine, "completed")
    ram = read_stream((tmp_path / "mig").read_bytes()).ram
    assert ram.blocks["pc.ram"].used_length == 0x0000000008000000


# -- one section for most devices, at the end ----------------------------------------------------


@pytest.mark.parametrize("release", RELEASES)
def test_devices_have_one_section_behind_the_last_of_memory(release: str) -> None:
    machine = make(release, "-M", f"pc-q35-{release}", "-m", "16", "-nodefaults", "-S", "-device", "e1000")
    sections = read_stream(saved(machine)).sections
    memory_ends = max(number for number, section in enumerate(sections) if section.key[0] == "ram")
    assert [s.start.kind for s in sections[: memory_ends + 1]] == [
        SectionType.START, *[SectionType.PART] * (memory_ends - 1), SectionType.END
    ]  # fmt: skip
    rest = sections[memory_ends + 1 :]
    assert len(rest) > 15
    assert {section.start.kind for section in rest} == {SectionType.FULL}
    assert len({section.key for section in rest}) == len(rest)


@pytest.mark.parametrize("release", RELEASES)
def test_devices_are_asked_when_the_guest_stands_still(release: str, tmp_path: Path) -> None:
    source, seen = runs(release, mib=1), []

    def look(_state: object) -> None:
        seen.append((source.runstate, source.clock.running))

    state = type("State", (), {"value": 3})()
    source.registry.register(VMState("looks", (uint8("value"),), pre_save=look), state)
    source.migration.migrate(f"exec:cat > {tmp_path / 'it'}")
    status(source, "completed")
    assert seen == [("finish-migrate", False)]


# -- advice for devices --------------------------------------------------------------------------


def test_a_migration_can_be_taken_back_until_the_destination_runs(tmp_path: Path) -> None:
    source, there = runs("10.0", mib=1), waiting("10.0", tmp_path, words=("-S",))
    send(source, tmp_path)
    status(source, "completed")
    status(there, "completed")
    before = memory(source)
    assert (source.runstate, there.runstate) == ("postmigrate", "paused")
    source.vm_start()
    assert (source.runstate, source.clock.running) == ("running", True)
    assert memory(source) == before == memory(there)


CARD = "e1000,romfile=,id="


def cards(release: str, *words: str, incoming: bool = False) -> Box:
    """A machine with network cards, and in a register of each a number that follows from its name."""
    devices = [word for each in words for word in ("-device", CARD + each)]
    machine = make(release, *PC, *devices, *(WAITS if incoming else ()))
    if not incoming:
        registers(machine)["a"][0], registers(machine)["b"][0] = 0xA, 0xB
    return machine


def registers(machine: Box) -> dict[str, Any]:
    """The address registers of each card."""
    found: dict[str, Any] = {name: machine.find(name) for name in "ab"}
    return {name: card.receive_addresses for name, card in found.items()}


def first(machine: Box) -> dict[str, int]:
    return {name: found[0] for name, found in registers(machine).items()}


def test_another_order_without_addresses_loads_one_device_into_the_other() -> None:
    there = cards("10.0", "b", "a", incoming=True)
    assert loaded(there, saved(cards("10.0", "a", "b"))) == (0, [])
    assert first(there) == {"a": 0xB, "b": 0xA}


def test_with_addresses_the_order_does_not_count() -> None:
    there = cards("10.0", "b,addr=6", "a,addr=5", incoming=True)
    assert loaded(there, saved(cards("10.0", "a,addr=5", "b,addr=6"))) == (0, [])
    assert first(there) == {"a": 0xA, "b": 0xB}


@pytest.mark.parametrize("release", RELEASES)
def test_a_guest_that_reboots_on_the_way_arrives(release: str, tmp_path: Path) -> None:
    words = (*PC[:-1], "-device", "e1000,romfile=,id=a")
    source, there = make(release, *_of(release, words)), make(release, *_of(release, words), *WAITS)
    fill(source)
    card: Any = source.find("a")
    card.receive_addresses[0] = 7
    source.vm_start()
    there.migration.incoming(f"unix:{tmp_path / 's'}")
    enable(source, "pause-before-switchover")
    source.migration.migrate(f"unix:{tmp_path / 's'}")
    status(source, "active", "pre-switchover")
    source.reset()
    status(source, "pre-switchover")
    source.migration.continue_("pre-switchover")
    status(source, "completed")
    status(there, "completed")
    arrived: Any = there.find("a")
    assert (arrived.receive_addresses[0], there.runstate) == (card.receive_addresses[0], "running")
    assert memory(there) == memory(source)


def _of(release: str, words: tuple[str, ...]) -> list[str]:
    """With a machine type that the release knows."""
    return [word.replace("-7.2", "-5.2") if release == "5.2" else word for word in words]


# -- VMState -------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", RELEASES)
def test_the_keyboard_of_the_documents_example(release: str) -> None:
    """Version 3, four fields of a byte each, in this order."""
    entry = make(release, "-M", "isapc", "-m", "4", "-nodefaults", "-S").registry.find("pckbd", 0)
    kbd = entry.state.kbd
    kbd.write_cmd, kbd.status, kbd.mode = 1, 0x18, 3
    data, described = entry.save()
    assert (entry.version_id, data[:4]) == (3, bytes((1, 0x18, 3, 0)))
    (field,) = described["fields"]
    names = [each["name"].removesuffix("_tmp") for each in field["struct"]["fields"]]
    assert names == ["write_cmd", "status", "mode", "pending"]
    assert {each["size"] for each in field["struct"]["fields"]} == {1}


# -- iterative devices ---------------------------------------------------------------------------


class Sink:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        self.data += data


def test_the_first_section_of_memory_lists_its_blocks_and_sizes() -> None:
    blocks = [RamBlock("vga.vram", 0x8000), RamBlock("pc.ram", 0x10000)]
    out = Output(sink := Sink())
    RamSaver(blocks, lambda _: None).begin(out)
    out.flush()
    listed = struct.pack(">Q", 0x18000 | 4)
    for name, size in (("pc.ram", 0x10000), ("vga.vram", 0x8000)):
        listed += bytes((len(name),)) + name.encode() + struct.pack(">Q", size)
    assert sink.data == listed + struct.pack(">Q", 0x10)


def test_an_estimate_forgets_what_was_written_since_and_the_exact_figure_does_not() -> None:
    block = RamBlock("ram", 16 * 4096)
    saver = RamSaver([block], lambda _: None)
    saver.begin(out := Output(Sink()))
    assert saver.iterate(out)
    block.write(0, b"x")
    block.write(9 * 4096, b"y")
    assert saver.pending == 0
    saver.sync()
    assert saver.pending == 2 * 4096


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_writes_are_no_longer_noted_after_the_end(end: str, tmp_path: Path) -> None:
    source = runs("10.0", mib=1)
    (block,) = source.ram_blocks.values()
    if end == "cancelled":
        enable(source, "pause-before-switchover")
    source.migration.migrate("exec:false" if end == "failed" else f"exec:cat > {tmp_path / 'it'}")
    if end == "cancelled":
        status(source, "pre-switchover")
        source.migration.cancel()
    status(source, end)
    source.vm_start()
    block.write(0, b"later")
    assert block.take_log() == b""


# -- stream structure ----------------------------------------------------------------------------


@pytest.mark.parametrize("release", RELEASES)
def test_the_description_is_for_analysis_only(release: str) -> None:
    stream = saved(none(release, "-S"))
    at = stream.index(b"{")
    nonsense = stream[:at] + b"x" * (len(stream) - at)
    assert loaded(target(release, "-S"), nonsense) == (0, [])


def test_the_parts_of_a_stream_in_their_order() -> None:
    """Read by hand: magic, version, configuration, sections with their footers, end mark, description."""
    stream = saved(none("7.2", "-S"))
    assert stream[:17] == b"QEVM" + struct.pack(">IBI", 3, 7, 4) + b"none"
    section_type, section_id, length = struct.unpack_from(">BIB", stream, 17)
    assert (section_type, stream[23 : 23 + length]) == (SectionType.START, b"ram")
    assert struct.unpack_from(">II", stream, 23 + length) == (0, 4)  # instance and version
    first = 23 + length + 8
    part = stream.index(struct.pack(">BIBI", 0x7E, section_id, SectionType.PART, section_id), first)
    last = stream.index(struct.pack(">BIBI", 0x7E, section_id, SectionType.END, section_id), part)
    assert first < part < last
    end = re.search(rb"\0\x06(....)\{", stream, re.DOTALL)
    assert end is not None
    assert stream[end.start() - 5] == 0x7E
    assert int.from_bytes(end[1]) == len(stream) - end.end() + 1
    assert stream.endswith(b"}")


# -- return path ---------------------------------------------------------------------------------


def test_a_stream_without_a_way_back_asks_for_none() -> None:
    stream = saved(none("10.0", "-S"))
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as end:
        end.write(stream)
    there = target("10.0", "-S")
    there.migration.incoming("fd:it", {"it": reader}.get)
    status(there, "completed")


def test_two_threads_write_whole_messages() -> None:
    ours, theirs = socket.socketpair()
    came = bytearray()
    reader = _collect(theirs, came)
    path = ReplyPath(channel := Channel.from_socket(ours))
    path.open()

    def ask(block: str) -> None:
        for page in range(500):
            path.request(block, page * 4096, 4096)

    writers = [threading.Thread(target=ask, args=(name,)) for name in ("ram", "vga")]
    for writer in writers:
        writer.start()
    for number in range(500):
        path.pong(number)
    for writer in writers:
        writer.join()
    channel.close()
    reader.join(120)
    asked = messages(bytes(came))
    assert sorted(asked) == sorted(
        [*[("pong", n) for n in range(500)], *[(b, p * 4096) for b in ("ram", "vga") for p in range(500)]]
    )


def messages(data: bytes) -> list[tuple[str, int]]:
    """Pongs by their number, requests by their block and start."""
    found, block = [], ""
    while data:
        code, length = struct.unpack_from(">HH", data)
        body, data = data[4 : 4 + length], data[4 + length :]
        if code == 2:
            found.append(("pong", int.from_bytes(body)))
            continue
        start, size = struct.unpack_from(">QI", body)
        block = body[13:].decode() if code == 3 else block
        assert (code in (3, 4), size, len(body)) == (True, 4096, length)
        found.append((block, start))
    return found


# -- postcopy ------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", RELEASES)
def test_what_postcopy_can_do_is_off_unless_somebody_asks(release: str) -> None:
    capabilities = none(release).migration.capabilities
    names = [name for name in capabilities if name.startswith("postcopy")]
    assert "postcopy-ram" in names
    assert ("postcopy-preempt" in names) == (release != "5.2")
    assert not any(capabilities[name] for name in names)


def postcopied(release: str, delimiter: Any) -> Stream:
    """The stream of a source that begins postcopy before much of its memory could go."""
    source, came = runs(release), bytearray()
    enable(source, "postcopy-ram")
    source.migration.set_parameters({"max-bandwidth": 4096, "downtime-limit": 1})
    ours, theirs = socket.socketpair()
    reader = _collect(theirs, came)
    source.migration.migrate("fd:it", {"it": ours.detach()}.get)
    status(source, "active")
    source.migration.start_postcopy()
    found: list[Stream] = []

    def whole() -> bool:
        found.append(read_stream(bytes(came), delimiter=delimiter, strict=False))
        return found[-1].error is None

    until(whole, "the end of the stream")
    theirs.sendall(struct.pack(">HHI", 1, 4, 0))  # loaded
    status(source, "completed")
    reader.join(120)
    return found[-1]


@pytest.mark.parametrize("release", ["7.2", "10.0"])
def test_a_source_sends_advice_discards_and_a_package_in_this_order(release: str) -> None:
    plain = read_stream(saved(none(release, mib=8)))
    assert plain.vmdesc is not None
    events = postcopied(release, plain.vmdesc.delimiter()).events
    names = _called(events)
    discards = names.index("POSTCOPY_RAM_DISCARD")
    early = [name for name in names[:discards] if name in ("POSTCOPY_ADVISE", "ram")]
    assert early == ["POSTCOPY_ADVISE", *["ram"] * (len(early) - 1)]
    late = [name for name in names[discards:] if name != "POSTCOPY_RAM_DISCARD"]
    assert late[0] == "package"
    assert set(late[1:]) == {"ram"}
    (package,) = (event for event in events if isinstance(event, Packaged))
    devices = [section.key[0] for section in plain.sections if section.key[0] != "ram"]
    assert _called(package.events) == ["POSTCOPY_LISTEN", *devices, "POSTCOPY_RUN"]


def _called(events: Iterable[Event]) -> list[str]:
    """Commands and sections, without pings, which may stand between any of them."""
    found = []
    for event in events:
        if isinstance(event, SectionStart):
            found.append(event.idstr)
        elif isinstance(event, Packaged):
            found.append("package")
        elif isinstance(event, Command) and event.name != "PING":
            found.append(event.name)
    return found


def test_a_paused_postcopy_stops_only_who_needs_what_is_missing() -> None:
    machine = target("10.0", "-S")
    postcopy, ram = Postcopy(machine, ReplyPath(None), allowed=True), machine.ram_blocks["ram"]
    postcopy.advise(advise(4096, 4096))
    ram.store(0, b"here" * 1024)
    with machine.bql:
        postcopy.listen()
        postcopy.run()
        postcopy.loaded()
        postcopy.pause()
    found: list[bytes] = []

    def look() -> None:
        with machine.bql:
            found.append(ram.read(4096, 4))

    reader = threading.Thread(target=look)
    reader.start()
    until(lambda: postcopy.missing.requests, "somebody who waits")
    with machine.bql:
        assert ram.read(4092, 4) == b"here"
        assert not found
        postcopy.recovering = True
        assert postcopy.resume()
        assert not found
        postcopy.place(ram, 4096, b"came" * 1024)
    reader.join(120)
    assert found == [b"came"]
    with machine.bql:
        postcopy.end()


@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
def test_a_source_whose_destination_died_in_a_postcopy_is_not_let_go_on(release: str) -> None:
    """The guest is over there, and some of it here: neither side has all of it."""
    source = runs(release)
    enable(source, "postcopy-ram")
    source.migration.set_parameters({"max-bandwidth": 4096, "max-postcopy-bandwidth": 4096})
    ours, theirs = socket.socketpair()
    reader = _collect(theirs.dup(), came := bytearray())
    source.migration.migrate("fd:it", {"it": ours.detach()}.get)
    status(source, "active")
    source.migration.start_postcopy()
    if source.migration.traits.postcopy_device:
        status(source, "postcopy-device")
        theirs.sendall(struct.pack(">HHI", 2, 4, LOADED))
    status(source, "postcopy-active")
    until(lambda: 0 < came.rfind(b"globalstate") < len(came) - 8192, "pages behind the package")
    theirs.shutdown(socket.SHUT_RDWR)
    theirs.close()
    reader.join(120)
    status(source, "postcopy-paused")
    assert (source.runstate, source.clock.running) == ("finish-migrate", False)
    assert said(source, "cont") == "Error: Migration is not finalized yet\n"
