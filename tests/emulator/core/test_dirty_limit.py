# SPDX-License-Identifier: Apache-2.0
"""The dirty limit: its arithmetic, what writers and readers get, its commands, and a migration that sets it.

Time is a host clock that the tests move. Texts without a dirty ring are those of real QEMU 7.2.22, 10.0.13 and 11.1.3
under TCG; with one they are those of its source, as no host of ours has KVM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from migration_machines import RELEASES, Box, enable, fill, make, none, status
from monitor_calls import call, said
from whole_streams import loaded, saved

from migmatrix.emulator.clock import Clock
from migmatrix.emulator.dirtylimit import DirtyLimit, full_time_us, next_penalty
from migmatrix.emulator.dirtyring import Ring
from migmatrix.emulator.errors import FatalError, QmpError
from migmatrix.emulator.guest import start_guest
from migmatrix.emulator.memory import RamBlock
from migmatrix.emulator.migration.converge import Converge
from migmatrix.emulator.vcpuguest import VcpuGuest

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 256  # pages
NO_RING = "dirty page limit feature requires KVM with accelerator property 'dirty-ring-size' set'"
HINT = "[Please use 'info vcpu_dirty_limit' to query dirty limit for virtual CPU]\n"
SLICE = 5_000_000  # ns


class Cpus:
    """A machine with a program on each processor; `go` moves its host's clock and gives the rates of each second."""

    def __init__(
        self,
        *,
        cpus: int = 2,
        readers: int = 1,
        rate: int = 400,
        release: str = "10.0",
        words: tuple[str, ...] = (),
    ) -> None:
        work = f"pages={8 * MIB},rate={rate * MIB},readers={readers}"
        self.machine: Box = make(
            release, "-M", "pc-i440fx-7.2", "-smp", str(cpus), "-m", "32", "-nodefaults", "-accel", "model,dirty-ring-size=1024",
            "-workload", work, *words,
        )  # fmt: skip
        self.ns = 0
        self.machine.clock = Clock(lambda: self.ns)
        self.said: list[bytes] = []
        guest = start_guest(self.machine, self.said.append)
        assert isinstance(guest, VcpuGuest)
        self.guest = guest
        limit = self.machine.dirty_limit
        assert limit is not None
        self.limit: DirtyLimit = limit

    def go(self, seconds: int) -> list[list[int]]:
        """MiB that each processor wrote or read in each second."""
        return [self._second() for _ in range(seconds)]

    def _second(self) -> list[int]:
        before = list(self.guest.done)
        for _ in range(200):
            self.ns += SLICE
            self.machine.clock.fire()
        return [(now - then) // MIB for now, then in zip(self.guest.done, before, strict=True)]


def started(**how: Any) -> Cpus:
    cpus = Cpus(**how)
    cpus.machine.vm_start()
    return cpus


@pytest.mark.parametrize(
    ("quota", "rate", "now", "wanted"),
    [
        (100, 125, 777, 777),  # near enough
        (100, 75, 777, 777),
        (100, 126, 777, 1777),  # less than half away: a tenth of the time that the ring takes
        (100, 74, 1777, 777),
        (100, 200, 0, 1000),  # exactly half is near
        (100, 400, 0, 30000),  # far: 75 % of the time asleep
        (100, 400, 5000, 35000),
        (400, 100, 35000, 5000),
        (400, 100, 10000, 0),  # never less than nothing
        (1, 100_000, 0, 990_000),
        (1, 100_000, 900_000, 990_000),  # never more than 99 times as long
        (100, 0, 777, 0),  # a guest that does nothing
    ],
)
def test_the_penalty(quota: int, rate: int, now: int, wanted: int) -> None:
    assert next_penalty(quota, rate, now, 10_000) == wanted


@pytest.mark.parametrize(("size", "rate", "us"), [(4096, 400, 40_000), (1024, 3, 1_333_333), (128, 100, 0)])
def test_the_time_in_which_a_ring_fills(size: int, rate: int, us: int) -> None:
    assert full_time_us(size, rate) == us


def test_a_ring_has_a_page_once_until_it_is_reaped() -> None:
    ring, block = Ring(4), RamBlock("ram", 16 * 4096)
    assert not ring.enter(block, 0, 3)
    assert not ring.enter(block, 1, 3)
    assert (ring.dirtied, ring.room) == (3, 1)
    assert ring.enter(block, 3, 4)
    assert (ring.dirtied, ring.room) == (4, 4)
    assert not ring.enter(block, 0, 1)
    ring.reap()
    assert (ring.dirtied, ring.room) == (5, 4)


def test_a_touch_is_a_write() -> None:
    """Marked, guarded, and it counts as written."""
    block, told = RamBlock("ram", 8 << 12), list[tuple[int, int, int]]()
    block.start_log()
    block.guard = lambda guarded, first, end: told.append((first, end, guarded.data[first << 12]))
    block.touch(2, 4, 9)
    assert told == [(2, 4, 0)]
    assert block.first_bytes(1, 5) == bytes((0, 9, 9, 0))
    assert block.take_log() == bytes((0, 0, 1, 1, 0, 0, 0, 0))
    assert not block.untouched(0, 4096)


@pytest.mark.parametrize(("quota", "rate"), [(100, 400), (60, 100), (200, 400), (350, 400)])
def test_writers_are_slowed_to_the_quota_and_readers_are_not(quota: int, rate: int) -> None:
    cpus = started(rate=rate)
    assert all(abs(done - rate) <= 2 for done in cpus.go(1)[0])
    cpus.limit.set(quota)
    found = cpus.go(16)
    assert all(reads >= rate - 3 for _, reads in found)
    writes = [written for written, _ in found]
    assert all(abs(written - quota) <= 26 for written in writes[-6:])
    assert cpus.limit.rates[1] == 0
    assert not cpus.said or b"does not hold" not in b"".join(cpus.said)


def test_the_rate_does_not_swing() -> None:
    """Once it is near the quota the penalty stays."""
    cpus = started()
    cpus.limit.set(100)
    cpus.go(4)
    penalty = cpus.limit.rings[0].penalty_us
    later = [written for written, _ in cpus.go(10)]
    assert penalty > 0
    assert cpus.limit.rings[0].penalty_us == penalty
    assert max(later) - min(later) <= 8


def test_a_limit_that_is_cancelled_lets_the_guest_go() -> None:
    cpus = started()
    cpus.limit.set(100)
    cpus.go(3)
    cpus.limit.set(0)
    cpus.go(1)
    assert cpus.go(1)[0][0] >= 398
    assert not cpus.limit.in_service


def test_a_limit_of_one_processor_leaves_the_others() -> None:
    cpus = started(readers=0)
    cpus.limit.set(100, 1)
    one, other = cpus.go(4)[-1]
    assert (one >= 398, abs(other - 100) <= 26) == (True, True)


@pytest.mark.parametrize(("release", "rate"), [("7.2", 9), ("10.0", 10)])
def test_an_old_release_loses_what_is_no_whole_mib(release: str, rate: int) -> None:
    """It makes MiB of the pages before it takes the time into account."""
    machine = none(release, "-accel", "model,dirty-ring-size=65536")
    ns = 0
    machine.clock = Clock(lambda: ns)
    limit = machine.dirty_limit
    assert limit is not None
    machine.vm_start()
    limit.set(100)
    limit.rings[0].dirtied = 10 * MIB - 1 + MIB // 100
    ns = 999_000_000
    machine.clock.fire()
    ns = 1_000_000_000
    limit.rings[0].dirtied = 10 * MIB - 1 if release == "7.2" else 10 * MIB
    machine.clock.fire()
    assert limit.rates == [rate]


def test_all_programs_travel_and_go_on() -> None:
    source = started()
    source.limit.set(100)
    source.go(1)
    source.ns += SLICE
    source.machine.clock.fire()
    source.machine.vm_stop()
    there = Cpus(words=("-incoming", "defer"))
    assert loaded(there.machine, saved(source.machine)) == (0, [])
    there.machine.vm_start()
    there.go(1)
    assert all(now > then for now, then in zip(there.guest.done, source.guest.done, strict=True))
    assert there.machine.running


def test_a_wrong_page_is_found() -> None:
    cpus = started(cpus=1, readers=0)
    cpus.go(1)
    where = (257 + 5) * 4096
    block = cpus.machine.main_ram
    assert block is not None
    block.store(where, bytes((block.data[where] ^ 1,)))
    cpus.go(1)
    assert cpus.machine.runstate == "guest-panicked"
    assert b"page 5 of processor 0 does not hold what round" in cpus.said[-1]


def test_more_readers_than_processors() -> None:
    with pytest.raises(FatalError, match="-workload readers=3: there are 2 processors"):
        Cpus(readers=3)


# -- commands ------------------------------------------------------------------------------------


def execute(machine: Box, name: str, **arguments: Any) -> Any:
    named = {key.replace("_", "-"): value for key, value in arguments.items()}
    with call(machine) as made:
        found = made.server.command(name)
        if found is None:
            return "unknown"
        try:
            found.arguments.check(named, "", made.release)
            return found.handler(made, named)
        except QmpError as error:
            return error.desc


@pytest.mark.parametrize("release", RELEASES)
def test_without_rings_it_is_refused(release: str) -> None:
    machine = none(release)
    known = release != "5.2"
    assert execute(machine, "set-vcpu-dirty-limit", dirty_rate=10) == (NO_RING if known else "unknown")
    assert execute(machine, "set-vcpu-dirty-limit", dirty_rate=-1) == (NO_RING if known else "unknown")
    assert execute(machine, "set-vcpu-dirty-limit", cpu_index=7, dirty_rate=1) == (
        NO_RING if known else "unknown"
    )
    assert execute(machine, "cancel-vcpu-dirty-limit", cpu_index=5) == ({} if known else "unknown")
    assert execute(machine, "query-vcpu-dirty-limit") == ([] if known else "unknown")
    if known:
        assert execute(machine, "set-vcpu-dirty-limit") == "Parameter 'dirty-rate' is missing"


TOO_MUCH = """\
vcpu_dirty_limit: extraneous characters at the end of line
Try "help info vcpu_dirty_limit" for more information
"""
HELP = 'Try "help set_vcpu_dirty_limit" for more information\n'


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("info vcpu_dirty_limit", "Dirty page limit not enabled!\n"),
        ("set_vcpu_dirty_limit", f"unexpected end of expression\n{HELP}"),
        ("set_vcpu_dirty_limit 10", f"Error: {NO_RING}\n"),
        ("set_vcpu_dirty_limit 10 9", f"Error: {NO_RING}\n"),
        ("set_vcpu_dirty_limit x", f"invalid char 'x' in expression\n{HELP}"),
        ("set_vcpu_dirty_limit 10 x", f"invalid char 'x' in expression\n{HELP}"),
        ("set_vcpu_dirty_limit 1 2 3", f"set_vcpu_dirty_limit: extraneous characters at the end of line\n{HELP}"),
        ("cancel_vcpu_dirty_limit", HINT),
        ("cancel_vcpu_dirty_limit 5", HINT),
        ("info vcpu_dirty_limit 3", TOO_MUCH),
    ],
)  # fmt: skip
@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
def test_the_human_forms(line: str, wanted: str, release: str) -> None:
    assert said(none(release), line) == wanted


