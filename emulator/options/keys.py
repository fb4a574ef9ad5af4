# SPDX-License-Identifier: Apache-2.0
"""Keys of -object, -netdev, -chardev and -blockdev: which ones a kind has, and what each takes. Pure; mistakes are `Malformed`.

Kinds that are not here take any key. Names, life-times and words: real QEMU 7.2.22, 10.0.13 and 11.1.3, and `-help` of 5.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from migmatrix.emulator.options.keyvalue import Malformed, flag, integer, size
from migmatrix.emulator.options.memorytypes import memory_properties
from migmatrix.emulator.texts import text
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["check_keys"]

Types = dict[str, str]  # key: bool, int, size, HostMemPolicy, or anything else for a text


def _all(type_: str, names: str) -> Types:
    return dict.fromkeys(names.split(), type_)


_OBJECTS: Final[dict[str, Types]] = {
    "iothread": _all(
        "int", "poll-max-ns poll-grow poll-shrink aio-max-batch thread-pool-min thread-pool-max poll-weight"
    ),
    "rng-random": _all("str", "filename"),
    "rng-egd": _all("str", "chardev"),
    "rng-builtin": {},
    "can-bus": {},
    "tls-creds-x509": {
        **_all("str", "dir endpoint priority passwordid"),
        **_all("bool", "verify-peer sanity-check"),
    },
    "tls-creds-anon": {**_all("str", "dir endpoint priority"), **_all("bool", "verify-peer")},
    "tls-creds-psk": {**_all("str", "dir endpoint priority username"), **_all("bool", "verify-peer")},
    "authz-simple": _all("str", "identity"),
    "secret": _all("str", "data file format keyid iv"),
}
_NETDEVS: Final[dict[str, Types]] = {
    "user": {
        **_all("bool", "restrict ipv4 ipv6"),
        **_all("int", "ipv6-prefixlen"),
        **_all("str", "hostname ip net host tftp bootfile dhcpstart dns dnssearch domainname ipv6-prefix"),
        **_all("str", "ipv6-host ipv6-dns smb smbserver hostfwd guestfwd tftp-server-name"),
    },
    "hubport": {"hubid": "int", "netdev": "str"},
}
# One list for all kinds, as in QEMU.
_CHARDEVS: Final[Types] = {
    **_all("bool", "mux server wait telnet tn3270 websocket signal append logappend ipv4 ipv6 delay nodelay"),
    **_all("bool", "abstract tight mouse clipboard"),
    **_all(
        "str",
        "path input-path host port fd localaddr localport to reconnect reconnect-ms tls-creds tls-authz",
    ),
    **_all("str", "width height cols rows name debug size chardev chardevs logfile encoding"),
}
_NODE: Final[Types] = {
    **_all("bool", "read-only auto-read-only force-share"),
    **_all("str", "discard detect-zeroes cache active"),
}
_NULL: Final[Types] = {**_NODE, **_all("number", "size latency-ns"), **_all("bool", "read-zeroes")}
_BLOCKS: Final[dict[str, Types]] = {
    "null-co": _NULL,
    "null-aio": _NULL,
    "file": {
        **_NODE,
        **_all("str", "filename pr-manager locking aio aio-max-batch"),
        **_all("bool", "drop-cache x-check-cache-dropped"),
    },
    "raw": {**_NODE, **_all("number", "size offset"), "file": "str"},
}
_NEEDED: Final = {
    ("object", "authz-simple"): ("identity",),
    ("object", "memory-backend-file"): ("size", "mem-path"),
    ("object", "memory-backend-ram"): ("size",),
    ("object", "memory-backend-memfd"): ("size",),
    ("object", "memory-backend-shm"): ("size",),
    ("blockdev", "file"): ("filename",),
    ("blockdev", "raw"): ("file",),
    ("blockdev", "qcow2"): ("file",),
}
_SIZES: Final = ("size", "align", "offset", "hugetlbsize")
_POLICIES: Final = ("default", "preferred", "bind", "interleave")
_NEW_RECONNECT: Final = "11.0"  # (by 11.1): only reconnect-ms is left


def check_keys(option: str, kind: str, found: Mapping[str, str], release: str) -> None:
    """Refuse keys that `kind` does not have, values that a key does not take, and what is missing."""
    known = _keys(option, kind, release)
    for key, value in found.items() if known is not None else ():
        head, dot, _ = key.partition(".")
        if known is None or head not in known:
            unexpected = option == "blockdev"
            raise Malformed(
                f"Parameter '{key}' is unexpected" if unexpected else f"Invalid parameter '{key}'"
            )
        if not dot:
            _check(key, value, known[head], release)
    for key in _NEEDED.get((option, kind), ()):
        if not _has(key, found):
            raise Malformed(f"Parameter '{key}' is missing")


def _has(key: str, found: Iterable[str]) -> bool:
    return any(name.partition(".")[0] == key for name in found)


def _keys(option: str, kind: str, release: str) -> Types | None:
    if option == "chardev":
        gone = () if lives("", _NEW_RECONNECT, release) else ("reconnect",)
        return {key: type_ for key, type_ in _CHARDEVS.items() if key not in gone}
    if option == "object" and (rows := memory_properties(kind, release)) is not None:
        return {row["name"]: "size" if row["name"] in _SIZES else row["type"] for row in rows}
    tables = {"object": _OBJECTS, "netdev": _NETDEVS, "blockdev": _BLOCKS}
    return tables.get(option, {}).get(kind)


def _check(key: str, value: str, type_: str, release: str) -> None:
    if type_ == "bool":
        flag(key, value)
    elif type_ == "HostMemPolicy" and value not in _POLICIES:
        raise Malformed(text(release, "enum", name=key, value=value))
    elif type_ in _WORDS and not _is_number(key, value, type_):
        raise Malformed(f"Parameter '{key}' expects {_WORDS[type_]}")


_WORDS: Final = {"size": "a size value", "int": "an int64 value", "number": "integer"}


def _is_number(key: str, value: str, type_: str) -> bool:
    try:
        return size(key, value) >= 0 if type_ == "size" else integer(key, value) >= -(1 << 63)
    except Malformed:
        return False
