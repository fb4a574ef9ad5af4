# SPDX-License-Identifier: Apache-2.0
"""auto-converge slows the guest down by QEMU's rule, and gives it back its time; real QEMU takes the same steps."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import needs
import pytest
from busy import busy_rom
from guests import Guest, contained, emulated
from migration_machines import Box, enable, make, none, runs, status

from migmatrix.emulator.clock import Clock
from migmatrix.emulator.guest import WorkloadGuest, start_guest
from migmatrix.emulator.migration.converge import Converge, LongPasses
from migmatrix.emulator.migration.streams import BytesSink, Output

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FAST, SLOW = (100, 100), (50, 100)  # dirtied, sent: over the threshold, and not over it
PARAMETERS = {"cpu-throttle-initial": 20, "cpu-throttle-increment": 15, "max-cpu-throttle": 60}
_GUESTS = 4  # of real QEMU: how much time its guest gets is the host's doing


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


def test_a_long_pass_is_looked_at_every_five_seconds() -> None:
    """Not the first pass, and not one that began since the last look."""
    long = LongPasses(100.0)
    looks = [
        (104.9, 1),
        (105.0, 1),
        (110.0, 1),
        (115.0, 2),
        (119.9, 2),
        (120.0, 2),
        (125.0, 3),
        (130.0, 5),
        (135.0, 5),
    ]
    assert [at for at, passes in looks if long.due(at, passes)] == [120.0, 125.0, 135.0]


def test_a_look_that_is_no_pass_is_taken_every_five_seconds() -> None:
    """As real 11.1.3: throttled further at 15 and 25 s, in its second pass."""
    long = LongPasses(0.0, counted=False)
    assert [at for at in range(5, 30, 5) if long.due(at, 1 if at < 8 else 2)] == [15, 20, 25]


@pytest.mark.parametrize(("release", "passes"), [("7.2", [1, 2]), ("10.0", [1, 2, 3]), ("11.1", [2])])
def test_new_releases_end_a_long_pass_early(
    release: str, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second pass that takes ten seconds, and a guest that writes on."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    machine = none(release)
    enable(machine, "auto-converge", "events")
    section, out = machine.migration.ram, Output(BytesSink())
    section.save_setup(out)
    section.save_live_iterate(out)
    block = machine.ram_blocks["ram"]
    block.write(0, b"x" * (4096 * 8))
    section.state_pending_exact()
    for _ in range(2):
        now += 5.0
        out.allowed = out.offset
        block.write(4096 * 9, b"y")
        section.save_live_iterate(out)
    taken = section.state_pending_estimate().total
    section.save_cleanup()
    assert (taken > 8 * 4096) == (release != "7.2")
    assert [data["pass"] for name, data in machine.events if name == "MIGRATION_PASS"] == passes


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
    """A guest that writes to 128 pages without a pause."""
    common = ("-M", "pc-q35-7.2", "-m", "16")
    if kind == "emulator":
        with emulated(release, *common, "-workload", "pages=128,rate=20000") as guest:
            yield guest
        return
    rom = shared / "busy.rom"
    rom.write_bytes(busy_rom())
    with contained(release, shared, *common, "-accel", "tcg", "-bios", str(rom)) as guest:
        yield guest


def steps(guest: Guest) -> list[int]:
    """Percents, as query-migrate tells them, until the greatest, or until a guest that got no time to write was through."""
    guest.enable("auto-converge")
    # two seconds for what the guest writes to, and two passes for a step, so that none is over before it is asked for
    guest.command("migrate-set-parameters", max_bandwidth=250_000, downtime_limit=1, **_named(PARAMETERS))
    guest.command("migrate", uri="exec:cat > /dev/null")
    found: list[int] = []
    while 60 not in found:
        answer = guest.status("active", "completed")
        if answer["status"] == "completed":
            return found
        told = answer.get("cpu-throttle-percentage")
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
        ("emulator", "11.1"),
        *(pytest.param("qemu", release, marks=pytest.mark.qemu) for release in ("7.2", "10.0", "11.1")),
    ],
)
def test_the_emulator_takes_the_steps_of_real_qemu(kind: str, release: str, tmp_path: Path) -> None:
    if kind == "qemu" and shutil.which("docker") is None:
        needs.missing("docker")
    wanted, found = [20, 35, 50, 60], list[int]()
    for _ in range(_GUESTS if kind == "qemu" else 1):
        with busy(kind, release, tmp_path) as guest:
            found = steps(guest)
        assert found == wanted[: len(found)]
        if found == wanted:
            break
    assert found == wanted
