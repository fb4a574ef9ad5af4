# SPDX-License-Identifier: Apache-2.0
"""postcopy-preempt between real QEMU and the emulator, both ways, and between two of real QEMU; links break in it.

Machine `none` has no processor: the emulator's memory is read by the test, real QEMU's by `xp`; both wait for the
page, and ask for it. What went over each connection is looked at, and all of the memory is compared, byte by byte.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from random import Random
from typing import TYPE_CHECKING

import needs
import pytest
from certificates import authority, issue
from cut_link import CutLink
from migration_machines import enable, memory, status, target
from real_postcopies import MIB, RELEASES, loaded, recover, saved, started
from short_places import short_place
from urgent_records import EOS, record, without_names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from guests import Guest

pytestmark = pytest.mark.qemu
CAPABILITIES = ("postcopy-ram", "postcopy-preempt")
WAYS = [("qemu", "emulator"), ("emulator", "qemu"), ("qemu", "qemu")]
PAGES = (1500, 903, 1800)  # with content, and far from where the background is
EARLY = ("-global", "migration.x-preempt-pre-7-2=true")
OLD = (*EARLY, "-global", "migration.send-switchover-start=false")
SLOW = {"max-bandwidth": 4096, "max-postcopy-bandwidth": 4096}  # some 2,800,000 bytes: minutes
FLOW = {"max-postcopy-bandwidth": 60_000}


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that a container can write to, short enough for UNIX sockets."""
    with short_place("pq", 0o777) as path:
        yield path


@pytest.fixture(autouse=True)
def _engine() -> None:
    if shutil.which("docker") is None:
        needs.missing("docker")


def check_urgent(sent: bytes, memory: bytes, pair: tuple[str, str], *, ended: bool) -> None:
    """What a source sent over the second channel to a destination: the pages, in order, and nothing else.

    The end that a source sends there is waited for by 7.2 only; later destinations may close the channel before.
    """
    old, new = pair
    pages = [record(memory, number, named=number == PAGES[0]) for number in PAGES]
    wanted = b"".join(pages) + (EOS if ended and new == "7.2" else b"")
    found = sent if new == "7.2" else sent.removesuffix(EOS)
    if old == "7.2":
        assert without_names(found) == without_names(wanted)
    else:
        assert found == wanted


def destination_of(stack: ExitStack, kind: str, release: str, place: Path, *more: str) -> Guest:
    """A destination with the capabilities."""
    guest = started(stack, kind, release, place, *more)
    guest.enable(*CAPABILITIES)
    return guest


def source_of(stack: ExitStack, kind: str, release: str, place: Path, *more: str) -> Guest:
    """A source that was loaded from `before`."""
    guest = started(stack, kind, release, place, *more)
    guest.command("migrate-incoming", uri=f"exec:cat {place / 'before'}")
    guest.status("completed")
    guest.enable(*CAPABILITIES)
    guest.command("migrate-set-parameters", **SLOW)
    return guest


def begin(source: Guest, place: Path) -> None:
    source.command("migrate", uri=f"unix:{place / 'front'}")
    source.command("migrate-start-postcopy")
    source.status("postcopy-active")


def finish(source: Guest) -> None:
    source.command("migrate-set-parameters", **{"max-postcopy-bandwidth": 0})
    source.status("completed")


PAIRS = [
    *((release, release, ()) for release in RELEASES),
    ("7.2", "11.1", ()),
    ("11.1", "7.2", OLD),
    ("11.1", "11.1", EARLY),
]
NAMES = ["7.2", "10.0", "11.1", "7.2>11.1", "11.1>7.2", "11.1-early"]


@pytest.mark.parametrize(("old", "new", "more"), PAIRS, ids=NAMES)
def test_real_qemu_sends_the_emulator_what_it_waits_for(
    old: str, new: str, more: tuple[str, ...], place: Path
) -> None:
    before = saved(old, place)
    destination = target(new, mib=MIB)
    enable(destination, *CAPABILITIES)
    destination.migration.incoming(f"unix:{place / 'back'}")
    with ExitStack() as stack:
        link = stack.enter_context(CutLink(place / "front", place / "back", keeps=True))
        source = source_of(stack, "qemu", old, place, *more)
        begin(source, place)
        status(destination, "postcopy-active")
        for number in PAGES:
            with destination.bql:
                found = destination.ram_blocks["ram"].read(number * 4096, 4096)
            assert found == before["ram"][number * 4096 : number * 4096 + 4096]
        assert source.command("query-migrate")["status"] == "postcopy-active", "the background is slow"
        finish(source)
    assert status(destination)["status"] == "completed"
    assert memory(destination) == before
    assert destination.runstate == "running"
    check_urgent(bytes(link.kept[1]), before["ram"], (old, new), ended=old == "7.2" or bool(more))


