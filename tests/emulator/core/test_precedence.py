# SPDX-License-Identifier: Apache-2.0
"""Where a property's value comes from; each row was asked of QEMU 10.0.13 with `qom-get`."""

from __future__ import annotations

import pytest

from migmatrix.emulator.errors import DeviceError, FatalError
from migmatrix.emulator.machine import Machine, build_machine
from migmatrix.emulator.options.parse import parse
from migmatrix.emulator.release import load

MASK = "x-pcie-err-unc-mask"
PORT = "pcie-root-port,id=d"


def _built(release: str, *arguments: str) -> Machine:
    return build_machine(load(release), parse(["-m", "16", "-nodefaults", *arguments]))


def _get(machine: Machine, prop: str) -> object:
    device = machine.find("d")
    assert device is not None
    return device.get(prop)


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["-M", "pc-q35-10.0", "-device", PORT], True),
        (["-M", "pc-q35-7.2", "-device", PORT], False),
        (["-M", "pc-q35-5.2", "-device", PORT], False),
        (["-M", "pc-q35-7.2", "-global", f"pcie-root-port.{MASK}=on", "-device", PORT], True),
        (["-M", "pc-q35-7.2", "-global", f"pci-device.{MASK}=on", "-device", PORT], True),
        (
            [
                "-M",
                "pc-q35-7.2",
                "-global",
                f"pcie-root-port.{MASK}=off",
                "-global",
                f"pci-device.{MASK}=on",
                "-device",
                PORT,
            ],
            True,
        ),
        (
            [
                "-M",
                "pc-q35-7.2",
                "-global",
                f"pci-device.{MASK}=on",
                "-global",
                f"pcie-root-port.{MASK}=off",
                "-device",
                PORT,
            ],
            False,
        ),
        (["-M", "pc-q35-7.2", "-global", f"pci-device.{MASK}=on", "-device", f"{PORT},{MASK}=off"], False),
        (["-M", "pc-q35-7.2", "-device", f"{PORT},{MASK}=off,{MASK}=on"], True),
    ],
)
def test_the_later_source_wins(arguments: list[str], value: bool) -> None:
    assert _get(_built("10.0", *arguments), MASK) is value


def test_the_entry_that_8_0_forgot() -> None:
    with pytest.raises(DeviceError, match="not found"):
        _get(_built("8.0", "-M", "pc-q35-7.2", "-device", PORT), MASK)
    assert _get(_built("8.0.1", "-M", "pc-q35-7.2", "-device", PORT), MASK) is False


def test_a_property_lives_from_its_release_on() -> None:
    with pytest.raises(FatalError, match=f"Property 'pcie-root-port.{MASK}' not found"):
        _built("7.2", "-M", "q35", "-device", f"{PORT},{MASK}=on")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["-M", "q35", "-global", "pcie-root-port.foo=1", "-device", PORT],
            "-device pcie-root-port,id=d: can't apply global pcie-root-port.foo=1: Property 'pcie-root-port.foo' not found",
        ),
        (["-M", "q35", "-device", "nosuch"], "-device nosuch: 'nosuch' is not a valid device model name"),
        (
            ["-M", "q35", "-device", "pci-device"],
            "-device pci-device: Parameter 'driver' expects a non-abstract device type",
        ),
        (["-M", "none", "-device", "e1000e"], "-device e1000e: No 'PCI' bus found for device 'e1000e'"),
        (["-M", "q35", "-device", "e1000e,bus=nobus"], "-device e1000e,bus=nobus: Bus 'nobus' not found"),
        (
            ["-M", "q35", "-device", "e1000e,bus=isa.0"],
            "-device e1000e,bus=isa.0: Device 'e1000e' can't go on ISA bus",
        ),
    ],
)
def test_mistakes_are_told_as_qemu_tells_them(arguments: list[str], text: str) -> None:
    with pytest.raises(FatalError) as error:
        _built("10.0", *arguments)
    assert str(error.value) == text


def test_globals_that_met_nobody() -> None:
    machine = _built("10.0", "-M", "q35", "-global", "nosuch.foo=1", "-global", "e1000e.foo=1")
    assert machine.global_warnings() == ["warning: global nosuch.foo has invalid class name"]


def test_a_set_after_realize_is_refused() -> None:
    machine = _built("10.0", "-M", "q35", "-device", PORT)
    device = machine.find("d")
    assert device is not None
    with pytest.raises(DeviceError, match="after it was realized"):
        device.set(MASK, "off")


def test_a_removed_device_leaves_nothing() -> None:
    machine = _built("10.0", "-M", "q35")
    before = [e.idstr for e in machine.registry]
    device = machine.create("e1000e", id="n")
    assert [e.idstr for e in machine.registry] != before
    machine.remove(device)
    assert [e.idstr for e in machine.registry] == before
    assert machine.find("n") is None
