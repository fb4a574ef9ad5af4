# SPDX-License-Identifier: Apache-2.0
"""Postcopy over a link that breaks, between real QEMU and the emulator, both ways, and between two of real QEMU.

The guest's memory is compared, byte by byte, by loading what the destination saves afterwards.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import needs
import pytest
from cut_link import CutLink
from guests import emulated
from real_postcopies import MACHINE, RELEASES, loaded, recover, saved, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from guests import Guest

pytestmark = pytest.mark.qemu
_FAST, _SLOW = 0, 60_000  # bytes per second


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that a container can write to, short enough for UNIX sockets."""
    path = Path(tempfile.mkdtemp(prefix="rq-", dir="/tmp"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


def migrate(source: Guest, destination: Guest, place: Path, random: Random) -> None:
    """A postcopy whose link breaks at random bytes of its first third, once in each direction."""
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
        link.cut_at(there=link.there + random.randrange(1, 20_000))
        for side in (source, destination):
            side.status("postcopy-paused")
        recover(source, destination, place)
        for side in (source, destination):
            side.status("postcopy-active")
        link.cut()
        for side in (source, destination):
            side.status("postcopy-paused")
        source.command("migrate-set-parameters", **{"max-postcopy-bandwidth": _FAST})
        recover(source, destination, place)
        for side in (source, destination):
            side.status("completed")


@pytest.mark.parametrize(("here", "there"), [("qemu", "emulator"), ("emulator", "qemu"), ("qemu", "qemu")])
@pytest.mark.parametrize("release", RELEASES)
def test_nothing_is_lost_between_real_qemu_and_the_emulator(
    here: str, there: str, release: str, place: Path
) -> None:
    if shutil.which("docker") is None:
        needs.missing("docker")
    before = saved(release, place)
    with ExitStack() as stack:
        source = started(stack, here, release, place)
        destination = started(stack, there, release, place)
        source.command("migrate-incoming", uri=f"exec:cat {place / 'before'}")
        source.status("completed")
        migrate(source, destination, place, Random(f"{here}{there}{release}"))
        setup = ["postcopy-recover-setup"] if release != "7.2" else []
        again = ["postcopy-paused", *setup, "postcopy-recover", "postcopy-active"]
        told = source.statuses
        assert told[told.index("postcopy-active") + 1 :] == [*again, *again, "completed"]
        assert source.command("query-status")["status"] == "postmigrate"
        assert destination.command("query-status")["status"] == "running"
        destination.command("stop")
        off = [{"capability": "postcopy-ram", "state": False}]  # `cat` answers nothing
        destination.command("migrate-set-capabilities", capabilities=off)
        destination.command("migrate", uri=f"exec:cat > {place / 'after'}")
        destination.status("completed")
    assert loaded(release, place / "after") == before


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
