# SPDX-License-Identifier: Apache-2.0
"""Compat entries whose device the emulator has and whose property it has not: each is known, none is lost silently.

An entry that appears here anew is either modelled, or added to `unmodelled.txt` by somebody who decided that it changes
no stream of the emulator.
"""

from pathlib import Path

from migmatrix.emulator.device import ancestors
from migmatrix.emulator.devices import classes
from migmatrix.emulator.release import load
from migmatrix.vmstate.device.lifetime import lives

KNOWN = Path(__file__).with_name("unmodelled.txt")
RELEASES = ("5.2", "7.2", "7.2.22", "8.0", "8.0.1", "8.2", "9.2", "10.0", "11.1")


def lost() -> set[str]:
    """``device.property`` of entries that reach a class which, in that release, does not have the property."""
    found = set()
    for name in RELEASES:
        release = load(name)
        used = {"base", *(table for machine in release.machine_types.values() for table in machine.compat)}
        entries = {(e[0], e[1]) for table in used for e in release.compat.get(table, ())}
        alive = [cls for cls in classes() if cls.type_name in release.devices and not cls.abstract]
        for device, prop in entries:
            reached = [cls for cls in alive if device in ancestors(cls)]
            if any(prop not in known(cls, name) for cls in reached):
                found.add(f"{device}.{prop}")
    return found


def known(cls: type, release: str) -> set[str]:
    """Names of the properties of a class, and of the backend to which it forwards what it has not."""
    return {
        prop.name
        for base in cls.__mro__
        for prop in base.__dict__.get("properties", ())
        if lives(prop.since, prop.until, release)
    }


def test_every_entry_that_reaches_a_device_is_modelled_or_known() -> None:
    assert sorted(lost()) == KNOWN.read_text().split()
