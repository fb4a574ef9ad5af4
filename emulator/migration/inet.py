# SPDX-License-Identifier: Apache-2.0
"""Addresses of hosts and ports, as `tcp:` and channels give them. Pure; mistakes are `ValueError` in QEMU's words.

HOST:PORT   :PORT   [IPV6]:PORT   each with ,to=LAST_PORT ,ipv4[=on|off] ,ipv6[=on|off] ,numeric ,keep-alive ,mptcp

Up to 10.0 QEMU looks for the options that it knows and overlooks the rest of the text; from 10.1 it reads all of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.options.keyvalue import Malformed, flag, integer, pairs
from migmatrix.vmstate.record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Inet", "parse_inet", "read_inet"]

_FLAGS: Final = ("numeric", "ipv4", "ipv6", "keep-alive", "mptcp")
_COUNTS: Final = ("to", "keep-alive-count", "keep-alive-idle", "keep-alive-interval")
_FORMS: Final = {  # by the first character of the text
    ":": (re.compile(r"():([^,]{1,32})"), "error parsing port in address '{}'"),
    "[": (re.compile(r"\[([^\]]{1,64})\]:([^,]{1,32})"), "error parsing IPv6 address '{}'"),
    "": (re.compile(r"([^:]{1,64}):([^,]{1,32})"), "error parsing address '{}'"),
}


class Inet(Record):
    """`to` is the last port to try when listening, 0 for just one; `ipv4` and `ipv6` are None when not given."""

    host: str
    port: str
    to: int = 0
    ipv4: bool | None = None
    ipv6: bool | None = None
    numeric: bool = False
    keep_alive: bool = False
    mptcp: bool = False


def read_inet(given: Mapping[str, Any]) -> Inet:
    """The address that an object of QMP gives."""
    named = {name.replace("-", "_"): value for name, value in given.items()}
    return Inet(**{name: named[name] for name in Inet.__match_args__ if name in named})


def parse_inet(text: str, *, whole: bool) -> Inet:
    """The address that a text means; `whole` as from 10.1."""
    form, words = _FORMS.get(text[:1], _FORMS[""])
    found = form.match(text)
    if found is None:
        raise ValueError(words.format(text))
    rest = text[found.end() :]
    options = _whole(rest) if whole else _known(rest)
    return read_inet({"host": found[1], "port": found[2], **options})


def _whole(rest: str) -> dict[str, Any]:
    try:
        found = dict(pairs(rest.removeprefix(",")))
        for name in found:
            if name not in (*_FLAGS, *_COUNTS):
                raise ValueError(f"Invalid parameter '{name}'")
        return {name: (flag if name in _FLAGS else integer)(name, value) for name, value in found.items()}
    except Malformed as error:
        raise ValueError(str(error)) from error


def _known(rest: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if ",to=" in rest:
        digits = re.match(r" *-?\d+(?=,|$)", rest.partition(",to=")[2])
        if digits is None:
            raise ValueError("error parsing to= argument")
        found["to"] = int(digits[0])
    for name in _FLAGS[1:]:
        _, there, value = rest.partition(f",{name}")
        if there:
            found[name] = _flag(name, value)
    return found


def _flag(name: str, text: str) -> bool:
    value, _, after = text.partition(",")
    if after.startswith(",") or value not in ("", "=on", "=off"):
        raise ValueError(f"error parsing '{name}' flag '{text}'")
    return value != "=off"
