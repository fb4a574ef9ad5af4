# SPDX-License-Identifier: Apache-2.0
"""Migration commands: arguments are checked here, everything else is `emulator.migration`'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migmatrix.emulator.migration.settings import BITMAPS
from migmatrix.emulator.options.keyvalue import Malformed, pairs, size
from migmatrix.emulator.qmp.syntax import SyntaxMistake, parse_one
from migmatrix.emulator.qmp.table import Arguments, Call, command
from migmatrix.emulator.qmp.types import (
    ANY,
    BOOL,
    INT,
    STR,
    STR_OR_NULL,
    Array,
    Enum,
    Member,
    Struct,
    generic,
    unsigned,
)
from migmatrix.emulator.texts import text
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.emulator.release import Release

__all__ = ["parameters_of", "read_channel"]

_CAPABILITY = Struct("MigrationCapabilityStatus", Member("capability", STR), Member("state", BOOL))
_TRANSPORT = Enum("MigrationAddressType", "socket", "exec", "rdma", "file")
_INET = (
    Member("host", STR), Member("port", STR), Member("numeric", BOOL, optional=True), Member("to", unsigned(16), optional=True),
    Member("ipv4", BOOL, optional=True), Member("ipv6", BOOL, optional=True), Member("keep-alive", BOOL, optional=True),
    Member("mptcp", BOOL, optional=True),
)  # fmt: skip
_SOCKETS = {
    "inet": _INET,
    "unix": (
        Member("path", STR),
        Member("abstract", BOOL, optional=True),
        Member("tight", BOOL, optional=True),
    ),
    "vsock": (Member("cid", STR), Member("port", STR)),
    "fd": (Member("str", STR),),
}
_TRANSPORTS = {
    "exec": (Member("args", Array(STR)),),
    "file": (Member("filename", STR), Member("offset", unsigned(64))),
    "rdma": _INET,
    "socket": (Member("type", Enum("SocketAddressType", *_SOCKETS)),),
}


class _Address(Struct):
    """An address: which members it has depends on `transport`, and of a socket on `type`."""

    def check(self, value: Any, path: str, release: str) -> None:
        """See `Struct`: the choices first, then what they choose."""
        super().check(value, path, release)
        chosen = _TRANSPORTS[value["transport"]]
        Struct(self.name, *self.members, *chosen, open_=value["transport"] == "socket").check(
            value, path, release
        )
        if value["transport"] == "socket":
            Struct(self.name, *self.members, *chosen, *_SOCKETS[value["type"]]).check(value, path, release)


_CHANNEL = Struct("MigrationChannel", Member("channel-type", Enum("MigrationChannelType", "main", "cpr")),
                  Member("addr", _Address("MigrationAddress", Member("transport", _TRANSPORT), open_=True)))  # fmt: skip


def read_channel(given: str, release: str) -> dict[str, Any]:
    """The channel that a text means, in JSON or as pairs (``main,addr.transport=file,addr.filename=F``); QmpError."""
    try:
        channel = parse_one(given, release) if given.startswith("{") else _nested(given)
    except (SyntaxMistake, Malformed) as error:
        raise generic(str(error)) from error
    _CHANNEL.check(channel, "", release)
    return channel


def _nested(given: str) -> dict[str, Any]:
    """Pairs as an object: a key with dots is a way into it; only an offset is a number."""
    found: dict[str, Any] = {}
    for key, value in pairs(given, "channel-type") if given else ():
        *way, last = key.split(".")
        inner = found
        for name in way:
            inner = inner.setdefault(name, {})
        inner[last] = size(last, value) if last == "offset" else value
    return found


_STATUSES = (
    "none", "setup", "cancelling", "cancelled", "active", "postcopy-active", "postcopy-paused", "postcopy-recover",
    "completed", "failed", "colo", "pre-switchover", "device", "wait-unplug",
)  # fmt: skip
_BYTE_PARAMETERS = frozenset(
    ("multifd-channels", "multifd-zlib-level", "multifd-zstd-level", "multifd-qatzip-level", "compress-level",
     "compress-threads", "decompress-threads", "throttle-trigger-threshold", "cpu-throttle-initial",
     "cpu-throttle-increment", "max-cpu-throttle")
)  # fmt: skip


def _taker(call: Call) -> Callable[[str], int | None]:
    """Gives a descriptor of the monitor by its name, and forgets it."""
    return lambda name: call.session.named_fds.pop(name, None)


def _target(arguments: Arguments) -> Any:
    """The URI or the list of channels."""
    if ("uri" in arguments) == bool(arguments.get("channels")):  # an empty list is none
        raise generic("need either 'uri' or 'channels' argument")
    return arguments["uri"] if "uri" in arguments else arguments["channels"]


@command(
    "migrate",
    Member("uri", STR, until="8.2"),
    Member("uri", STR, optional=True, since="8.2"),
    Member("channels", Array(_CHANNEL), optional=True, since="8.2"),
    Member("blk", BOOL, optional=True, until="9.1"),
    Member("inc", BOOL, optional=True, until="9.1"),
    Member("detach", BOOL, optional=True, until="11.0"),
    Member("resume", BOOL, optional=True),
)
def migrate(call: Call, arguments: Arguments) -> Any:
    """Start to send the guest."""
    if arguments.get("blk") or arguments.get("inc"):
        raise generic("QEMU compiled without old-style (blk/-b, inc/-i) block migration")
    target = _target(arguments)
    call.machine.migration.migrate(target, _taker(call), resume=arguments.get("resume", False))
    return {}


@command(
    "migrate-incoming",
    Member("uri", STR, until="8.2"),
    Member("uri", STR, optional=True, since="8.2"),
    Member("channels", Array(_CHANNEL), optional=True, since="8.2"),
    Member("exit-on-error", BOOL, optional=True, since="9.1"),
)
def migrate_incoming(call: Call, arguments: Arguments) -> Any:
    """Start to take a guest in, after ``-incoming defer``."""
    if call.machine.options.incoming is None:
        raise generic(text(call.release, "no-incoming"))
    target = _target(arguments)
    call.machine.migration.incoming(target, _taker(call), exit_on_error=arguments.get("exit-on-error", True))
    return {}


@command("migrate_cancel")
def migrate_cancel(call: Call, _: Arguments) -> Any:
    """Cancel the outgoing migration."""
    call.machine.migration.cancel()
    return {}


@command("migrate-continue", Member("state", Enum("MigrationStatus", *_STATUSES)))
def migrate_continue(call: Call, arguments: Arguments) -> Any:
    """Go on after pre-switchover."""
    call.machine.migration.continue_(arguments["state"])
    return {}


@command("migrate-pause", oob=True)
def migrate_pause(call: Call, _: Arguments) -> Any:
    """Interrupt a postcopy migration."""
    call.machine.migration.pause()
    return {}


@command("migrate-recover", Member("uri", STR), oob=True)
def migrate_recover(call: Call, arguments: Arguments) -> Any:
    """Listen again after an interrupted postcopy migration."""
    call.machine.migration.recover(arguments["uri"], _taker(call))
    return {}


@command("migrate-start-postcopy")
def migrate_start_postcopy(call: Call, _: Arguments) -> Any:
    """Let the guest go on at the destination before all of its memory is there."""
    call.machine.migration.start_postcopy()
    return {}


@command("migrate-set-capabilities", Member("capabilities", Array(_CAPABILITY)))
def migrate_set_capabilities(call: Call, arguments: Arguments) -> Any:
    """Switch capabilities on and off, all or none."""
    call.machine.migration.set_capabilities(arguments["capabilities"])
    return {}


@command("query-migrate-capabilities")
def query_migrate_capabilities(call: Call, _: Arguments) -> Any:
    """All capabilities of the release."""
    found = call.machine.migration.capabilities
    return [{"state": state, "capability": name} for name, state in found.items()]


@command("migrate-set-parameters", open_=True)
def migrate_set_parameters(call: Call, arguments: Arguments) -> Any:
    """Set parameters, all or none; their types are those of the release's defaults."""
    known = {member.name: member.type for member in parameters_of(call.machine.release).members}
    for name, value in arguments.items():
        if name in known:
            known[name].check(value, name, call.release)
    if lives("", "6.0", call.release):  # any number was taken, and its last bytes kept
        masks = {"x-checkpoint-delay": 0xFFFFFFFF, **dict.fromkeys(_BYTE_PARAMETERS & known.keys(), 0xFF)}
        arguments = {name: v & masks[name] if name in masks else v for name, v in arguments.items()}
    call.machine.migration.set_parameters(arguments)
    return {}