@pytest.mark.parametrize(("old", "new", "more"), PAIRS, ids=NAMES)
def test_the_emulator_sends_real_qemu_what_it_waits_for(
    old: str, new: str, more: tuple[str, ...], place: Path
) -> None:
    before = saved(old, place)
    with ExitStack() as stack:
        link = stack.enter_context(CutLink(place / "front", place / "back", keeps=True))
        source = source_of(stack, "emulator", old, place, *more)
        destination = destination_of(stack, "qemu", new, place)
        destination.command("migrate-incoming", uri=f"unix:{place / 'back'}")
        begin(source, place)
        destination.status("postcopy-active")
        for number in PAGES:
            told = destination.command("human-monitor-command", command_line=f"xp /8xb {number * 4096}")
            found = bytes(int(word, 16) for word in told.partition(":")[2].split())
            assert found == before["ram"][number * 4096 : number * 4096 + 8]
        assert source.command("query-migrate")["status"] == "postcopy-active", "the background is slow"
        finish(source)
        destination.status("completed")
        save(destination, place)
    check_urgent(bytes(link.kept[1]), before["ram"], (old, new), ended=old == "7.2" or bool(more))
    assert loaded(new, place / "after") == before


def save(destination: Guest, place: Path, *more: str) -> None:
    """Save a guest that came into `after`, without these capabilities."""
    assert destination.command("query-status")["status"] == "running"
    destination.command("stop")
    destination.command("migrate-set-parameters", tls_creds="")
    off = [{"capability": name, "state": False} for name in (*CAPABILITIES, *more)]
    destination.command("migrate-set-capabilities", capabilities=off)
    destination.command("migrate", uri=f"exec:cat > {place / 'after'}")
    destination.status("completed")


@pytest.mark.parametrize(("here", "there"), WAYS)
@pytest.mark.parametrize("release", RELEASES)
def test_nothing_is_lost_when_links_break(here: str, there: str, release: str, place: Path) -> None:
    before = saved(release, place)
    random = Random(f"{here}{there}{release}")
    with ExitStack() as stack:
        link = stack.enter_context(CutLink(place / "front", place / "back", keeps=True))
        source = source_of(stack, here, release, place)
        destination = destination_of(stack, there, release, place)
        destination.command("migrate-incoming", uri=f"unix:{place / 'back'}")
        begin(source, place)
        source.command("migrate-set-parameters", **FLOW)
        for ahead in (random.randrange(1, 20_000), 0):
            destination.status("postcopy-active")
            link.cut_at(there=link.there + ahead)
            for side in (source, destination):
                side.status("postcopy-paused")
            recover(source, destination, place)
            source.status("postcopy-active")
        finish(source)
        destination.status("completed")
        save(destination, place)
    assert len(link.kept) == 6, "two connections each time"
    assert loaded(release, place / "after") == before


MODES = [*(("tls", release) for release in RELEASES), ("multifd", "11.1")]
MODE_NAMES = ["-".join(mode) for mode in MODES]


@pytest.mark.parametrize(("here", "there"), WAYS[:2])
@pytest.mark.parametrize(("mode", "release"), MODES, ids=MODE_NAMES)
def test_it_goes_with_encryption_and_multifd(
    here: str, there: str, mode: str, release: str, place: Path
) -> None:
    before = saved(release, place)
    tls = mode == "tls"
    credentials = f"tls-creds-x509,id=tls0,dir={issue(place / 'tls', authority(), 'localhost')},endpoint="
    ours, theirs = (("-object", credentials + end) if tls else () for end in ("client", "server"))
    with ExitStack() as stack:
        link = stack.enter_context(CutLink(place / "front", place / "back"))
        source = source_of(stack, here, release, place, *ours)
        destination = destination_of(stack, there, release, place, *theirs)
        for side in (source, destination):
            if tls:
                side.command("migrate-set-parameters", tls_creds="tls0")
            else:
                side.enable("multifd")
        if tls:
            source.command("migrate-set-parameters", tls_hostname="localhost")
        destination.command("migrate-incoming", uri=f"unix:{place / 'back'}")
        begin(source, place)
        assert len(link.kept) == (2 if tls else 4)
        finish(source)
        destination.status("completed")
        save(destination, place, *([] if tls else ["multifd"]))
    assert loaded(release, place / "after") == before
