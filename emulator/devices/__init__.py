# SPDX-License-Identifier: Apache-2.0
"""All device types of the emulator, one or a few classes in each module. `classes` finds them.

A device module is any module below this package that defines subclasses of `Device`. `classes` imports all of them;
a frozen release knows the modules by name and imports only those of the devices that it makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.emulator.device import Device
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["classes", "index"]


def _modules() -> list[str]:
    from pkgutil import walk_packages  # noqa: PLC0415 - a frozen release needs no looking

    return sorted(m.name for m in walk_packages(__path__, f"{__name__}.") if not m.ispkg)


def _below(cls: type[Device]) -> Iterator[type[Device]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from _below(sub)


def classes() -> list[type[Device]]:
    """Every device class below this package that names a type, in order of module and type."""
    from importlib import import_module  # noqa: PLC0415 - as above

    for module in _modules():
        import_module(module)
    ours = {
        c for c in _below(Device) if c.__module__.startswith(f"{__name__}.") and "type_name" in c.__dict__
    }
    return sorted(ours, key=lambda c: (c.__module__, c.type_name))


def index(release: str) -> dict[str, tuple[str, str]]:
    """``{type name or alias: (module, class)}`` of what lives in `release`; ValueError for a name with two owners."""
    found: dict[str, tuple[str, str]] = {}
    for cls in classes():
        if lives(cls.since, cls.until, release):
            for name in (cls.type_name, *cls.aliases):
                if name in found:
                    raise ValueError(f"{name!r} is both {found[name][1]} and {cls.__name__}")
                found[name] = (cls.__module__, cls.__qualname__)
    return found
