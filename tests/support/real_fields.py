# SPDX-License-Identifier: Apache-2.0
"""The fields of each description that `-dump-vmstate` prints, next to those of the record of a real build."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from device_cases import RELEASES
from real_devices import device_classes, recorded, release

from migmatrix.emulator.dump import dump

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Pair", "pairs"]

Pair = tuple[str, dict[str, Any], dict[str, Any]]  # path, ours, real QEMU's
_OTHER_SHAPE = {"nvme", "vfio-pci"}  # their state is not modelled


def pairs(build: str, directory: Path) -> Iterator[Pair]:
    """Every field that both have under one name, all the way down; `directory` is for the emulator's file."""
    file = directory / f"{build}.json"
    dump(release(RELEASES[build]), "pc-q35-7.2", str(file))
    ours, real = json.loads(file.read_text()), recorded(build)["descriptions"]
    for name, _ in device_classes(RELEASES[build]):
        if name in ours and "Description" in real.get(name, {}) and name not in _OTHER_SHAPE:
            yield from _below(ours[name]["Description"], real[name]["Description"], name)


def _below(ours: dict[str, Any], real: dict[str, Any], path: str) -> Iterator[Pair]:
    mine, theirs = _numbered(ours), _numbered(real)
    for place in [place for place in mine if place in theirs]:
        here = f"{path}.{place[0]}"
        yield here, mine[place], theirs[place]
        if "Description" in mine[place] and "Description" in theirs[place]:
            yield from _below(mine[place]["Description"], theirs[place]["Description"], here)
    subs = {sub["name"]: sub for sub in real.get("Subsections", ())}
    for sub in ours.get("Subsections", ()):
        if sub["name"] in subs:
            yield from _below(sub, subs[sub["name"]], f"{path}/{sub['name']}")


def _numbered(described: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """Fields by name and how often the name came before."""
    seen: dict[str, int] = defaultdict(int)
    found = {}
    for field in described.get("Fields", ()):
        found[field["field"], seen[field["field"]]] = field
        seen[field["field"]] += 1
    return found