def test_human_forms_by_release() -> None:
    assert said(none("5.2"), "set_vcpu_dirty_limit 10") == "unknown command: 'set_vcpu_dirty_limit'\n"
    assert said(none("7.2"), "set_vcpu_dirty_limit -1") == f"Error: {NO_RING}\n"
    assert said(none("10.0"), "set_vcpu_dirty_limit -1") == "Error: invalid dirty page limit -1\n"


def ringed(release: str) -> Box:
    return none(release, "-accel", "model,dirty-ring-size=1024")


@pytest.mark.parametrize(("release", "hint"), [("7.2", HINT), ("10.0", "")])
def test_a_limit_is_set_and_told(release: str, hint: str) -> None:
    machine = ringed(release)
    assert (
        execute(machine, "set-vcpu-dirty-limit", cpu_index=1, dirty_rate=9) == "incorrect cpu index specified"
    )
    assert execute(machine, "cancel-vcpu-dirty-limit", cpu_index=-1) == "incorrect cpu index specified"
    assert execute(machine, "set-vcpu-dirty-limit", dirty_rate=50) == {}
    told = {"cpu-index": 0, "limit-rate": 50, "current-rate": 0}
    assert execute(machine, "query-vcpu-dirty-limit") == [told]
    assert said(machine, "set_vcpu_dirty_limit 60 0") == hint
    shown = "vcpu[0], limit rate 60 (MB/s), current rate 0 (MB/s)\n"
    assert said(machine, "info vcpu_dirty_limit") == shown
    assert execute(machine, "set-vcpu-dirty-limit", dirty_rate=0) == {}
    assert execute(machine, "query-vcpu-dirty-limit") == []


