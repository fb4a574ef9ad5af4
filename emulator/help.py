# SPDX-License-Identifier: Apache-2.0
"""Prints what the emulator says about itself: -version, -help, `-M help`, `-device help`, `-cpu help`.

The lines have QEMU's form, which other programs read; devices come without QEMU's categories.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from migmatrix.emulator.device import listed
from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.qmp.server import PACKAGE, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from migmatrix.emulator.options.records import Options
    from migmatrix.emulator.properties import Property
    from migmatrix.emulator.release import Release

__all__ = ["answer"]


def answer(options: Options, release: Release) -> int:
    """Print what was asked for; the exit status."""
    topic, _, name = options.help.partition(":")
    lines: dict[str, Callable[[], Iterator[str]]] = {
        "version": lambda: _version(release),
        "help": lambda: _usage(release),
        "data": lambda: iter(()),  # no firmware directories
        "machine": lambda: _machines(release),
        "cpu": lambda: _cpus(release),
        "device": lambda: _properties(release, options, name) if name else _devices(release),
    }
    for line in lines[topic]():
        sys.stdout.write(f"{line}\n")
    return 0


def _version(release: Release) -> Iterator[str]:
    number = version_of(release.name)["qemu"]
    yield f"QEMU emulator version {number['major']}.{number['minor']}.{number['micro']} ({PACKAGE})"


def _usage(release: Release) -> Iterator[str]:
    from migmatrix.emulator.options.table import OPTIONS  # noqa: PLC0415 - the table is loaded, the name is short
    from migmatrix.vmstate.device.lifetime import lives  # noqa: PLC0415

    yield from _version(release)
    yield "usage: python -m migmatrix.emulator [--release X.Y] [options]"
    yield ""
    for name, option in OPTIONS.items():
        if lives(option.since, option.until, release.name):
            yield f"-{name} ARG" if option.argument else f"-{name}"


def _machines(release: Release) -> Iterator[str]:
    yield "Supported machines are:"
    for machine in release.machine_types.values():
        if machine.alias:
            yield f"{machine.alias:<20} {machine.description} (alias of {machine.name})"
        notes = (" (default)" if machine.default else "") + (" (deprecated)" if machine.deprecated else "")
        yield f"{machine.name:<20} {machine.description}{notes}"


def _cpus(release: Release) -> Iterator[str]:
    yield "Available CPUs:"
    for name in release.devices:
        if name.endswith("-x86_64-cpu"):
            yield f"  {name.removesuffix('-x86_64-cpu')}"


def _devices(release: Release) -> Iterator[str]:
    yield "Uncategorized devices:"
    for name in sorted(release.devices):
        cls = release.device_class(name)
        if cls is None or cls.abstract or not cls.user_creatable or name != cls.type_name:
            continue
        bus = f", bus {cls.bus}" if cls.bus else ""
        alias = "".join(f', alias "{other}"' for other in cls.aliases)
        desc = f', desc "{cls.description}"' if cls.description else ""
        yield f'name "{name}"{bus}{alias}{desc}'


def _properties(release: Release, options: Options, name: str) -> Iterator[str]:
    cls = release.device_class(name)
    if cls is None:
        where = next(d.where for d in options.devices if d.driver == name)
        raise FatalError(f"{where}: Device '{name}' not found")
    machine: Any = _Asked(release)
    yield f"{name} options:"
    for _, prop in sorted(listed(cls, machine).items()):
        yield _property(prop, release.name)


class _Asked:
    """Stands for a machine in calls of `listed`, which needs only its release."""

    def __init__(self, release: Release) -> None:
        self.release = release


def _property(prop: Property, release: str) -> str:
    head = f"  {prop.name}=<{prop.kind.name}>"
    default = prop.default_in(release)
    text = prop.help or ("on/off" if prop.kind.name == "bool" else "")
    if default is None and not text:
        return head
    shown = prop.kind.show(default)
    value = ("on" if shown else "off") if isinstance(shown, bool) else shown
    tail = f"{text} (default: {value})" if default is not None else text
    return f"{head:<24} - {tail}"
