# SPDX-License-Identifier: Apache-2.0
"""Sections of real `isapc` guests (tests/data/sections), and emulated machines that they are loaded into."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migmatrix.emulator.machine import build_machine
from migmatrix.emulator.migration.handlers import iterative
from migmatrix.emulator.options.records import Options
from migmatrix.emulator.release import load
from migmatrix.vmstate.device.interpret import BytesSource, style_of

if TYPE_CHECKING:
    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.release import Release
    from migmatrix.vmstate.device.registry import Entry

__all__ = ["BUILDS", "RealSection", "devices_of", "machine", "real_sections", "take"]

DATA = Path(__file__).parents[1] / "data" / "sections"
BUILDS = {
    "5.2.0": "5.2",
    "7.2.22": "7.2",
    "10.0.2": "10.0",
    "10.0.13": "10.0",
    "11.1.3": "11.1",
}  # to release


@dataclass(frozen=True)
class RealSection:
    """One section; `description` is its entry of the VM description."""

    version: int
    payload: bytes
    description: dict[str, Any]

    @property
    def key(self) -> tuple[str, int]:
        """What a loader looks it up by."""
        return self.description["name"], self.description["instance_id"]


@cache
def real_sections(name: str, build: str) -> tuple[RealSection, ...]:
    """Sections of ``paused`` or ``ran`` of a build, in stream order."""
    found = json.loads(gzip.decompress((DATA / f"{name}-{build}.json.gz").read_bytes()))
    return tuple(RealSection(s["version"], bytes.fromhex(s["payload"]), s["description"]) for s in found)


@cache
def _release(name: str) -> Release:
    return load(name)


def machine(release: str, board: str = "isapc", **options: Any) -> Machine:
    """A new paused machine with 16 MiB."""
    return build_machine(
        _release(release),
        Options(release=release, machine=board, memory_bytes=16 << 20, stopped=True, **options),
    )


def devices_of(guest: Machine) -> list[Entry]:
    """The sections of its devices as they are sent: without RAM and its like, and without the run state."""
    return [e for e in guest.registry.to_send() if iterative(e) is None and e.idstr != "globalstate"]


def take(entry: Entry, section: RealSection, release: str) -> tuple[bytes, dict[str, Any]]:
    """Load a real section and save it again: the bytes, and the description of them."""
    source = BytesSource(section.payload)
    entry.load(source, section.version)
    assert source.left == 0
    saved = entry.save(style=style_of(release))
    return saved.data, saved.desc
