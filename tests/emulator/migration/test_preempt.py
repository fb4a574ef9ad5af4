# SPDX-License-Identifier: Apache-2.0
"""postcopy-preempt between two machines in this process: which pages go over which of two connections, and when.

The link between the sides keeps what went over each connection, in the order in which these were made. Order, words and statuses are those of real QEMU 7.2.22, 10.0.13 and 11.1.3 (`test_preempt_with_qemu.py`).
"""

from __future__ import annotations

import contextlib
import socket
from random import Random
from typing import TYPE_CHECKING, cast

import pytest
from cut_link import CutLink
from guests import emulated
from migration_machines import enable, fill, make, none, status, statuses, target, until
from recovery_sides import Sides, look
from short_places import short_place
from urgent_records import EOS, record, without_names

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.memory import RamBlock
from migmatrix.emulator.migration.channel import ChannelError
from migmatrix.emulator.migration.faults import LoadFault
from migmatrix.emulator.migration.postcopy import Postcopy
from migmatrix.emulator.migration.preempt import Urgent
from migmatrix.emulator.migration.preempt_receive import UrgentReader
from migmatrix.emulator.migration.ram_save import RamSaver
from migmatrix.emulator.migration.returnpath import ReplyPath
from migmatrix.emulator.migration.streams import BytesChannel, BytesSink, Input, Output
from migmatrix.emulator.migration.traits import Traits
from migmatrix.emulator.migration.transports import listen
from migmatrix.vmstate.wire.commands import advise

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from migration_machines import Box

    from migmatrix.emulator.migration.channel import Channel

