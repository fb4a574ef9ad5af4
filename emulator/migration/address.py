# SPDX-License-Identifier: Apache-2.0
"""Addresses of streams: reads URIs and channel lists as QEMU does. It opens nothing.

tcp:HOST:PORT   unix:PATH   vsock:CID:PORT   exec:COMMAND   fd:NAME   file:PATH[,offset=BYTES] (from 8.2)
rdma:HOST:PORT
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.inet import Inet, parse_inet, read_inet
from migmatrix.vmstate.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from migmatrix.emulator.migration.tls import Tls
    from migmatrix.emulator.migration.traits import Traits

__all__ = ["Address", "from_channels", "parse_uri"]


_SIZE: Final = re.compile(r"(0x[0-9a-f]+|\d+(\.\d*)?)([bkmgtpe]?)", re.IGNORECASE)
_MOST: Final = 1 << 64


class Address(Record):
    """`kind` is tcp, unix, vsock, rdma, exec, fd or file; `target` a path, command or name, `command` its words.

    `inet` is host and port of tcp and rdma; of vsock they are numbers. `tls` is None unless it is encrypted.
    """

    kind: str
    target: str = ""
    inet: Inet = Inet("", "")
    offset: int = 0
    command: tuple[str, ...] = ()
    tls: Tls | None = None


def _error(text: str) -> QmpError:
    return QmpError("GenericError", text)


def parse_uri(uri: str, traits: Traits, *, incoming: bool) -> Address:
    """The address that `uri` means; QmpError."""
    kind, _, rest = uri.partition(":")
    if kind in _KINDS and (kind != "file" or traits.file_transport):
        return _KINDS[kind](rest, traits)
    if incoming or traits.address_first:
        raise _error(f"unknown migration protocol: {uri}")
    raise _error("Parameter 'uri' expects a valid migration protocol")


def _unix(text: str, _: Traits) -> Address:
    if not text:
        raise _error("invalid Unix socket address")
    return Address("unix", text)


def _exec(text: str, _: Traits) -> Address:
    return Address("exec", text, command=("/bin/sh", "-c", text))


def _fd(text: str, traits: Traits) -> Address:
    if not text and traits.address_first:
        raise _error("invalid file descriptor address")
    return Address("fd", text)


def _tcp(text: str, traits: Traits) -> Address:
    try:
        return Address("tcp", inet=parse_inet(text, whole=traits.whole_inet))
    except ValueError as error:
        raise _error(str(error)) from error


def _vsock(text: str, _: Traits) -> Address:
    found = re.match(r"([^:]{1,32}):([^,]{1,32})$", text)
    if found is None:
        raise _error(f"error parsing address '{text}'")
    return Address("vsock", inet=Inet(found[1], found[2]))


def _rdma(text: str, traits: Traits) -> Address:
    try:
        return Address("rdma", inet=parse_inet(text, whole=traits.whole_inet))
    except ValueError as error:
        words = str(error) if traits.address_first else f"RDMA ERROR: bad RDMA migration address '{text}'"
        raise _error(words) from error


def _file(text: str, _: Traits) -> Address:
    path, has_offset, offset = text.partition(",offset=")
    if not has_offset:
        return Address("file", path)
    return Address("file", path, offset=_offset(offset))


def _offset(text: str) -> int:
    """A size as QEMU reads one: fractions need a suffix, hexadecimal numbers have none."""
    found = _SIZE.fullmatch(text)
    value = None
    if found is not None and not (found[1][1:2] in ("x", "X") and found[3]):
        unit = 1 << 10 * "bkmgtpe".index(found[3].lower() or "b")
        whole, _, fraction = found[1].partition(".")
        if not fraction.strip("0") or unit > 1:
            value = int(whole, 0 if whole[1:2] in ("x", "X") else 10) * unit + int(
                float(f"0.{fraction or 0}") * unit
            )
    if re.fullmatch(r"-\d+", text) or (value is not None and value >= _MOST):
        raise _error(f"file URI has bad offset {text}: Numerical result out of range")
    if value is None:
        raise _error(f"file URI has bad offset {text}: Invalid argument")
    return value


def from_channels(channels: Sequence[Any]) -> Address:
    """The address of the main channel of a `channels` list; QmpError."""
    for kind in ("main", "cpr"):
        if sum(channel["channel-type"] == kind for channel in channels) > 1:
            raise _error(f"Channel list has more than one {kind} entry")
    addr = next((channel["addr"] for channel in channels if channel["channel-type"] == "main"), None)
    if addr is None:
        raise _error("Channel list has no main entry")
    return _CHANNELS[addr["transport"], addr.get("type", "")](addr)


def _arguments(addr: Mapping[str, Any]) -> Address:
    if not addr["args"]:  # QEMU crashes
        raise _error("Parameter 'channels[0].addr.args' is missing")
    return Address("exec", " ".join(addr["args"]), command=tuple(addr["args"]))


_KINDS: Final[dict[str, Callable[[str, Traits], Address]]] = {
    "tcp": _tcp, "unix": _unix, "vsock": _vsock, "exec": _exec, "fd": _fd, "file": _file, "rdma": _rdma,
}  # fmt: skip
_CHANNELS: Final[dict[tuple[str, str], Callable[[Mapping[str, Any]], Address]]] = {
    ("exec", ""): _arguments,
    ("rdma", ""): lambda addr: Address("rdma", inet=read_inet(addr)),
    ("file", ""): lambda addr: Address("file", addr["filename"], offset=addr["offset"]),
    ("socket", "unix"): lambda addr: Address("unix", addr["path"]),
    ("socket", "inet"): lambda addr: Address("tcp", inet=read_inet(addr)),
    ("socket", "vsock"): lambda addr: Address("vsock", inet=Inet(addr["cid"], addr["port"])),
    ("socket", "fd"): lambda addr: Address("fd", addr["str"]),
}