@pytest.mark.parametrize(
    ("size", "words"),
    [("3", "dirty-ring-size must be a power of two."), ("x", "Parameter 'dirty-ring-size' expects uint64")],
)
@pytest.mark.parametrize("accel", ["kvm", "model"])
def test_the_size_of_a_ring(accel: str, size: str, words: str) -> None:
    with pytest.raises(FatalError, match=f"-accel {accel},dirty-ring-size={size}: {words}"):
        none("10.0", "-accel", f"{accel},dirty-ring-size={size}")


@pytest.mark.parametrize(("accel", "release"), [("tcg", "11.1"), ("kvm", "5.2"), ("model", "5.2")])
def test_who_has_no_rings(accel: str, release: str) -> None:
    with pytest.raises(FatalError, match=f"Property '{accel}-accel.dirty-ring-size' not found"):
        none(release, "-accel", f"{accel},dirty-ring-size=1024")


def test_the_ring_is_that_of_the_accelerator_that_works() -> None:
    assert none("10.0", "-accel", "kvm,dirty-ring-size=1024", "-accel", "tcg").dirty_limit is None


# -- migration -----------------------------------------------------------------------------------


def test_the_capability_needs_rings_and_no_auto_converge() -> None:
    with pytest.raises(
        QmpError, match="dirty-limit requires KVM with accelerator property 'dirty-ring-size' set"
    ):
        enable(none("10.0"), "dirty-limit")
    with pytest.raises(
        QmpError, match="dirty-limit conflicts with auto-converge either of then available currently"
    ):
        enable(none("10.0"), "dirty-limit", "auto-converge")
    with pytest.raises(QmpError, match="Parameter 'capability' does not accept value 'dirty-limit'"):
        enable(ringed("7.2"), "dirty-limit")
    machine = ringed("10.0")
    enable(machine, "dirty-limit")
    with pytest.raises(QmpError, match="conflicts"):
        enable(machine, "auto-converge")


