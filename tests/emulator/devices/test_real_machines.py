# SPDX-License-Identifier: Apache-2.0
"""Machines of real QEMU and of the emulator, made with the same words: what the devices' properties became.

Tables of compat entries, defaults of the release, and what a device settles itself (vectors, queues, the legacy mode) all
show in `qom-get`. Thirteen machine types of four builds, some thirty devices each; see `device_cases`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from device_cases import MACHINES
from real_devices import BUILDS, EVERY_MACHINE, emulated, recorded

if TYPE_CHECKING:
    from migmatrix.emulator.machine import Machine

NOT_COMPARED = {"mac"}  # QEMU numbers cards through; here each has the first address


def _got(made: Machine, device_id: str, name: str) -> Any:
    device = made.find(device_id)
    assert device is not None, device_id
    found = device.find_property(name)
    if found is None:
        return None
    return found[0].props[name] if name == "addr" else device.get(name)


@pytest.mark.parametrize(("build", "machine"), EVERY_MACHINE)
def test_properties_have_the_values_of_the_real_machine(build: str, machine: str) -> None:
    made = emulated(build, machine)
    compared, differing = 0, []
    for device_id, values in recorded(build)["machines"][machine]["properties"].items():
        for name, real in values.items():
            ours = _got(made, device_id, name)
            if name in NOT_COMPARED or ours is None:
                continue
            compared += 1
            if ours != real:
                differing.append((device_id, name, ours, real))
    assert not differing
    assert compared > 500


@pytest.mark.parametrize(("build", "machine"), EVERY_MACHINE)
def test_sections_have_the_real_names_and_versions(build: str, machine: str) -> None:
    registry = emulated(build, machine).registry
    ours = {e.idstr: e.version_id for e in registry if e.idstr.startswith("0000:")}
    assert ours == {
        name: row["version"] for name, row in recorded(build)["machines"][machine]["sections"].items()
    }


@pytest.mark.parametrize(("build", "machine"), EVERY_MACHINE)
def test_sections_have_the_real_lengths(build: str, machine: str) -> None:
    """Each section but LPC's, which grows with memory slots."""
    registry = emulated(build, machine).registry
    for name, row in recorded(build)["machines"][machine]["sections"].items():
        assert len(registry.find(name, 0).save().data) == len(row["payload"]) // 2, name


@pytest.mark.parametrize("build", BUILDS)
def test_old_machine_types_differ_from_the_newest(build: str) -> None:
    """The records are of use only where compat tables show: the oldest type has other values than the newest."""
    newest, oldest = (
        recorded(build)["machines"][name]["properties"]
        for name in (MACHINES[build][0], next(m for m in MACHINES[build][1:] if "q35" in m))
    )
    differing = {name for key in newest for name in newest[key] if newest[key][name] != oldest[key].get(name)}
    assert differing - NOT_COMPARED


@pytest.mark.parametrize(
    ("build", "machine", "device", "name", "value"),
    [
        ("5.2.0", "pc-q35-5.2", "d9", "num-queues", 1),
        ("5.2.0", "pc-q35-5.2", "d9", "queue-size", 256),
        ("5.2.0", "pc-q35-3.1", "d9", "queue-size", 128),
        ("5.2.0", "pc-q35-3.1", "d9", "discard", False),
        ("5.2.0", "pc-q35-3.1", "d9", "seg-max-adjust", False),
        ("5.2.0", "pc-q35-3.1", "d11", "use-started", False),
        ("7.2.22", "pc-q35-4.0", "d11", "vectors", 0),
        ("7.2.22", "pc-q35-4.0", "d16", "vectors", 0),
        ("7.2.22", "pc-q35-7.2", "d16", "vectors", 2),
        ("7.2.22", "pc-q35-7.2", "d8", "vectors", 4),
        ("7.2.22", "pc-q35-4.0", "d8", "vectors", 3),
        ("10.0.13", "pc-q35-10.0", "d11", "x-pcie-ext-tag", True),
        ("10.0.13", "pc-q35-8.2", "d11", "x-pcie-ext-tag", False),
        ("10.0.13", "pc-q35-8.2", "d18", "vectors", 0),
        ("10.0.13", "pc-q35-10.0", "d18", "vectors", 2),
        ("10.0.13", "pc-q35-2.12", "d11", "x-pcie-err-unc-mask", False),
        ("11.1.3", "pc-q35-5.2", "d11", "queue_reset", False),
        ("11.1.3", "pc-q35-11.1", "d11", "queue_reset", True),
    ],
)
def test_values_that_the_story_is_about(build: str, machine: str, device: str, name: str, value: Any) -> None:
    """Both sides, so that a record made anew with other devices is noticed."""
    assert recorded(build)["machines"][machine]["properties"][device][name] == value
    assert _got(emulated(build, machine), device, name) == value
