# SPDX-License-Identifier: Apache-2.0
"""Negotiation, version, names, and other commands that identify the emulator."""

from __future__ import annotations

from typing import Any

from migmatrix.emulator.qmp.table import EVENTS, Arguments, Call, command, commands_of
from migmatrix.emulator.qmp.types import BOOL, STR, Array, Enum, Member, generic

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


# What the emulator reads of the options whose parameters QEMU lists; values are on the command line's terms.
_OPTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "add-fd": (("fd", "number"), ("set", "number"), ("opaque", "string")),
    "boot-opts": (("order", "string"), ("once", "string"), ("menu", "boolean"), ("strict", "boolean")),
    "chardev": (("id", "string"), ("backend", "string"), ("path", "string"), ("host", "string"), ("port", "string"),
                ("fd", "string"), ("server", "boolean"), ("wait", "boolean"), ("reconnect", "number"), ("size", "size")),
    "global": (("driver", "string"), ("property", "string"), ("value", "string")),
    "memory": (("size", "size"), ("slots", "number"), ("maxmem", "size")),
    "mon": (("mode", "string"), ("chardev", "string"), ("pretty", "boolean")),
    "name": (("guest", "string"), ("process", "string"), ("debug-threads", "boolean")),
    "smp-opts": (("cpus", "number"), ("sockets", "number"), ("dies", "number"), ("cores", "number"),
                 ("threads", "number"), ("maxcpus", "number")),
}  # fmt: skip


@command("query-command-line-options", Member("option", STR, optional=True))
def query_command_line_options(call: Call, arguments: Arguments) -> Any:
    """Options with the parameters that the emulator reads, all or one."""
    wanted = arguments.get("option")
    from migmatrix.emulator.options.machineprops import machine_properties  # noqa: PLC0415 - few clients ask

    properties = machine_properties("", call.release)
    named = {"string": "string", "bool": "boolean", "size": "size"}
    machine = tuple((p["name"], named.get(p["type"], "string")) for p in properties)
    options = {**_OPTIONS, "machine": machine}
    if wanted is not None and wanted not in options:
        raise generic(f"invalid option name: {wanted}")
    return [
        {"option": name, "parameters": [{"name": key, "type": kind} for key, kind in parameters]}
        for name, parameters in options.items()
        if wanted in (None, name)
    ]


@command("query-tpm-models")
def query_tpm_models(_: Call, __: Arguments) -> Any:
    """There is no TPM."""
    return []


@command("query-tpm-types")
def query_tpm_types(_: Call, __: Arguments) -> Any:
    """There is nothing behind a TPM either."""
    return []


@command("query-named-block-nodes", Member("flat", BOOL, optional=True))
def query_named_block_nodes(call: Call, _: Arguments) -> Any:
    """The nodes of `-blockdev`; nothing is cached, throttled or encrypted."""
    return [
        {
            "node-name": b.id, "drv": b.kind, "ro": False, "file": dict(b.props).get("filename", ""),
            "backing_file_depth": 0, "encrypted": False, "detect_zeroes": "off", "write_threshold": 0,
            "cache": {"no-flush": False, "direct": False, "writeback": True},
            **dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0),
            "image": {"filename": dict(b.props).get("filename", ""), "format": b.kind, "virtual-size": 0, "dirty-flag": False},
        }
        for b in call.machine.options.of("blockdev")
    ]  # fmt: skip