@pytest.fixture
def migrating() -> Iterator[Box]:
    """A guest that is being sent slowly, with the capability."""
    machine = none("10.0", "-accel", "model,dirty-ring-size=1024", mib=8)
    fill(machine)
    machine.vm_start()
    enable(machine, "dirty-limit")
    machine.migration.set_parameters({"max-bandwidth": 1 << 16, "vcpu-dirty-limit": 30})
    machine.migration.migrate("exec:cat > /dev/null")
    status(machine, "active")
    yield machine
    machine.migration.cancel()
    status(machine, "cancelled")


def test_a_migration_limits_the_guest_and_lets_it_go(migrating: Box) -> None:
    converge, limit = migrating.migration.ram.converge, migrating.dirty_limit
    assert converge is not None and limit is not None  # noqa: PT018 - for the type checker
    assert "dirty-limit-ring-full-time" not in migrating.migration.query()
    converge.period(100, 100)
    assert not limit.in_service
    converge.period(100, 100)
    assert limit.quotas == {0: 30}
    limit.rings[0].penalty_us = 1234
    limit.rates[0] = 200
    told = migrating.migration.query()
    assert told["dirty-limit-throttle-time-per-round"] == 1234
    assert told["dirty-limit-ring-full-time"] == 20_000
    shown = said(migrating, "info migrate")
    assert "dirty-limit throttle time: 1234 us\ndirty-limit ring full time: 20000 us\n" in shown
    words = "can't {} dirty page rate limit while migration is running"
    assert execute(migrating, "set-vcpu-dirty-limit", dirty_rate=9) == words.format("set")
    assert execute(migrating, "cancel-vcpu-dirty-limit") == words.format("cancel")
    migrating.migration.cancel()
    status(migrating, "cancelled")
    assert not limit.in_service


def test_a_new_quota_is_taken_with_the_next_step() -> None:
    machine = ringed("10.0")
    enable(machine, "dirty-limit")
    limit, settings = machine.dirty_limit, machine.migration.settings
    assert limit is not None
    converge = Converge(machine, settings)
    for quota in (1, 70):
        machine.migration.set_parameters({"vcpu-dirty-limit": quota})
        converge.period(100, 100)
        converge.period(100, 100)
        assert limit.quotas == {0: quota}
    converge.stop()
    assert not limit.in_service
