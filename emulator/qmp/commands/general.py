# SPDX-License-Identifier: Apache-2.0
"""Negotiation, version, names, and other commands that identify the emulator."""

from __future__ import annotations

from typing import Any

from migmatrix.emulator.qmp.table import EVENTS, Arguments, Call, command, commands_of
from migmatrix.emulator.qmp.types import Array, Enum, Member

__all__: list[str] = []

_CAPABILITY = Enum("QMPCapability", "oob")
_NO_UUID = "00000000-0000-0000-0000-000000000000"


@command("qmp_capabilities", Member("enable", Array(_CAPABILITY), optional=True))
def qmp_capabilities(call: Call, arguments: Arguments) -> Any:
    """Leave negotiation."""
    call.session.negotiate(oob="oob" in arguments.get("enable", ()))
    return {}


@command("query-version")
def query_version(call: Call, _: Arguments) -> Any:
    """The release."""
    return call.server.version


@command("query-commands")
def query_commands(call: Call, _: Arguments) -> Any:
    """All commands of the release."""
    return [{"name": name} for name in commands_of(call.release)]


@command("query-events", until="6.0")
def query_events(_: Call, __: Arguments) -> Any:
    """All events."""
    return [{"name": name} for name in EVENTS]


@command("query-name")
def query_name(call: Call, _: Arguments) -> Any:
    """-name, if given."""
    name = call.machine.options.name
    return {"name": name} if name else {}


@command("query-uuid")
def query_uuid(call: Call, _: Arguments) -> Any:
    """-uuid, or zeros."""
    return {"UUID": call.machine.options.uuid or _NO_UUID}


@command("query-kvm")
def query_kvm(_: Call, __: Arguments) -> Any:
    """KVM is absent."""
    return {"enabled": False, "present": False}


@command("query-target")
def query_target(_: Call, __: Arguments) -> Any:
    """The architecture that is emulated."""
    return {"arch": "x86_64"}


@command("query-chardev")
def query_chardev(call: Call, _: Arguments) -> Any:
    """The character devices."""
    return [
        {"frontend-open": True, "filename": chardev.filename, "label": chardev.id}
        for chardev in call.server.chardevs.values()
    ]
