# SPDX-License-Identifier: Apache-2.0
"""The lines of `migmatrix stream show`, made of what `vmstate.view.outline` found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["rendered"]


def rendered(found: dict[str, Any], narrow: bool, most: int | None) -> Iterator[str]:
    """Lines of what `outline` found, without head and tail when `narrow`; `most` characters of a value, None: all."""
    if not narrow:
        yield from _head(found)
    elements = found["sections"] if narrow else [*found["sections"], *found["commands"]]
    for entry in sorted(elements, key=lambda element: element["offset"]):
        yield from _section(entry, most) if "kind" in entry else _command(entry)
    if not narrow:
        yield from _tail(found)
    for run in found.get("pages", ()):
        yield f"{run['offset']:#010x}  {run['block']}[{run['first']:#x}]  {run['count']} {run['kind']}"


def _head(found: dict[str, Any]) -> Iterator[str]:
    capabilities = ", ".join(found["capabilities"]) or "none"
    yield f"{found['file']}: {found['size']} bytes, machine {found['machine'] or 'not named'}"
    if found["inside"]:
        yield f"  in: {found['inside']}; offsets are the stream's"
    yield f"  announced capabilities: {capabilities}"
    if found["uuid"]:
        yield f"  uuid: {found['uuid']}"
    for block in found["ram"]:
        kinds = {k: v for k, v in block.items() if k not in {"name", "used_length", "address"}}
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no pages"
        yield f"  ram {block['name']}: {block['used_length']:#x} bytes, {counts}"


def _section(entry: dict[str, Any], most: int | None) -> Iterator[str]:
    name = f"{entry['name']}#{entry['instance']} v{entry['version']}"
    footer = "" if entry["footer"] else ", no footer"
    yield f"{entry['offset']:#010x}  {entry['kind']:<5}  {name}  {entry['size']} bytes{footer}"
    for field in entry.get("fields", ()):
        value = _cut(_value(field["value"]), most)
        yield f"    {field['offset']:#010x}  {field['path']} = {value}  ({field['type']})"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "[" + " ".join(map(str, value)) + "]"
    return f"{value} ({value:#x})" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _cut(text: str, most: int | None) -> str:
    return text if most is None or len(text) <= most else f"{text[:most]}... ({len(text)} characters, --full)"


def _command(command: dict[str, Any]) -> Iterator[str]:
    arguments = {k: v for k, v in command.items() if k not in {"offset", "name"}}
    yield f"{command['offset']:#010x}  command  {command['name']} {arguments or ''}".rstrip()


def _tail(found: dict[str, Any]) -> Iterator[str]:
    described = found["description"]
    if described:
        yield (
            f"{described['offset']:#010x}  description of {described['devices']} devices, {described['size']} bytes"
        )
    lost = found["undelimited"]
    if lost:
        yield (
            f"{lost['offset']:#010x}  nothing tells the length of {lost['section']!r}: {lost['size']} bytes not read"
        )
    if found["trailing"]:
        yield f"{found['trailing']} bytes after the end"
    if found["error"]:
        yield f"not understood: {found['error']}"
    for guess in found["guessed"]:
        yield f"{guess['offset']:#010x}  nothing tells the length of {guess['section']!r}: its end is a guess"
