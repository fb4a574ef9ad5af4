# SPDX-License-Identifier: Apache-2.0
"""What `record_devices.py` recorded of real QEMU, and emulated machines made with the same words."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_cases import BACKENDS, COMMON, MACHINES, RELEASES, device_words

from migmatrix.emulator.machine import build_machine
from migmatrix.emulator.options.parse import parse
from migmatrix.emulator.release import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.emulator.device import Device
    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.release import Release

__all__ = ["BUILDS", "EVERY_MACHINE", "device_classes", "emulated", "recorded", "release", "small_machine"]

DATA = Path(__file__).parents[1] / "data" / "devices"
BUILDS = tuple(RELEASES)
EVERY_MACHINE = [(build, machine) for build in BUILDS for machine in MACHINES[build]]


@cache
def recorded(build: str) -> dict[str, Any]:
    """The record of a real build; tests/data/devices/README.md says what is in it."""
    found: dict[str, Any] = json.loads(gzip.decompress((DATA / f"{build}.json.gz").read_bytes()))
    return found


@cache
def release(name: str) -> Release:
    """A release of the emulator."""
    return load(name)


def device_classes(name: str) -> Iterator[tuple[str, type[Device]]]:
    """(type, class) of a release, aliases aside."""
    known = release(name)
    for type_name in sorted(known.devices):
        cls = known.device_class(type_name)
        if cls is not None and cls.type_name == type_name:
            yield type_name, cls


def small_machine(name: str, type_: str, *words: str) -> Machine:
    """A paused machine of a release after reset."""
    made = build_machine(release(name), parse(["--release", name, "-M", type_, *COMMON, *words]))
    made.reset()
    return made


@cache
def emulated(build: str, machine: str) -> Machine:
    """The machine that was recorded of a build, emulated. It is shared: look, do not load into it."""
    return small_machine(RELEASES[build], machine, *BACKENDS, *device_words(machine))
