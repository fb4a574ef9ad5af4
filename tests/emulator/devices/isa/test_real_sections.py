# SPDX-License-Identifier: Apache-2.0
"""Every section that real QEMU sends for `isapc` loads into the emulator's release of that line and comes out the same."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from sections import BUILDS, devices_of, machine, real_sections, take

from migmatrix.vmstate.device.errors import Kind
from migmatrix.vmstate.device.interpret import BytesSource, VMStateError, style_of
from migmatrix.vmstate.view.decode import decode, leaves
from migmatrix.vmstate.view.vmdesc import parse_vmdesc
from migmatrix.vmstate.view.volatile import mask

if TYPE_CHECKING:
    from migmatrix.vmstate.device.registry import Entry

_SUBSECTION = re.compile(rb"\x05.[a-z0-9_]+/[a-z0-9_/]+", re.DOTALL)


def _without_index(description: Any) -> Any:
    """10.0 leaves the `index` of an array's last element out, 5.2 and 7.2 give it: we follow those."""
    if isinstance(description, dict):
        return {key: _without_index(value) for key, value in description.items() if key != "index"}
    return [_without_index(v) for v in description] if isinstance(description, list) else description


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("guest", ["paused", "ran"])
def test_loads_and_saves_the_same(guest: str, build: str) -> None:
    release = BUILDS[build]
    registry = machine(release).registry
    for section in real_sections(guest, build):
        data, description = take(registry.find(*section.key), section, release)
        assert data == section.payload, section.key
        assert _without_index(description) == _without_index(section.description)


@pytest.mark.parametrize("build", BUILDS)
def test_a_machine_has_the_same_sections_in_the_same_order(build: str) -> None:
    ours = [(entry.idstr, entry.instance_id) for entry in devices_of(machine(BUILDS[build]))]
    assert ours == [section.key for section in real_sections("paused", build)]


@pytest.mark.parametrize("build", BUILDS)
def test_a_new_guest_is_in_the_state_of_a_new_real_one(build: str) -> None:
    """But for clocks, and for what QEMU saves without having set it (`vmstate.view.volatile`)."""
    release = BUILDS[build]
    for entry, section in zip(devices_of(machine(release)), real_sections("paused", build), strict=True):
        saved = entry.save(style=style_of(release))
        ours, theirs = (_values(data, section.description) for data in (saved.data, section.payload))
        assert ours.keys() == theirs.keys()
        differing = {
            path: (ours[path], theirs[path])
            for path in ours
            if mask(entry.idstr, path, ours[path], ours.get)[0]
            != mask(entry.idstr, path, theirs[path], theirs.get)[0]
        }
        assert not differing, entry.idstr


def _values(data: bytes, description: dict[str, Any]) -> dict[str, Any]:
    parsed = parse_vmdesc(_as_json(description), 0)
    return {path: leaf.value for path, leaf in leaves(decode(parsed.devices[0], data))}


def _as_json(description: dict[str, Any]) -> bytes:
    return json.dumps({"page_size": 4096, "devices": [description]}).encode()


@pytest.mark.parametrize("build", BUILDS)
def test_every_cut_of_a_section_is_refused(build: str) -> None:
    """Each proper prefix that ends before the first subsection fails cleanly; without subsections it may load."""
    registry = machine(BUILDS[build]).registry
    for section in real_sections("ran", build):
        first = _SUBSECTION.search(section.payload)
        for end in range(min(first.start() if first else len(section.payload), 600)):
            with pytest.raises(VMStateError):
                _load_whole(registry.find(*section.key), section.payload[:end], section.version)


def _load_whole(entry: Entry, data: bytes, version: int) -> None:
    """Load as a stream is loaded: what the entry leaves is not the footer that must follow."""
    source = BytesSource(data)
    entry.load(source, version)
    if source.left:
        raise VMStateError(0, entry.idstr, "a footer", f"{source.left} bytes", Kind.TRUNCATED)
