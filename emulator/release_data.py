# SPDX-License-Identifier: Apache-2.0
"""Reads ``machines/*.yaml`` and ``compat/*.yaml`` and keeps what one release has, as plain data for `Release`.

Life-times are resolved here and only here; the words of the files are explained at their tops. An emulator that
starts from a frozen release does not load this module.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from migmatrix.emulator.devices import index
from migmatrix.emulator.errors import FatalError
from migmatrix.vmstate.device.lifetime import lives, release_key

__all__ = ["effective", "read_facts", "releases"]

_DEVELOPMENT: Final = 50  # X.Y.50 and later are on the way to the release after X.Y


@cache
def _yaml(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506


def _releases(root: str) -> dict[str, Any]:
    data: dict[str, Any] = _yaml(Path(root, "machines", "releases.yaml"))
    return data


def releases(root: str) -> list[str]:
    """All releases that the data know, oldest first."""
    return sorted((str(name) for name in _releases(root)["releases"]), key=release_key)


def effective(release: str, versions: list[str]) -> str:
    """The newest machine version that `release` has: its own X.Y, or the next for a development version."""
    key = release_key(release)
    developing = len(key) > 2 and key[2] >= _DEVELOPMENT  # noqa: PLR2004 - the third number
    passed = [v for v in versions if release_key(v)[:2] <= key[:2]]
    return versions[min(len(passed), len(versions) - 1)] if developing else passed[-1]


def read_facts(release: str, root: str) -> dict[str, Any]:
    """Plain data of `release`; FatalError when it is not listed."""
    data = _releases(root)
    if release not in data["releases"]:
        raise FatalError(f"unknown release '{release}', known are {', '.join(releases(root))}")
    boards = _yaml(Path(root, "machines", "boards.yaml"))["boards"]
    return {
        "name": release,
        "machine_types": [
            t for name, board in boards.items() for t in _machine_types(name, board, release, data)
        ],
        "compat": _compat(root, release),
        "capabilities": _alive(data["capabilities"], release),
        "parameters": _parameters(data["parameters"], release),
        "boards": {name: _board(board, release) for name, board in boards.items()},
        "devices": index(release),
    }


def _alive(entries: list[Any], release: str) -> list[Any]:
    """Names, or mappings ``{name:, since:, until:}``, that live in `release`: the names."""
    pairs = [(e, {}) if isinstance(e, str) else (e["name"], e) for e in entries]
    return [name for name, age in pairs if lives(age.get("since", ""), age.get("until", ""), release)]


def _parameters(entries: dict[str, Any], release: str) -> dict[str, Any]:
    named = [{"name": name, **(e if isinstance(e, dict) else {})} for name, e in entries.items()]
    return {
        name: e["default"] if isinstance(e := entries[name], dict) else e for name in _alive(named, release)
    }


# --- machine types ----------------------------------------------------------------------------------------------


def _machine_types(
    name: str, board: dict[str, Any], release: str, data: dict[str, Any]
) -> list[tuple[Any, ...]]:
    """Newest first. A board without versions is one type."""
    if "first" not in board:
        has = lives(board.get("since", ""), board.get("until", ""), release)
        return [_machine_type(name, board, "")] if has else []
    known = sorted(
        [*data["machine_versions"], *board.get("more_versions", ())], key=release_key, reverse=True
    )
    newest = effective(release, sorted(data["machine_versions"], key=release_key))
    alive = [v for v in known if _has(v, board["first"], newest, data["removal"], release)]
    return [
        _machine_type(name, board, version, version == newest, _reason(version, newest, data["deprecation"], release),
                      _tables(version, newest, known))
        for version in alive
    ]  # fmt: skip


def _has(version: str, first: str, newest: str, removal: dict[str, Any], release: str) -> bool:
    in_range = release_key(first) <= release_key(version) <= release_key(newest)
    return in_range and not _too_old(version, newest, removal, release)


def _too_old(version: str, newest: str, rule: dict[str, Any], release: str) -> bool:
    """QEMU counts a major version as a year: 7.0 is three years old in 10.0."""
    major, minor = release_key(version)[:2]
    return lives(rule["since"], "", release) and (major + rule["years"], minor) <= release_key(newest)[:2]


def _reason(version: str, newest: str, rule: dict[str, Any], release: str) -> str:
    return rule["reason"] if _too_old(version, newest, rule, release) else ""


def _tables(version: str, newest: str, known: list[str]) -> tuple[str, ...]:
    """Tables of the versions from below the newest down to this one; 4.0.1 has those of 4.0."""
    own = release_key(version)[:2]
    versions = [v for v in known if own <= release_key(v) < release_key(newest) and v.count(".") == 1]
    return tuple(f"hw_compat_{v.replace('.', '_')}" for v in versions)


def _machine_type(
    name: str,
    board: dict[str, Any],
    version: str,
    newest: bool = False,
    reason: str = "",
    tables: tuple[str, ...] = (),
) -> tuple[Any, ...]:
    """The fields of `MachineType`, in order."""
    return (
        f"{name}-{version}" if version else name, name, version, board["description"],
        board.get("alias", "") if newest else "", newest and board.get("default", False), reason, tables,
        _step(board["max_cpus"], version), board.get("default_cpu", ""), board.get("default_ram_id", ""),
        bool(version) and release_key(version) <= release_key(board["numa_mem_until"]),
        board.get("hotpluggable_cpus", False), board.get("acpi", False),
        bool(version) and release_key(version) <= release_key(board["prefer_sockets_until"]),
    )  # fmt: skip


def _step(steps: dict[str, int] | int, version: str) -> int:
    """A number that grows with the machine version: ``{FROM_VERSION: number}``."""
    if isinstance(steps, int):
        return steps
    passed = [v for v in steps if release_key(v) <= release_key(version)]
    return steps[max(passed, key=release_key)]


# --- boards and compat tables -----------------------------------------------------------------------------------


def _board(board: dict[str, Any], release: str) -> dict[str, Any]:
    """The RAM blocks and devices that live in `release`, for `boards`, without life-times, and the memory without `-m`."""
    parts = {part: _living(board.get(part, ()), release) for part in ("ram", "devices", "last", "firmware")}
    return {**parts, "memory": board.get("default_memory", _MEMORY)}


_MEMORY: Final = 128 << 20


def _living(entries: list[dict[str, Any]], release: str) -> list[dict[str, Any]]:
    alive = [e for e in entries if lives(e.get("since", ""), e.get("until", ""), release)]
    return [{key: _part(key, e[key], release) for key in e if key not in ("since", "until")} for e in alive]


def _part(key: str, value: Any, release: str) -> Any:
    return _living(value, release) if key in ("inside", "then") else value


def _compat(root: str, release: str) -> dict[str, list[tuple[Any, ...]]]:
    """Every table that the data have, with the entries that `release` shipped, in order."""
    tables = sorted(Path(root, "compat").glob("*.yaml"))
    return {path.stem: _entries(path, release) for path in tables}


def _entries(path: Path, release: str) -> list[tuple[Any, ...]]:
    """Entries of X.Y's table appear with the development of what follows X.Y, unless they say `shipped`."""
    data = _yaml(path)
    first = f"{data['version']}.{_DEVELOPMENT}" if data["version"] else ""
    return [
        (e["device"], e["property"], e["value"], tuple(e.get("boards", ())))
        for part in ("entries", "pc_entries")
        for e in data.get(part) or ()
        if lives(e.get("shipped", first), e.get("until", ""), release)
    ]