def parameters_of(release: Release) -> Struct:
    """The arguments of `migrate-set-parameters`: what the release's data lists, and a list that has no default."""
    known = {**release.parameters, **({BITMAPS: []} if lives("5.2", "", release.name) else {})}
    members = (
        Member(name, _parameter_type(name, value, release.name), optional=True)
        for name, value in known.items()
    )
    return Struct("MigrateSetParameters", *members)


def _parameter_type(name: str, default: Any, release: str) -> Any:
    if isinstance(default, bool):
        return BOOL
    if isinstance(default, int):
        bits = 8 if name in _BYTE_PARAMETERS else 32 if name == "x-checkpoint-delay" else 64
        once_plain = bits < 64 or name in ("downtime-limit", "max-bandwidth")  # noqa: PLR2004
        return INT if once_plain and lives("", "6.0", release) else unsigned(bits)
    if name in _BY_NAME:
        return _BY_NAME[name]
    return STR_OR_NULL if name.startswith("tls-") else _OTHERS.get(type(default), ANY)


_OTHERS: dict[type, Any] = {str: STR, list: Array(STR)}
_BITMAP = Struct(
    "BitmapMigrationBitmapAlias",
    Member("name", STR),
    Member("alias", STR),
    Member("transform", ANY, optional=True),
)
_NODE = Struct(
    "BitmapMigrationNodeAlias",
    Member("node-name", STR),
    Member("alias", STR),
    Member("bitmaps", Array(_BITMAP)),
)
_BY_NAME = {
    BITMAPS: Array(_NODE),
    "multifd-compression": Enum("MultiFDCompression", "none", "zlib", "zstd", "qatzip", "qpl", "uadk"),
    "zero-page-detection": Enum("ZeroPageDetection", "none", "legacy", "multifd"),
    "mode": Enum("MigMode", "normal", "cpr-reboot", "cpr-transfer", "cpr-exec"),
}


@command("query-migrate-parameters")
def query_migrate_parameters(call: Call, _: Arguments) -> Any:
    """All parameters of the release."""
    return call.machine.migration.parameters


@command("query-migrate")
def query_migrate(call: Call, _: Arguments) -> Any:
    """Status and figures of the last migration."""
    return call.machine.migration.query()


@command("migrate_set_speed", Member("value", INT), until="6.0")
def migrate_set_speed(call: Call, arguments: Arguments) -> Any:
    """The old name of parameter max-bandwidth."""
    call.machine.migration.set_parameters({"max-bandwidth": arguments["value"]})
    return {}
