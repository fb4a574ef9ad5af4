# SPDX-License-Identifier: Apache-2.0
"""Types of memory backends and their properties, for clients that look before they start a guest (libvirt does).

Names, kinds and life-times: `qom-list-properties` of real 5.2, 7.2, 10.0 and 11.1.
"""

from __future__ import annotations

from typing import Final

from migmatrix.vmstate.device.lifetime import lives

__all__ = ["memory_backends", "memory_properties"]

_ALL: Final = (
    ("type", "string", ""), ("share", "bool", ""), ("size", "int", ""), ("dump", "bool", ""),
    ("prealloc-threads", "int", ""), ("x-use-canonical-path-for-ramblock-id", "bool", ""),
    ("policy", "HostMemPolicy", ""), ("prealloc-context", "link<thread-context>", "7.2"), ("prealloc", "bool", ""),
    ("reserve", "bool", "6.1"), ("host-nodes", "int", ""), ("merge", "bool", ""),
)  # fmt: skip
_OWN: Final[dict[str, tuple[tuple[str, str, str], ...]]] = {
    "memory-backend-ram": (),
    "memory-backend-file": (
        ("align", "int", ""), ("pmem", "bool", ""), ("mem-path", "string", ""), ("discard-data", "bool", ""),
        ("readonly", "bool", "6.0"), ("offset", "int", "8.1"), ("rom", "OnOffAuto", "8.2"),
    ),
    "memory-backend-memfd": (("hugetlb", "bool", ""), ("seal", "bool", ""), ("hugetlbsize", "int", "")),
    "memory-backend-shm": (),
}  # fmt: skip
_SINCE: Final = {"memory-backend-shm": "9.1"}


def memory_backends(release: str) -> list[str]:
    """The kinds that a release has."""
    return [kind for kind in _OWN if lives(_SINCE.get(kind, ""), "", release)]


def memory_properties(kind: str, release: str) -> list[dict[str, str]] | None:
    """Name and type of each property of a kind of backend; None for what is none."""
    if kind not in memory_backends(release):
        return None
    rows = (*_ALL, *_OWN[kind])
    return [{"name": name, "type": type_} for name, type_, since in rows if lives(since, "", release)]