PAIRS = [
    ("7.2", "7.2"),
    ("7.2", "11.1"),
    ("8.0", "8.0"),
    ("10.0", "10.0"),
    ("11.1", "10.0"),
    ("11.1", "11.1"),
]
PREEMPT = "postcopy-preempt"
CAPABILITIES = ("postcopy-ram", PREEMPT, "events")
SLOW = 20_000  # bytes per second
MIB = 4  # the background sends a page in a tenth of a second, and must not come to those that are asked for


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory short enough for UNIX sockets."""
    with short_place("pre") as path:
        yield path


@pytest.fixture
def sides(request: pytest.FixtureRequest, place: Path) -> Iterator[Sides]:
    old, new = request.param
    made = Sides.of(place, old, new, PREEMPT, mib=MIB, keeps=True)
    with made.link:
        yield made


@pytest.mark.parametrize("sides", PAIRS, ids=">".join, indirect=True)
def test_what_a_guest_waits_for_comes_past_everything_else(sides: Sides) -> None:
    sides.start(SLOW)
    for number in (801, 798, 798, 633):
        assert sides.read(number) == sides.page(number)
    assert sides.source.migration.query()["status"] == "postcopy-active", "the background is slow"
    sides.arrived()
    main, urgent = map(bytes, sides.link.kept)
    old = sides.source.release.name == "7.2"
    pages = [record(sides.before["ram"], number, named=number == 801) for number in (801, 798, 633)]
    wanted = b"".join(pages)
    if sides.destination.release.name == "7.2":  # later ones do not wait for the end that an old source sends
        assert urgent.endswith(EOS)
    urgent = urgent.removesuffix(EOS) if old else urgent
    assert without_names(urgent) == without_names(wanted)
    assert old or urgent == wanted
    assert sides.page(801) not in main
    assert sides.source.migration.query()["ram"]["postcopy-requests"] >= 3


BACKGROUND = {
    "7.2": [
        *range(11, 40),
        *range(41, 64),
        *range(10),
    ],  # one thread, which sends 40 and 10 before it goes on behind the second
    "10.0": [*range(10), *range(11, 40), *range(41, 64)],
    "11.1": [*range(41, 64), *range(10), *range(11, 40)],  # behind the first since it last looked
}


@pytest.mark.parametrize("release", BACKGROUND)
def test_where_the_background_goes_on(release: str) -> None:
    """As seen on real QEMU: 7.2 and 11.1 jump, 10.0 does not."""
    block = RamBlock("ram", 64 * 4096)
    block.store(0, b"x" * (64 * 4096))
    saver = RamSaver([block], lambda _: None)
    saver.begin(Output(BytesSink()))
    saver.begin_postcopy()
    out, beside = Output(main := BytesSink()), BytesSink()
    saver.urgent = Urgent(cast("Channel", beside), out, Traits(release))
    for page in (40, 10, 10):
        saver.request("ram", page * 4096, 4096)
    saver.complete(out)
    out.flush()
    assert [(word >> 12, bool(word & 0x20)) for word in offsets(bytes(beside.data))] == [
        (40, False),
        (10, True),
    ]
    assert [word >> 12 for word in offsets(bytes(main.data[:-8]))] == BACKGROUND[release]
    assert out.beside == len(beside.data)


# -- when it opens ---------------------------------------------------------------------------------

EARLY = ("-global", "migration.x-preempt-pre-7-2=true")


@pytest.mark.parametrize(
    ("release", "more", "channels"),
    [("7.2", (), 2), ("8.0", (), 1), ("11.1", (), 1), ("11.1", EARLY, 2)],
    ids=["7.2", "8.0", "11.1", "11.1-early"],
)
def test_a_precopy_needs_it_in_old_releases_and_machine_types_only(
    release: str, more: tuple[str, ...], channels: int, place: Path
) -> None:
    sides = Sides(place, none(release, *more, mib=1), target(release, *more, mib=1), PREEMPT, keeps=True)
    with sides.link as link:
        sides.destination.migration.incoming(f"unix:{place / 'back'}")
        sides.source.migration.migrate(f"unix:{place / 'front'}")
        sides.arrived()
        until(lambda: len(link.kept) >= channels, "connections")
    assert len(link.kept) == channels
    assert not (place / "back").exists(), "nobody listens any more"


@pytest.mark.parametrize(("machine", "early"), [("pc-q35-7.2", True), ("pc-q35-8.0", False)])
def test_machine_types_say_when(machine: str, early: bool) -> None:
    box = make("11.1", "-M", machine, "-m", "16", "-nodefaults")
    assert not box.migration.preempts_early
    enable(box, "postcopy-ram", "postcopy-preempt")
    assert box.migration.preempts_early == early


def test_an_old_destination_begins_when_both_are_there(place: Path) -> None:
    destination = target("7.2", mib=1)
    enable(destination, *CAPABILITIES)
    destination.migration.incoming(f"unix:{place / 'm'}")
    with socket.socket(socket.AF_UNIX) as main, socket.socket(socket.AF_UNIX) as urgent:
        main.connect(str(place / "m"))
        main.sendall(b"QEVM")
        until(lambda: destination.migration.incoming_side, "a side")
        assert destination.migration.progress.status.value == "setup"
        urgent.connect(str(place / "m"))
        status(destination, "active")
    status(destination, "failed")


@pytest.mark.parametrize("release", ["10.0", "11.1"])
def test_without_it_there_is_no_postcopy_and_the_guest_stays(release: str, place: Path) -> None:
    sides = Sides(place, none(release, mib=1), target(release, mib=1), PREEMPT, keeps=True)
    with sides.link:
        sides.source.migration.set_parameters({"max-bandwidth": 4096})
        sides.destination.migration.incoming(f"unix:{place / 'back'}")
        sides.source.migration.migrate(f"unix:{place / 'front'}")
        status(sides.source, "active")
        (place / "front").unlink()
        sides.source.migration.start_postcopy()
        words = f"Failed to connect to '{place / 'front'}': No such file or directory"
        assert status(sides.source)["error-desc"] == words
    assert sides.source.said == [
        "postcopy_start: Failed to establish preempt channel",
        words,
    ]
    assert sides.source.runstate == "running"
    assert "STOP" not in statuses(sides.source)


@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
def test_an_address_for_one_connection_is_refused(release: str) -> None:
    source = none(release)
    enable(source, *CAPABILITIES)
    if release == "7.2":
        source.migration.migrate("exec:cat > /dev/null")
        assert status(source)["status"] == "failed"
        said = (
            "Postcopy preempt is not supported as current migration stream does not support multi-channels."
        )
        assert source.said == [said]
        return
    with pytest.raises(QmpError, match=r"^Migration requires multi-channel URIs \(e.g. tcp\)$"):
        source.migration.migrate("exec:cat > /dev/null")


@pytest.mark.parametrize("release", ["10.0", "11.1"])
def test_it_is_set_before_sockets_wait(release: str, place: Path) -> None:
    """What `exec:` brings does not count, as in QEMU; and what is over does not either."""
    waiting, other = target(release), target(release)
    waiting.migration.incoming(f"unix:{place / 'm'}")
    with pytest.raises(QmpError, match=r"^Postcopy preempt must be set before incoming starts$"):
        enable(waiting, *CAPABILITIES)
    other.migration.incoming("exec:sleep 0.1")
    enable(other, *CAPABILITIES)
    source = none(release)
    source.migration.migrate(f"unix:{place / 'm'}")
    status(waiting, "completed")
    enable(waiting, *CAPABILITIES)


# -- host pages ------------------------------------------------------------------------------------


def huge(release: str, *more: str) -> Box:
    backend = "memory-backend-memfd,id=ram,size=8M,hugetlb=on"
    words = ("-M", "none,memory-backend=ram", "-m", "8", "-nodefaults", "-object", backend)
    return make(release, *words, *more)


@pytest.mark.parametrize("release", ["7.2", "11.1"])
def test_all_of_a_host_page_comes_over_one_channel(release: str, place: Path) -> None:
    sides = Sides(place, huge(release), huge(release, "-incoming", "defer"), PREEMPT, keeps=True)
    with sides.link as link:
        sides.start(SLOW)
        assert sides.read(1536) == sides.page(1536)
        sides.arrived()
    urgent = bytes(link.kept[1]).removesuffix(EOS)
    words = [word & ~0x20 for word in offsets(urgent)]
    assert [word & ~0xFFF for word in words] == list(range(6 << 20, 8 << 20, 4096))
    main = offsets_of_page(bytes(link.kept[0]), sides.page(1536))
    assert main < 0


def offsets(data: bytes) -> list[int]:
    """The words of bare records of pages."""
    found, at = [], 0
    while at < len(data):
        word = int.from_bytes(data[at : at + 8])
        at += 8 + (0 if word & 0x20 else 4) + (4096 if word & 0x08 else 1)
        found.append(word)
    return found


def offsets_of_page(data: bytes, page: bytes) -> int:
    return data.find(page)


# -- when links break ------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [("7.2", "7.2"), ("11.1", "11.1")], ids=">".join, indirect=True)
def test_who_waited_when_it_broke_is_answered_over_the_next_one(sides: Sides) -> None:
    sides.start(SLOW)
    sides.link.cut()
    sides.paused()
    wrong = look(sides, [204])
    postcopy = sides.destination.migration.ram.postcopy
    assert postcopy is not None
    until(lambda: postcopy.missing.open, "a request")
    sides.recover()
    assert wrong() == []
    assert record(sides.before["ram"], 204, named=True) in sides.link.kept[3]
    sides.arrived()


@pytest.mark.parametrize("sides", [("10.0", "10.0"), ("11.1", "11.1")], ids=">".join, indirect=True)
def test_a_recovery_opens_it_when_it_is_known_what_came(sides: Sides) -> None:
    sides.start(SLOW)
    sides.link.cut()
    sides.paused()
    sides.link.cut_at(back_again=sides.link.back_again + 20)  # in the middle of the first bitmap
    sides.recover()
    until(lambda: sides.link.cuts == 2, "a second cut")
    assert len(sides.link.kept) == 3, "main, urgent, main"
    sides.paused()
    sides.recover()
    sides.arrived()
    assert len(sides.link.kept) == 5


@pytest.mark.parametrize(
    "sides", [("7.2", "7.2"), ("10.0", "10.0"), ("11.1", "11.1")], ids=">".join, indirect=True
)
def test_the_source_finds_out_that_it_alone_broke(sides: Sides) -> None:
    sides.start(SLOW)
    sides.link.cut_one(1)
    assert sides.source.migration.query()["status"] == "postcopy-active"
    wrong = look(sides, [204])
    told = status(sides.source, "postcopy-paused")
    old = sides.source.release.name == "7.2"
    assert told.get("error-desc") == (None if old else "Unable to write to socket: Broken pipe")
    assert sides.source.said == [
        *([] if old else ["Unable to shutdown socket: Bad file descriptor"]),
        "Detected IO failure for postcopy. Migration paused.",
    ]
    sides.paused()
    sides.recover()
    assert wrong() == []
    sides.arrived()


@pytest.mark.parametrize("sides", [("11.1", "11.1")], ids=">".join, indirect=True)
def test_what_nobody_foresaw_costs_the_link(
    sides: Sides, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ram = sides.destination.migration.ram
    good = ram.load_urgent

    def bad(_: Input) -> None:
        monkeypatch.setattr(ram, "load_urgent", good)
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(ram, "load_urgent", bad)
    sides.start(SLOW)
    wrong = look(sides, [204])
    sides.paused()
    sides.recover()
    assert wrong() == []
    sides.arrived()
    assert "nobody foresaw this" in capfd.readouterr().err


@pytest.mark.parametrize("sides", [("10.0", "10.0")], ids=">".join, indirect=True)
def test_a_link_whose_last_urgent_page_was_lost_is_recovered(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QEMU waits for it for ever: the main channel is at its end, so nobody finds out."""
    sides.start(SLOW)
    with monkeypatch.context() as lost:
        lost.setattr(Urgent, "_write", lambda *_: None)
        wrong = look(sides, [204])
        until(lambda: sides.source.migration.query()["ram"]["postcopy-requests"], "a request")
    sides.source.migration.set_parameters({"max-postcopy-bandwidth": 0})
    until(lambda: sides.source.migration.query()["ram"]["remaining"] == 0, "the end of the main channel")
    sides.link.cut_one(1)
    status(sides.destination, "postcopy-paused")
    sides.paused()
    sides.recover()
    assert wrong() == []
    sides.arrived()


