# SPDX-License-Identifier: Apache-2.0
"""One migration at a time, and what `query-migrate` tells of it in each status, in each release line.

The keys are those of real QEMU 5.2, 7.2, 10.0 and 11.1 (`stream-format`, QMP surface).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import pytest
from migration_machines import RELEASES, enable, fill, memory, none, runs, status, target, until
from told_migrations import send, stay, told, waiting
from whole_streams import Sink

from migmatrix.emulator.errors import QmpError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BUSY: Final = "There's a migration process in progress"


# -- one at a time -------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["setup", "active", "pre-switchover", "device"])
@pytest.mark.parametrize("release", RELEASES)
def test_another_migration_must_wait(release: str, at: str, tmp_path: Path) -> None:
    source = runs(release, mib=1)
    kept = stay(source, at, tmp_path)
    status(source, at)
    with pytest.raises(QmpError, match=BUSY):
        source.migration.migrate(f"exec:cat > {tmp_path / 'other'}")
    with pytest.raises(QmpError, match=BUSY):
        enable(source, "xbzrle")
    with pytest.raises(QmpError, match=BUSY):
        source.migration.save_snapshot(Sink(), lambda: None)
    assert not source.migration.capabilities["xbzrle"]
    source.migration.set_parameters({"downtime-limit": 17})  # that may be changed on the way
    assert source.migration.parameters["downtime-limit"] == 17
    assert not (tmp_path / "other").exists()
    source.migration.cancel()
    status(source, "cancelled")
    for end in kept:
        end.close()


@pytest.mark.parametrize("release", RELEASES)
def test_two_migrations_in_a_row(release: str, tmp_path: Path) -> None:
    """A guest that has left can leave once more only after it ran here again (6.0)."""
    source = runs(release, mib=1)
    source.migration.migrate(f"exec:cat > {tmp_path / 'one'}")
    status(source, "completed")
    if release == "5.2":
        source.migration.migrate(f"exec:cat > {tmp_path / 'two'}")
    else:
        with pytest.raises(QmpError, match="Can't migrate the vm that was paused due to previous migration"):
            source.migration.migrate(f"exec:cat > {tmp_path / 'two'}")
        assert source.migration.query()["status"] == "completed"
        source.vm_start()
        source.migration.migrate(f"exec:cat > {tmp_path / 'two'}")
    until(lambda: told(source).count("completed") == 2, "the second end")
    assert source.migration.progress.status.value == "completed"
    there = target(release)
    there.migration.incoming(f"exec:cat {tmp_path / 'two'}")
    status(there, "completed")
    assert memory(there) == memory(source)


@pytest.mark.parametrize("release", RELEASES)
def test_figures_begin_anew_with_each_migration(release: str, tmp_path: Path) -> None:
    source = runs(release, mib=1)
    seen = []
    for name in ("one", "two"):
        source.migration.migrate(f"exec:cat > {tmp_path / name}")
        status(source, "completed")
        ram = status(source, "completed")["ram"]
        seen.append((ram["normal"] + ram["duplicate"], ram["transferred"] // 4096))
        assert ram["transferred"] <= (tmp_path / name).stat().st_size
        source.vm_start()
    assert seen[0] == seen[1]


@pytest.mark.parametrize("release", RELEASES)
def test_a_guest_that_waits_for_a_stream_cannot_leave(release: str) -> None:
    there = target(release)
    with pytest.raises(QmpError, match="Guest is waiting for an incoming migration"):
        there.migration.migrate("exec:cat > /dev/null")
    assert there.runstate == "inmigrate"


@pytest.mark.parametrize("release", RELEASES)
def test_a_stream_is_waited_for_once_and_only_where_it_was_said(release: str, tmp_path: Path) -> None:
    with pytest.raises(QmpError, match="'-incoming' was not specified on the command line"):
        none(release).migration.incoming(f"unix:{tmp_path / 'x'}")
    there = waiting(release, tmp_path)
    with pytest.raises(QmpError, match="The incoming migration has already been started"):
        there.migration.incoming(f"unix:{tmp_path / 'y'}")
    assert not os.path.lexists(tmp_path / "y")
    assert there.migration.query().get("status") == LISTENS[release]


@pytest.mark.parametrize(
    ("act", "text"),
    [
        (lambda m: m.pause(), "migrate-pause is currently only supported during postcopy-active"),
        (lambda m: m.start_postcopy(), "Enable postcopy with migrate_set_capability before the start of migration"),
        (lambda m: m.recover("unix:x"), "Migrate recover can only be run when postcopy is paused."),
        (lambda m: m.migrate("unix:x", resume=True), "Cannot resume if there is no paused migration"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("release", RELEASES)
def test_what_only_postcopy_can_do_is_refused(release: str, act: Callable[[Any], None], text: str) -> None:
    machine = runs(release, mib=1)
    with pytest.raises(QmpError) as refused:
        act(machine.migration)
    assert refused.value.desc.startswith(text)
    assert (machine.migration.query(), machine.runstate) == ({}, "running")


# -- query-migrate -------------------------------------------------------------------------------

RAM: Final = {
    "transferred", "remaining", "total", "duplicate", "normal", "normal-bytes", "dirty-pages-rate", "mbps",
    "dirty-sync-count", "postcopy-requests", "page-size", "multifd-bytes", "pages-per-second",
}  # fmt: skip
BYTES: Final = {"precopy-bytes", "downtime-bytes", "postcopy-bytes", "dirty-sync-missed-zero-copy"}
RAM_KEYS: Final = {
    "5.2": RAM | {"skipped"},
    "7.2": RAM | BYTES | {"skipped"},
    "10.0": RAM | BYTES,
    "11.1": RAM | BYTES,
}
LISTENS: Final = {"5.2": None, "7.2": None, "10.0": "setup", "11.1": "setup"}  # what a destination tells
ON_THE_WAY: Final = {"status", "total-time", "setup-time", "expected-downtime", "ram"}


@pytest.mark.parametrize("at", ["active", "pre-switchover", "device"])
@pytest.mark.parametrize("release", RELEASES)
def test_what_is_told_on_the_way(release: str, at: str, tmp_path: Path) -> None:
    source = runs(release, mib=1)
    kept = stay(source, at, tmp_path)
    answer = status(source, at)
    source.migration.cancel()
    status(source, "cancelled")
    for end in kept:
        end.close()
    assert answer.keys() == ON_THE_WAY | ({"remaining"} if release == "11.1" else set())
    assert answer["ram"].keys() == RAM_KEYS[release]
    assert answer["ram"]["total"] == 1 << 20
    assert 0 <= answer["ram"]["remaining"] <= 1 << 20
    assert answer["ram"]["normal-bytes"] == answer["ram"]["normal"] * answer["ram"]["page-size"]


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_told_at_the_end(release: str, tmp_path: Path) -> None:
    source, there = runs(release, mib=1), waiting(release, tmp_path)
    assert source.migration.query() == {}
    told = {"socket-address"} | ({"status"} if LISTENS[release] else set())
    assert there.migration.query().keys() == told
    send(source, tmp_path)
    answer = status(source, "completed")
    status(there, "completed")
    assert answer.keys() == {"status", "total-time", "setup-time", "downtime", "ram"}
    assert answer["ram"].keys() == RAM_KEYS[release]
    assert answer["ram"]["remaining"] == 0
    assert answer["downtime"] <= answer["total-time"]
    assert answer["ram"]["normal"] + answer["ram"]["duplicate"] >= 256
    if release != "5.2":
        ram = answer["ram"]
        assert ram["precopy-bytes"] + ram["downtime-bytes"] + ram["postcopy-bytes"] == ram["transferred"]


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_told_of_a_failure_and_of_a_cancel(release: str, tmp_path: Path) -> None:
    source = runs(release, mib=1)
    send(source, tmp_path)
    assert status(source, "failed").keys() == {"status", "error-desc"}
    kept = stay(source, "active", tmp_path)
    status(source, "active")
    assert "error-desc" not in source.migration.query()
    source.migration.cancel()
    assert status(source, "cancelled").keys() == {"status"}
    for end in kept:
        end.close()


@pytest.mark.parametrize("release", RELEASES)
def test_what_the_guest_writes_on_the_way_arrives(release: str, tmp_path: Path) -> None:
    """Written in `setup`, in `active` and in a pass that has begun: nothing of it is lost."""
    source, there = none(release, mib=4), target(release, mib=4)
    fill(source)
    source.vm_start()
    enable(source, "pause-before-switchover")
    there.migration.incoming(f"unix:{tmp_path / 's'}")
    source.migration.set_parameters({"max-bandwidth": 1 << 20})
    send(source, tmp_path)
    (block,) = source.ram_blocks.values()
    status(source, "active")
    for page in range(0, block.pages, 7):
        block.write(page * 4096 + page, b"late %d" % page)
    source.migration.set_parameters({"max-bandwidth": 0})
    status(source, "pre-switchover")
    before = memory(source)
    source.migration.continue_("pre-switchover")
    status(there, "completed")
    assert memory(there) == before == memory(source)
