# SPDX-License-Identifier: Apache-2.0
"""auto-converge slows the guest down by QEMU's rule, and gives it back its time; real QEMU takes the same steps."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import needs
import pytest
from busy import busy_rom
from guests import Guest, contained, emulated
from migration_machines import Box, enable, make, none, runs, status

from migmatrix.emulator.clock import Clock
from migmatrix.emulator.guest import WorkloadGuest, start_guest
from migmatrix.emulator.migration.converge import Converge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FAST, SLOW = (100, 100), (50, 100)  # dirtied, sent: over the threshold, and not over it
PARAMETERS = {"cpu-throttle-initial": 20, "cpu-throttle-increment": 15, "max-cpu-throttle": 60}


def throttled(*periods: tuple[int, int], on: bool = True, **parameters: Any) -> list[int]:
    """Percents taken away after each period."""
    machine = none("10.0")
    if on:
        enable(machine, "auto-converge")
    named = {name.replace("_", "-"): value for name, value in parameters.items()}
    machine.migration.set_parameters(PARAMETERS | named)
    converge = Converge(machine, machine.migration.settings)
    found = []
    for dirtied, sent in periods:
        converge.period(dirtied, sent)
        found.append(machine.throttle)
    converge.stop()
    assert machine.throttle == 0
    return found


def test_every_second_period_over_the_threshold_is_a_step() -> None:
    assert throttled(*[FAST] * 9) == [0, 20, 20, 35, 35, 50, 50, 60, 60]


def test_periods_need_not_follow_each_other() -> None:
    assert throttled(FAST, SLOW, SLOW, FAST, SLOW) == [0, 0, 0, 20, 20]


def test_the_threshold_is_a_parameter() -> None:
    assert throttled(FAST, FAST, throttle_trigger_threshold=100) == [0, 0]
    assert throttled(SLOW, SLOW, throttle_trigger_threshold=49) == [0, 20]


def test_a_tail_is_slow() -> None:
    periods = [FAST, FAST, (52, 100), (52, 100)]
    assert throttled(*periods) == [0, 20, 20, 35]
    assert throttled(*periods, cpu_throttle_tailslow=True) == [0, 20, 20, 23]


def test_without_the_capability_nothing_is_slowed_down() -> None:
    assert throttled(*[FAST] * 4, on=False) == [0, 0, 0, 0]


@pytest.mark.parametrize(("percent", "pages"), [(0, 1000), (20, 800), (99, 10)])
def test_a_throttled_guest_works_less(percent: int, pages: int) -> None:
    machine = make("10.0", "-M", "none", "-m", "2", "-nodefaults", "-workload", "pages=40,rate=1000")
    ns = 0
    machine.clock = Clock(lambda: ns)
    guest = start_guest(machine, lambda _: None)
    assert isinstance(guest, WorkloadGuest)
    machine.throttle = percent
    machine.vm_start()
    for _ in range(200):
        ns += 5_000_000
        machine.clock.fire()
    assert guest.steps == pytest.approx(pages, abs=1)


def test_a_throttle_is_told_and_ends_with_the_migration() -> None:
    machine: Box = runs("10.0")
    machine.migration.set_parameters({"max-bandwidth": 1 << 16})
    machine.migration.migrate("exec:cat > /dev/null")
    assert "cpu-throttle-percentage" not in status(machine, "active")
    machine.throttle = 35
    assert machine.migration.query()["cpu-throttle-percentage"] == 35
    machine.migration.cancel()
    status(machine, "cancelled")
    assert machine.throttle == 0


@contextmanager
def busy(kind: str, release: str, shared: Path) -> Iterator[Guest]:
    """A guest that writes to 16 pages without a pause."""
    common = ("-M", "pc-q35-7.2", "-m", "16")
    if kind == "emulator":
        with emulated(release, *common, "-workload", "pages=16,rate=20000") as guest:
            yield guest
        return
    rom = shared / "busy.rom"
    rom.write_bytes(busy_rom())
    with contained(release, shared, *common, "-accel", "tcg", "-bios", str(rom)) as guest:
        yield guest


def steps(guest: Guest) -> list[int]:
    """Percents, as query-migrate tells them, until the greatest."""
    guest.enable("auto-converge")
    guest.command("migrate-set-parameters", max_bandwidth=300_000, downtime_limit=1, **_named(PARAMETERS))
    guest.command("migrate", uri="exec:cat > /dev/null")
    found: list[int] = []
    while 60 not in found:
        told = guest.status("active").get("cpu-throttle-percentage")
        if told is not None and told not in found:
            found.append(told)
    guest.command("migrate_cancel")
    assert "cpu-throttle-percentage" not in guest.status("cancelled")
    return found


def _named(parameters: dict[str, int]) -> dict[str, int]:
    return {name.replace("-", "_"): value for name, value in parameters.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "release"),
    [
        ("emulator", "10.0"),
        *(pytest.param("qemu", release, marks=pytest.mark.qemu) for release in ("7.2", "10.0")),
    ],
)
def test_the_emulator_takes_the_steps_of_real_qemu(kind: str, release: str, tmp_path: Path) -> None:
    if kind == "qemu" and shutil.which("docker") is None:
        needs.missing("docker")
    with busy(kind, release, tmp_path) as guest:
        assert steps(guest) == [20, 35, 50, 60]
