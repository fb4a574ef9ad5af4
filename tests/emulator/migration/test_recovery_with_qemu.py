# SPDX-License-Identifier: Apache-2.0
"""Postcopy over a link that breaks, between real QEMU and the emulator, both ways, and between two of real QEMU.

The guest's memory is compared, byte by byte, by loading what the destination saves afterwards.
``MIGMATRIX_REAL_RECOVERIES=100`` makes so many recoveries in all, 18 by default.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack, contextmanager
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import needs
import pytest
from cut_link import CutLink
from guests import emulated
from migration_machines import until
from real_postcopies import MACHINE, RELEASES, loaded, recover, saved, started
from short_places import short_place
from trial_counts import note, share

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from guests import Guest

pytestmark = pytest.mark.qemu
_FAST, _SLOW, _QUICK = 0, 60_000, 400_000  # bytes per second
_MOST, _FEW = 1_800_000, 200_000  # of some 2,800,000 bytes of pages
WAYS = [("qemu", "emulator"), ("emulator", "qemu"), ("qemu", "qemu")]
_BITMAP = 250  # of some 280 bytes in which a destination says what came
# Each postcopy has two recoveries at least.
COUNT = share("MIGMATRIX_REAL_RECOVERIES", 18, 2 * len(WAYS) * len(RELEASES))


@contextmanager
def shared() -> Iterator[Path]:
    """A directory that a container can write to, short enough for UNIX sockets."""
    with short_place("rq", 0o777) as path:
        yield path


@pytest.fixture
def place() -> Iterator[Path]:
    """The same for a test."""
    with shared() as path:
        yield path


def break_recovery(link: CutLink, source: Guest, destination: Guest, place: Path, back: int) -> None:
    """Have a recovery break in the bitmaps with which the destination answers, which pauses both again."""
    link.cut_at(back_again=link.back_again + back)
    recover(source, destination, place)
    for side in (source, destination):
        until(partial(paused, side, 2), "the second pause")


def paused(side: Guest, times: int) -> bool:
    """Whether it has told so often that it is paused."""
    side.command("query-status")
    return side.statuses.count("postcopy-paused") == times


def cut_and_recover(
    link: CutLink, source: Guest, destination: Guest, place: Path, ahead: int, back: int = 0
) -> None:
    """Break the link so many bytes on, and go on slowly over another one; with `back`, over the one behind that."""
    link.cut_at(there=link.there + ahead)
    for side in (source, destination):
        side.status("postcopy-paused")
    # while nothing flows: what is left may have gone before anybody can ask for it afterwards
    source.command("migrate-set-parameters", **{"max-postcopy-bandwidth": _SLOW})
    if back:
        break_recovery(link, source, destination, place, back)
    recover(source, destination, place)
    for side in (source, destination):
        side.status("postcopy-active")


def migrate(source: Guest, destination: Guest, place: Path, random: Random, *, again: bool) -> list[int]:
    """A postcopy whose link breaks twice; after how many bytes of it. `again`: and in the first recovery.

    At a random byte of the first two thirds, and again behind it: what a source has written is in the sockets on the way,
    and when that is all, real ones fail.
    """
    front, back = place / "front", place / "back"
    with CutLink(front, back) as link:
        for side in (source, destination):
            side.enable("postcopy-ram")
        limits = {"max-bandwidth": 4096, "max-postcopy-bandwidth": _SLOW}
        source.command("migrate-set-parameters", **limits)
        destination.command("migrate-incoming", uri=f"unix:{back}")
        source.command("migrate", uri=f"unix:{front}")
        source.command("migrate-start-postcopy")
        for side in (source, destination):
            side.status("postcopy-active")
        began, first, second = link.there, random.randrange(1, _MOST), random.randrange(1, _FEW)
        source.command("migrate-set-parameters", **{"max-postcopy-bandwidth": _QUICK})
        answers = random.randrange(1, _BITMAP) if again else 0
        cut_and_recover(link, source, destination, place, first, answers)
        places = [first, link.there - began + second]
        cut_and_recover(link, source, destination, place, second)
        source.command("migrate-set-parameters", **{"max-postcopy-bandwidth": _FAST})
        for side in (source, destination):
            side.status("completed")
    return places


@pytest.mark.timeout(300 + 60 * COUNT)
@pytest.mark.parametrize(("here", "there"), WAYS)
@pytest.mark.parametrize("release", RELEASES)
def test_nothing_is_lost_between_real_qemu_and_the_emulator(here: str, there: str, release: str) -> None:
    if shutil.which("docker") is None:
        needs.missing("docker")
    for seed in range(COUNT):
        with shared() as place:
            places = trial(here, there, release, place, Random(f"{here}{there}{release}{seed or ''}"))
        for at in places:
            note("real recovery", f"{here}>{there} {release}", seed, f"from {at // 200_000 * 200} KB on")
        if release != "7.2":
            note("real recovery", f"{here}>{there} {release}", seed, "in the bitmaps")


def trial(here: str, there: str, release: str, place: Path, random: Random) -> list[int]:
    """One postcopy; where its link was cut."""
    before = saved(release, place)
    with ExitStack() as stack:
        source = started(stack, here, release, place)
        destination = started(stack, there, release, place)
        source.command("migrate-incoming", uri=f"exec:cat {place / 'before'}")
        source.status("completed")
        old = release == "7.2"  # a recovery that fails is its last
        places = migrate(source, destination, place, random, again=not old)
        tries = ["postcopy-paused", *([] if old else ["postcopy-recover-setup"]), "postcopy-recover"]
        again = [*tries, "postcopy-active"]
        told = source.statuses
        first = again if old else [*tries, *again]
        assert told[told.index("postcopy-active") + 1 :] == [*first, *again, "completed"]
        assert source.command("query-status")["status"] == "postmigrate"
        assert destination.command("query-status")["status"] == "running"
        destination.command("stop")
        off = [{"capability": "postcopy-ram", "state": False}]  # `cat` answers nothing
        destination.command("migrate-set-capabilities", capabilities=off)
        destination.command("migrate", uri=f"exec:cat > {place / 'after'}")
        destination.status("completed")
    assert loaded(release, place / "after") == before
    return places


@pytest.mark.parametrize("release", RELEASES)
def test_both_tell_alike_how_long_a_guest_waited(release: str, place: Path) -> None:
    if shutil.which("docker") is None:
        needs.missing("docker")
    told = []
    for kind in ("qemu", "emulator"):
        with ExitStack() as stack:
            source = stack.enter_context(emulated(release, *MACHINE))
            destination = started(stack, kind, release, place)
            for side in (source, destination):
                side.enable("postcopy-ram", "postcopy-blocktime")
            source.command("migrate-set-parameters", **{"max-bandwidth": 4096})
            destination.command("migrate-incoming", uri=f"unix:{place / 'back'}")
            source.command("migrate", uri=f"unix:{place / 'back'}")
            source.command("migrate-start-postcopy")
            found = destination.status("completed")
            found.pop("socket-address", None)  # QEMU tells it for a moment longer
            told.append({name: len(v) if isinstance(v, list) else type(v) for name, v in found.items()})
    assert told[0] == told[1]
    assert told[0]["postcopy-vcpu-blocktime"] == 1
