# SPDX-License-Identifier: Apache-2.0
"""Which migration capabilities go together, by release: a table, in the order in which QEMU looks. Pure.

Words and order were seen on QEMU 5.2, 7.2, 10.0 and 11.1, for all sets of up to three capabilities
(`tests/data/recorded/capability-sets.json`); of rules that came or went between two of these, the releases are from
QEMU's history where it is known, else the later one's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from migmatrix.emulator.migration.traits import Span

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Surroundings", "refusal"]


class Surroundings(NamedTuple):
    """What beside capabilities counts: is an incoming migration begun, are streams encrypted or packed, ..."""

    listening: bool = False
    tls: bool = False
    packed: bool = False  # `multifd-compression` is not `none`
    dirty_ring: bool = False
    trackable: bool = True  # writes to all of the memory can be seen


class _Rule(NamedTuple):
    """The words for a set that has `name`, and also `clash`, or not `needs`, or where `when` says so."""

    name: str
    words: str
    clash: str = ""
    needs: str = ""
    when: str = ""
    span: Span = Span()


_NO_SNAPSHOT: Final = (
    "postcopy-ram", "dirty-bitmaps", "postcopy-blocktime", "late-block-activate", "return-path", "multifd",
    "pause-before-switchover", "auto-converge", "release-ram", "rdma-pin-all", "compress", "xbzrle", "x-colo",
    "validate-uuid", "zero-copy-send",
)  # fmt: skip
_ZERO_COPY: Final = "Zero copy only available for non-compressed non-TLS multifd migration"
_DIRTY_LIMIT: Final = "dirty-limit conflicts with auto-converge either of then available currently"
_NO_RING: Final = "dirty-limit requires KVM with accelerator property 'dirty-ring-size' set"
_RULES: Final = (
    _Rule("x-colo", "Capability 'x-colo' requires capability 'return-path'", needs="return-path", span=Span("11.1")),
    _Rule("postcopy-ram", "Postcopy is not compatible with ignore-shared", clash="x-ignore-shared"),
    _Rule("postcopy-ram", "Postcopy is not yet compatible with multifd", clash="multifd", span=Span("8.1", "10.1")),
    _Rule("background-snapshot", "Background-snapshot is not compatible with guest memory configuration",
          when="untrackable"),
    *(
        _Rule("background-snapshot", f"Background-snapshot is not compatible with {name}", clash=name)
        for name in _NO_SNAPSHOT
    ),
    _Rule("zero-copy-send", _ZERO_COPY, needs="multifd"),
    _Rule("zero-copy-send", _ZERO_COPY, clash="compress"),
    _Rule("zero-copy-send", _ZERO_COPY, clash="xbzrle"),
    _Rule("zero-copy-send", _ZERO_COPY, when="packed"),
    _Rule("zero-copy-send", _ZERO_COPY, when="tls"),
    _Rule("postcopy-preempt", "Postcopy preempt requires postcopy-ram", needs="postcopy-ram"),
    _Rule("postcopy-preempt", "Postcopy preempt not compatible with compress", clash="compress"),
    _Rule("postcopy-preempt", "Postcopy preempt must be set before incoming starts", when="begun", span=Span("8.0")),
    _Rule("multifd", "Multifd is not compatible with compress", clash="compress", span=Span("7.1")),
    _Rule("multifd", "Multifd must be set before incoming starts", when="begun", span=Span("8.0")),
    _Rule("switchover-ack", "Capability 'switchover-ack' requires capability 'return-path'", needs="return-path"),
    _Rule("dirty-limit", _DIRTY_LIMIT, clash="auto-converge"),
    _Rule("dirty-limit", _NO_RING, when="ringless"),
    _Rule("multifd", "Multifd is not compatible with xbzrle", clash="xbzrle", span=Span("10.0")),
    _Rule("mapped-ram", "Mapped-ram migration is incompatible with xbzrle", clash="xbzrle"),
    _Rule("mapped-ram", "Mapped-ram migration is incompatible with compression", clash="compress"),
    _Rule("mapped-ram", "Mapped-ram migration is incompatible with postcopy", clash="postcopy-ram"),
)  # fmt: skip


def refusal(release: str, old: Mapping[str, bool], new: Mapping[str, bool], around: Surroundings) -> str:
    """QEMU's words for why `new` capabilities cannot follow `old` ones, by name; "" when they can."""
    for rule in _RULES:
        if new.get(rule.name) and rule.span.covers(release) and _broken(rule, old, new, around):
            return rule.words
    return ""


def _broken(rule: _Rule, old: Mapping[str, bool], new: Mapping[str, bool], around: Surroundings) -> bool:
    if rule.clash:
        return bool(new.get(rule.clash))
    if rule.needs:
        return not new.get(rule.needs)
    return {
        "begun": around.listening and not old.get(rule.name),
        "packed": around.packed,
        "tls": around.tls,
        "ringless": not around.dirty_ring,
        "untrackable": not around.trackable,
    }[rule.when]
