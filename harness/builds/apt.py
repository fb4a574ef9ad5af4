# SPDX-License-Identifier: Apache-2.0
"""The Debian mirror that this host uses, read from its apt configuration.

So that no mirror is written into this repository: where the host has none, the caller leaves the
choice to the tool that fetches. Formats: sources.list(5), one-line style and deb822 style.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["debian_mirror", "mirrors_in_deb822", "mirrors_in_list"]

_ONE_LINE = re.compile(r"deb\s+(?:\[[^]]*\]\s+)?(?P<uri>\S+)\s+\S+")
_FIELD = re.compile(r"(?P<name>[A-Za-z-]+):\s*(?P<value>.*)")


def debian_mirror(etc_apt: Path = Path("/etc/apt")) -> str | None:
    """The first mirror whose path ends in `debian`, or None; unreadable files are passed over by apt too."""
    for uri in _all_mirrors(etc_apt):
        if uri.rstrip("/").endswith("/debian"):
            return uri.rstrip("/")
    return None


def _all_mirrors(etc_apt: Path) -> Iterator[str]:
    parts = etc_apt / "sources.list.d"
    for file in (etc_apt / "sources.list", *sorted(parts.glob("*.list"))):
        if file.is_file():
            yield from mirrors_in_list(file.read_text(encoding="utf-8", errors="replace"))
    for file in sorted(parts.glob("*.sources")):
        yield from mirrors_in_deb822(file.read_text(encoding="utf-8", errors="replace"))


def mirrors_in_list(text: str) -> Iterator[str]:
    """URIs of the `deb` lines of a one-line style file, in order."""
    for line in text.splitlines():
        if match := _ONE_LINE.match(line.strip()):
            yield match["uri"]


def mirrors_in_deb822(text: str) -> Iterator[str]:
    """URIs of the enabled `deb` stanzas of a deb822 style file, in order."""
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields = _fields(stanza)
        enabled = fields.get("enabled", "yes").lower() not in {"no", "false", "0", "off"}
        if enabled and "deb" in fields.get("types", "").split():
            yield from fields.get("uris", "").split()


def _fields(stanza: str) -> dict[str, str]:
    """Fields by lower-case name; continuation lines are joined, comment lines dropped."""
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1].isspace() and name:
            fields[name] += " " + line.strip()
        elif match := _FIELD.match(line):
            name = match["name"].lower()
            fields[name] = match["value"].strip()
    return fields