@pytest.mark.parametrize("sides", [("7.2", "11.1")], ids=">".join, indirect=True)
def test_a_destination_that_has_all_may_end_it_first(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 8.0 on destinations do not wait for the EOS word, with which old sources end it."""

    def gone(_: Urgent) -> None:
        raise ChannelError("Unable to write to socket: Broken pipe")

    monkeypatch.setattr(Urgent, "end", gone)
    sides.start(SLOW)
    sides.arrived()


def test_nobody_listens_when_it_is_over_before_the_channel_came(place: Path) -> None:
    """The main channel brought all of it before the thread for urgent pages ran at all."""
    there = target("10.0", mib=1)
    postcopy = Postcopy(there, ReplyPath(None), allowed=True)
    arrival = listen(there.migration.address(f"unix:{place / 'm'}", incoming=True), None, there.fdsets)
    reader = UrgentReader(there.migration, postcopy)
    with there.bql:
        reader.wait_at(arrival)
        reader.start()
        reader.end()
    assert arrival.describe() == []
    assert not (place / "m").exists()


def nonsense(random: Random, good: bytes) -> bytes:
    """Records with some bytes changed, or cut short."""
    data = bytearray(good)
    for _ in range(random.randrange(1, 4)):
        at = random.choice((random.randrange(40), random.randrange(len(data))))
        data[at] = random.randrange(256)
    return bytes(data[: random.randrange(1, len(data) + 1)])


@pytest.mark.parametrize("sides", [("7.2", "7.2"), ("11.1", "11.1")], ids=">".join, indirect=True)
def test_nonsense_is_refused_by_name(sides: Sides) -> None:
    """Whatever comes raises nothing but a fault, and nothing is written outside of memory."""
    migration, random = sides.destination.migration, Random(1)
    migration.reader(Input(BytesChannel(b"")), ReplyPath(None))
    postcopy = migration.ram.postcopy
    assert postcopy is not None
    postcopy.advise(advise(4096, 4096))
    good = record(sides.before["ram"], 204, named=True) + record(sides.before["ram"], 33, named=False) + EOS
    for _ in range(500):
        with contextlib.suppress(LoadFault), sides.destination.bql:
            migration.ram.load_urgent(Input(BytesChannel(nonsense(random, good))))
    with pytest.raises(LoadFault) as refused:
        migration.ram.load_urgent(Input(BytesChannel((0x80).to_bytes(8))))
    assert refused.value.said == ("Unknown combination of migration flags: 0x80 (postcopy mode)",)
    assert len(sides.destination.ram_blocks["ram"].data) == MIB << 20


# -- a guest that works, and other capabilities ----------------------------------------------------


def words(console: Path) -> tuple[str, ...]:
    """A guest that writes everywhere and checks what it wrote; it tells its steps."""
    console_words = (
        "-chardev",
        f"file,id=c,path={console}",
        "-device",
        "isa-debugcon,chardev=c,iobase=0x402",
    )
    return ("-machine", "isapc", "-m", "16", "-workload", "pages=1500,rate=3000,seed=3", *console_words)


def step(console: Path) -> int:
    """The last step that a guest told, 0 before the first."""
    lines = [line for line in console.read_text().splitlines() if line.startswith("workload: step ")]
    return int(lines[-1].split()[2]) if lines else 0


@pytest.mark.parametrize(
    ("old", "new", "more"), [("7.2", "7.2", ()), ("10.0", "11.1", ()), ("11.1", "11.1", ("multifd",))]
)
def test_a_guest_works_on_and_lost_nothing(old: str, new: str, more: tuple[str, ...], place: Path) -> None:
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(CutLink(place / "front", place / "back"))
        source = stack.enter_context(emulated(old, *words(place / "here")))
        there = stack.enter_context(emulated(new, *words(place / "there"), "-incoming", "defer"))
        until(lambda: step(place / "here") > 300, "a guest that works")
        for side in (source, there):
            side.enable(*CAPABILITIES, *more)
        source.command("migrate-set-parameters", **{"max-bandwidth": 4096, "max-postcopy-bandwidth": 400_000})
        there.command("migrate-incoming", uri=f"unix:{place / 'back'}")
        source.command("migrate", uri=f"unix:{place / 'front'}")
        source.command("migrate-start-postcopy")
        there.status("postcopy-active")
        link.cut_at(there=link.there + 200_000)
        for side in (source, there):
            side.status("postcopy-paused")
        source.command("migrate-set-parameters", **{"max-postcopy-bandwidth": 0})
        there.command("migrate-recover", uri=f"unix:{place / 'back'}")
        source.command("migrate", uri=f"unix:{place / 'front'}", resume=True)
        assert source.status("completed")["ram"]["postcopy-requests"] > 0
        there.status("completed")
        before = step(place / "there")
        until(lambda: step(place / "there") > before + 1500, "a guest that works on")
        assert there.command("query-status")["status"] == "running"


def test_it_is_opened_before_the_guest_stops(place: Path) -> None:
    sides = Sides.of(place, "11.1", "11.1", PREEMPT, keeps=True)
    with sides.link as link:
        enable(sides.source, "pause-before-switchover")
        sides.begin(SLOW)
        status(sides.source, "pre-switchover")
        until(lambda: len(link.kept) == 2, "the second connection")
        sides.source.migration.continue_("pre-switchover")
        status(sides.destination, "postcopy-active")
        assert sides.read(204) == sides.page(204)
        sides.arrived()
    assert bytes(link.kept[1]) == record(sides.before["ram"], 204, named=True)


def test_a_cancel_ends_the_wait_for_a_destination_that_does_not_answer(place: Path) -> None:
    source = none("10.0", mib=1)
    fill(source)
    enable(source, *CAPABILITIES)
    source.migration.set_parameters(
        {"max-bandwidth": 4096}
    )  # it must not converge before the postcopy is asked for
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "m"))
        listener.listen()
        source.migration.migrate(f"unix:{place / 'm'}")
        peer, _ = listener.accept()
        with peer:
            source.migration.start_postcopy()
            status(source, "active")
            until(lambda: peer.recv(1 << 16, socket.MSG_DONTWAIT), "a stream")
            source.migration.cancel()
            status(source, "cancelled")
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
