# SPDX-License-Identifier: Apache-2.0
"""The lines of `migmatrix stream show`, made of what `vmstate.view.outline` found."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["rendered"]

_FEW: Final = 3  # parts in a row that are worth a line each


def rendered(found: dict[str, Any], narrow: bool, most: int | None) -> Iterator[str]:
    """Lines of what `outline` found, without head and tail when `narrow`.

    `most` characters of a value; None: all, and each part of an iterated section.
    """
    if not narrow:
        yield from _head(found)
    elements = found["sections"] if narrow else [*found["sections"], *found["commands"]]
    in_order = sorted(elements, key=lambda element: element["offset"])
    for are_parts, entries in groupby(in_order, lambda entry: most is not None and _is_part(entry)):
        some = list(entries)
        yield from _parts(some) if are_parts else _each(some, most)
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
    for channel in found["channels"]:
        pages = f"{channel['pages']} pages, {channel['size']} bytes"
        yield f"  channel {channel['kind']}: {channel['file']}, {pages}"
    for block in found["ram"]:
        kinds = {k: v for k, v in block.items() if k not in {"name", "used_length", "address"}}
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "no pages"
        yield f"  ram {block['name']}: {block['used_length']:#x} bytes, {counts}"


def _each(entries: Iterable[dict[str, Any]], most: int | None) -> Iterator[str]:
    for entry in entries:
        yield from _section(entry, most) if "kind" in entry else _command(entry)


def _is_part(entry: dict[str, Any]) -> bool:
    return entry.get("kind") == "part" and "fields" not in entry


def _parts(entries: list[dict[str, Any]]) -> Iterator[str]:
    """Parts of iterated sections that follow each other: a few as they are, many as one line for each section."""
    if len(entries) <= _FEW:
        yield from _each(entries, _FEW)
        return
    sections: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for entry in entries:
        sections.setdefault((entry["name"], entry["instance"]), []).append(entry)
    for (name, instance), parts in sections.items():
        first, last, size = parts[0], parts[-1], sum(part["size"] for part in parts)
        title = f"{name}#{instance} v{first['version']}"
        up_to = f", the last at {last['offset']:#x}" if len(parts) > 1 else ""
        count = f"{len(parts)} parts, {size} bytes{up_to} (--full)"
        yield f"{first['offset']:#010x}  part   {title}  {count}"


def _section(entry: dict[str, Any], most: int | None) -> Iterator[str]:
    name = f"{entry['name']}#{entry['instance']} v{entry['version']}"
    footer = "" if entry["footer"] else ", no footer"
    yield f"{entry['offset']:#010x}  {entry['kind']:<5}  {name}  {entry['size']} bytes{footer}"
    for field in entry.get("fields", ()):
        names = field.get("registers", ())
        value = _cut(_value(field["value"], field.get("size", 0), names), None if names else most)
        register = f" ({field['register']})" if "register" in field else ""
        yield f"    {field['offset']:#010x}  {field['path']}{register} = {value}  ({field['type']})"


def _value(value: Any, size: int, names: Sequence[str]) -> str:
    """A number with its bytes, `size` of them; -1 has those of its two's complement. Elements with their `names`."""
    if isinstance(value, list) and names:
        return "[" + " ".join(f"{name}={item:#x}" for name, item in zip(names, value, strict=True)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(str, value)) + "]"
    if not isinstance(value, int) or isinstance(value, bool):
        return str(value)
    return f"{value} ({value + (1 << 8 * size) if value < 0 else value:#x})"


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
