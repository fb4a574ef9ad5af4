# SPDX-License-Identifier: Apache-2.0
"""Values of single options: channels, topologies, backends, UUIDs. Pure; mistakes are `Malformed`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.options.keys import check_keys
from migmatrix.emulator.options.keyvalue import Malformed, identifier, integer, pairs, size
from migmatrix.emulator.options.memorytypes import memory_backends
from migmatrix.emulator.options.records import Backend, Smp
from migmatrix.emulator.texts import text
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from migmatrix.emulator.options.keyvalue import Pairs

__all__ = [
    "channel",
    "check_backend",
    "check_boot",
    "check_chardev",
    "check_lines",
    "check_uuid",
    "default_channel",
    "descriptor",
    "global_property",
    "smp",
]

Channel = tuple[str, "Pairs"]

_SOCKET_KEYS: Final = frozenset(("server", "wait", "nodelay", "delay", "reconnect", "reconnect-ms", "logfile",
                                 "logappend", "telnet", "ipv4", "ipv6", "to", "tight", "abstract"))  # fmt: skip
_STDERR: Final = 2
_NEVER: Final = "999"
_SMP_KEYS: Final = {
    **dict.fromkeys(("cpus", "maxcpus", "sockets", "dies", "cores", "threads"), ""), "clusters": "7.0", "modules": "9.1",
}  # fmt: skip

# What a user may create in QEMU 10.0 (-object help); 11.1's monitor-* are not the emulator's.
_OBJECTS: Final = frozenset(
    ("acpi-generic-initiator", "acpi-generic-port", "authz-list", "authz-list-file", "authz-simple", "can-bus",
     "can-host-socketcan", "colo-compare", "cryptodev-backend", "cryptodev-backend-builtin", "cryptodev-vhost-user",
     "dbus-vmstate", "filter-buffer", "filter-dump", "filter-mirror", "filter-redirector", "filter-replay",
     "filter-rewriter", "input-barrier", "input-linux", "iommufd", "iothread", "main-loop", "memory-backend-file",
     "memory-backend-memfd", "memory-backend-ram", "memory-backend-shm", "pr-manager-helper", "qtest",
     "rng-builtin", "rng-egd", "rng-random", "secret", "secret_keyring", "sev-guest", "sev-snp-guest",
     "thread-context", "throttle-group", "tls-cipher-suites", "tls-creds-anon", "tls-creds-psk", "tls-creds-x509",
     "x-remote-object")
)  # fmt: skip
_NETDEVS: Final = frozenset(
    ("hubport", "user", "socket", "stream", "dgram", "tap", "bridge", "l2tpv3", "vde")
)
_BLOCKS: Final = frozenset(("null-co", "null-aio", "file", "raw", "qcow2"))
_FSDRIVERS: Final = frozenset(("local", "synth"))
_AUDIOS: Final = frozenset(("none", "wav"))


def check_chardev(kind: str, found: dict[str, str], release: str) -> None:
    """What a chardev of `kind` cannot do without, and what it does not take."""
    check_keys("chardev", kind, {key: value for key, value in found.items() if key != "id"}, release)
    ways = [way for way in ("path", "fd", "host") if way in found]
    if kind == "socket" and (len(ways) > 1 or not (ways or lives("6.0", "", release))):
        raise Malformed(text(release, "chardev-ways"))
    if kind == "socket" and not ways:
        raise Malformed("Unable to parse FD number ")
    if kind in ("file", "pipe") and "path" not in found:
        raise Malformed(f"chardev: {kind}: no {'filename' if kind == 'file' else 'device path'} given")
    if kind == "socket" and "host" in found and "port" not in found:
        raise Malformed("chardev: socket: no port given")
    if kind == "ringbuf" and (amount := size("size", found.get("size", "65536"))) & (amount - 1):
        raise Malformed("size of ringbuf chardev must be power of two")


def channel(given: str, where: str) -> Channel:
    """A chardev in the short form of -qmp and -serial (``unix:PATH,server=on,wait=off``)."""
    if given in ("null", "stdio", "pty", "vc"):
        return given, ()
    scheme, colon, rest = given.partition(":")
    if colon and scheme in ("unix", "tcp", "telnet"):
        return "socket", _socket(scheme, rest, given, where)
    if colon and scheme in ("file", "pipe"):
        return scheme, (("path", rest),)
    bogus = "" if colon else f"{where}: '{given}' is not a valid char driver\nqemu-system-x86_64: "
    raise FatalError(f"{bogus}{where}: parse error: {given}")


def default_channel(given: str, kind: str, where: str) -> Channel:
    """As `channel`, with -serial's and -parallel's sentence for what is none."""
    try:
        return channel(given, where)
    except FatalError as err:
        raise FatalError(
            f"{where}: '{given}' is not a valid char driver\n"
            f"qemu-system-x86_64: {where}: could not connect {kind} device to character backend '{given}'"
        ) from err


def check_lines(release: str, lists: dict[str, list[Any]]) -> None:
    """FatalError for a port of `-serial` or `-parallel` whose chardev there is not, or that another port has."""
    known, taken = {chardev.id for chardev in lists["chardevs"]}, set[str]()
    for kind in ("serial", "parallel"):
        for name in filter(None, lists[kind]):
            if name not in known:
                given = f"chardev:{name}"
                raise FatalError(
                    f"-{kind} {given}: could not connect {kind} device to character backend '{given}'"
                )
            if name in taken:
                raise FatalError(text(release, "chardev-in-use", name=name))
            taken.add(name)


def check_boot(devices: str) -> None:
    """The letters of `-boot order=`: each a drive, once; FatalError."""
    for at, letter in enumerate(devices):
        if not "a" <= letter <= "p":
            raise FatalError(f"Invalid boot device '{letter}'")
        if letter in devices[:at]:
            raise FatalError(f"Boot device '{letter}' was given twice")


def _socket(scheme: str, rest: str, given: str, where: str) -> Pairs:
    found = dict(pairs(rest, "address"))
    address = found.pop("address", "")
    for key in found:
        if key not in _SOCKET_KEYS:
            raise FatalError(
                f"{where}: Invalid parameter '{key}'\nqemu-system-x86_64: {where}: parse error: {given}"
            )
    if scheme == "unix":
        return (("path", address), *found.items())
    host, colon, port = address.rpartition(":")
    if not colon:
        raise FatalError(f"{where}: parse error: {given}")
    return (("host", host), ("port", port), *found.items())


def smp(given: str, release: str) -> Smp:
    """-smp as given; see `emulator.topology`."""
    found: dict[str, int] = {}
    for key, value in pairs(given, "cpus"):
        if not lives(_SMP_KEYS.get(key, _NEVER), "", release):
            raise FatalError(text(release, "smp-key", value=given, name=key))
        if not value.isdigit():
            raise FatalError(text(release, "smp", value=value, name=key))
        found[key] = int(value)
    zero = 0 in found.values()
    if zero and lives("9.0", "", release):
        raise FatalError("Invalid CPU topology: CPU topology parameters must be greater than zero")
    clusters = found.pop("clusters", 0)
    if clusters > lives("8.0", "", release):
        raise FatalError(text(release, "clusters"))
    return Smp(**found, zero=zero)


def check_backend(option: str, implied: str, found: dict[str, str], where: str, release: str) -> Backend:
    """A backend whose kind exists and whose id is given; takes both out of `found`."""
    kind = found.pop(implied, "")
    known = {"object": _OBJECTS, "netdev": _NETDEVS, "blockdev": _BLOCKS, "fsdev": _FSDRIVERS}.get(
        option, _AUDIOS
    )
    if not kind and option in ("object", "netdev", "blockdev"):
        raise _problem(option, f"Parameter '{implied}' is missing", where, release)
    too_new = kind.startswith("memory-backend-") and kind not in memory_backends(release)
    if kind not in known or too_new:
        raise FatalError(_unknown_kind(option, kind, where, release))
    id_key = "node-name" if option == "blockdev" else "id"
    if id_key not in found and option == "blockdev":
        raise Malformed("'node-name' must be specified for the root node")
    if id_key not in found:
        raise _problem(option, f"Parameter '{id_key}' is missing", where, release)
    if option == "netdev" and kind == "hubport" and "hubid" not in found:
        raise FatalError(text(release, "netdev", where=where, problem="Parameter 'hubid' is missing"))
    name = identifier(found.pop(id_key))
    try:
        check_keys(option, kind, found, release)
    except Malformed as why:
        raise _problem(option, str(why), where, release) from why
    return Backend(option, kind, name, tuple(found.items()), where)


def _unknown_kind(option: str, kind: str, where: str, release: str) -> str:
    if option == "object":
        return text(release, "object-type", where=where, value=kind)
    if option == "blockdev":
        return text(release, "blockdev-driver", where=where, value=kind)
    problem = text(release, "enum", name="type" if option == "netdev" else "driver", value=kind)
    return str(_problem(option, problem, where, release)) if option == "netdev" else f"{where}: {problem}"


def _problem(option: str, problem: str, where: str, release: str) -> Exception:
    """A mistake in the words of the option: 5.2 does not name -netdev."""
    return (
        FatalError(text(release, "netdev", where=where, problem=problem))
        if option == "netdev"
        else Malformed(problem)
    )


def check_uuid(given: str) -> str:
    """A UUID in lower case."""
    parts = given.split("-")
    digits = "".join(parts)
    if [len(part) for part in parts] != [8, 4, 4, 4, 12] or not set(digits.lower()) <= set(
        "0123456789abcdef"
    ):
        raise Malformed("failed to parse UUID string: wrong format")
    return given.lower()


def descriptor(given: str) -> tuple[int, int, str]:
    """A descriptor that was inherited, the set that it goes into, and a note (`-add-fd`)."""
    found = dict(pairs(given))
    if unknown := [key for key in found if key not in ("fd", "set", "opaque")]:
        raise Malformed(f"Invalid parameter '{unknown[0]}'")
    fd, number = integer("fd", found.get("fd", "-1")), integer("set", found.get("set", "-1"))
    if fd < 0:
        raise Malformed("fd option is required and must be non-negative")
    if fd <= _STDERR:
        raise Malformed("fd cannot be a standard I/O stream")
    try:
        os.fstat(fd)
    except OSError as error:
        raise Malformed("fd is not valid or already in use") from error
    if number < 0:
        raise Malformed("set option is required and must be non-negative")
    return fd, number, found.get("opaque", "")


def global_property(given: str) -> tuple[str, str, str]:
    """Driver, property and value of a `-global`, in either form."""
    driver, dot, rest = given.partition(".")
    prop, equals, value = rest.partition("=")
    if dot and equals and "=" not in driver:
        return driver, prop, value
    names = ("driver", "property", "value")
    found = dict(pairs(given))
    if unknown := [key for key in found if key not in names]:
        raise Malformed(f"Invalid parameter '{unknown[0]}'")
    if not all(key in found for key in names):
        raise Malformed("options 'driver', 'property', and 'value' are required")
    return found["driver"], found["property"], found["value"]
