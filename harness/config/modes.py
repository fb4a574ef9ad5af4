# SPDX-License-Identifier: Apache-2.0
"""Modes that cannot come to an end, or never say anything of a build, because of how they are set up.

1. A snapshot, `exec` and `file` go one way: a source that waits for its destination's answer waits for ever, which is
   told as the build's hang.
2. A capability that needs another kind of connection is refused by every build, whatever its version.
3. What only some versions refuse is a verdict's business.

Facts: each capability over each transport on QEMU 7.2.22, 10.0.13 and 11.1.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["cannot_end"]

_TWO_WAYS = ("tcp", "unix", "fd")
_ANSWER = "makes the source wait for an answer, and no answer comes over {transport}: use one of {needed}"
_BOTH = ("", "source", "destination")
_COLO = "never ends a migration: the two sides go on in lockstep"


class _Rule(NamedTuple):
    """The transports on which a capability can be tried, and what happens on another."""

    transports: tuple[str, ...]
    wrong: str
    sides: tuple[str, ...] = ("", "source")


_RULES: Mapping[str, _Rule] = {
    "return-path": _Rule(_TWO_WAYS, _ANSWER),
    "postcopy-ram": _Rule((*_TWO_WAYS, "file"), _ANSWER),  # over a file no answer is waited for
    "x-colo": _Rule((), _COLO),
    "zero-copy-send": _Rule(("tcp",), "needs a TCP connection, not {transport}: use {needed}"),
    "mapped-ram": _Rule(("file",), "needs a file to seek in, not {transport}: use {needed}", _BOTH),
    "multifd": _Rule(
        ("tcp", "unix", "file"), "needs several connections, not {transport}: use one of {needed}", _BOTH
    ),
}


def cannot_end(transport: str | None, sides: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, int, str]]:
    """Side ("", "source", "destination"), place in its list and the reason, for each capability that cannot work.

    `sides` are the capabilities by side, "" for both.
    """
    for side, names in sides.items():
        for index, name in enumerate(names):
            rule = _RULES.get(name)
            if name == "multifd" and transport == "file" and "mapped-ram" not in (*sides.get("", ()), *names):
                yield side, index, "the capability 'multifd' over a file needs 'mapped-ram', too"
            if rule and side in rule.sides and transport not in rule.transports:
                words = {"transport": transport or "a snapshot", "needed": ", ".join(rule.transports)}
                yield side, index, f"the capability {name!r} {rule.wrong.format(**words)}"
