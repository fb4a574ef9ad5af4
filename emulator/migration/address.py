# SPDX-License-Identifier: Apache-2.0
"""Addresses of streams: reads URIs and channel lists as QEMU does. It opens nothing.

tcp:HOST:PORT   unix:PATH   exec:COMMAND   fd:NAME   file:PATH[,offset=BYTES] (from 8.2)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migmatrix.emulator.errors import QmpError
from migmatrix.vmstate.record import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migmatrix.emulator.migration.traits import Traits

__all__ = ["Address", "from_channels", "parse_uri"]


class Address(Record):
    """`kind` is tcp, unix, exec, fd or file; `target` a host, path, command or name, `command` its words."""

    kind: str
    target: str
    port: str = ""
    offset: int = 0
    command: tuple[str, ...] = ()


def _error(text: str) -> QmpError:
    return QmpError("GenericError", text)


def parse_uri(uri: str, traits: Traits, *, incoming: bool) -> Address:
    """The address that `uri` means; QmpError."""
    kind, _, rest = uri.partition(":")
    if kind == "tcp":
        return _tcp(rest)
    if kind == "unix":
        if not rest:
            raise _error("invalid Unix socket address")
        return Address("unix", rest)
    if kind == "exec":
        return Address("exec", rest, command=("/bin/sh", "-c", rest))
    if kind == "fd":
        return Address("fd", rest)
    if kind == "file" and traits.file_transport:
        return _file(rest)
    if incoming or traits.address_first:
        raise _error(f"unknown migration protocol: {uri}")
    raise _error("Parameter 'uri' expects a valid migration protocol")


def _tcp(text: str) -> Address:
    host, colon, rest = text.removeprefix("[").partition("]:" if text.startswith("[") else ":")
    port = rest.partition(",")[0]
    if not colon or not port:
        raise _error(f"error parsing address '{text}'")
    return Address("tcp", host, port)


def _file(text: str) -> Address:
    path, has_offset, offset = text.partition(",offset=")
    if not has_offset:
        return Address("file", path)
    factor = {"K": 10, "M": 20, "G": 30}.get(offset[-1:].upper(), 0)
    number = offset[:-1] if factor else offset
    if number[:1] == "-" and number[1:].isdigit():
        raise _error(f"file URI has bad offset {offset}: Numerical result out of range")
    is_hex = number[:2].lower() == "0x"
    try:
        value = int(number, 16 if is_hex else 10) if number.isalnum() else -1
    except ValueError:
        value = -1
    if value < 0 or (is_hex and factor):
        raise _error(f"file URI has bad offset {offset}: Invalid argument")
    return Address("file", path, offset=value << factor)


def from_channels(channels: Sequence[Any]) -> Address:
    """The address of the main channel of a `channels` list; QmpError."""
    for kind in ("main", "cpr"):
        if sum(channel["channel-type"] == kind for channel in channels) > 1:
            raise _error(f"Channel list has more than one {kind} entry")
    addr = next((channel["addr"] for channel in channels if channel["channel-type"] == "main"), None)
    if addr is None:
        raise _error("Channel list has no main entry")
    transport = addr.get("transport")
    if transport == "exec":
        if not addr["args"]:  # QEMU crashes
            raise _error("Parameter 'channels[0].addr.args' is missing")
        return Address("exec", " ".join(addr["args"]), command=tuple(addr["args"]))
    if transport == "file":
        return Address("file", addr["filename"], offset=addr.get("offset", 0))
    if transport == "socket" and addr.get("type") == "unix":
        return Address("unix", addr["path"])
    if transport == "socket" and addr.get("type") == "inet":
        return Address("tcp", addr["host"], str(addr["port"]))
    if transport == "socket" and addr.get("type") == "fd":
        return Address("fd", addr["str"])
    raise _error(f"'{transport}' is not supported by this emulator")
