# SPDX-License-Identifier: Apache-2.0
"""`migmatrix compat extract`: asks a build for its compat entries and writes, or checks, the tables.

QEMU 9.1 and later answer ``query-machines {"compat-props": true}``; `tables` knows what the answer means.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.builds.shell import said
from migmatrix.harness.compat.tables import (
    CompatProps,
    differences,
    file_name,
    merge,
    read,
    read_any,
    render,
    split,
)
from migmatrix.harness.errors import UnusableBuild

if TYPE_CHECKING:
    from pathlib import Path

    from migmatrix.harness.builds import PreparedBuild

__all__ = ["check", "fetch", "write"]

_COMMANDS: Final = (
    {"execute": "qmp_capabilities"},
    {"execute": "query-machines", "arguments": {"compat-props": True}, "id": "machines"},
    {"execute": "quit"},
)


def fetch(build: PreparedBuild) -> CompatProps:
    """Entries per machine type, in the order in which they are applied; UnusableBuild for a build before 9.1."""
    lines = " ".join(shlex.quote(json.dumps(command)) for command in _COMMANDS)
    script = f'printf "%s\\n" {lines} | "$1" -M none -nodefaults -display none -qmp stdio'
    return _parse(said(build, script), build.id)


def _parse(text: str, build: str) -> CompatProps:
    replies = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    answer: dict[str, Any] = next((reply for reply in replies if reply.get("id") == "machines"), {})
    if "return" not in answer:
        why = answer.get("error", {}).get("desc", "no answer")
        raise UnusableBuild(build, f"it does not tell its compat entries, only QEMU 9.1 and later do: {why}")
    return {
        machine["name"]: [_fact(p) for p in machine.get("compat-props", ())] for machine in answer["return"]
    }


def _fact(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["qom-type"], row["property"], row["value"]


def write(props: CompatProps, build: PreparedBuild, directory: Path) -> list[Path]:
    """Write a file per table; life-times and notes that are there stay. Returns what was written."""
    directory.mkdir(parents=True, exist_ok=True)
    kept = read_any(directory)
    source = f"QEMU {build.facts.version}'s query-machines {build.facts.package}".rstrip()
    written = []
    for version, table in split(props).items():
        path = directory / file_name(version)
        path.write_text(render(merge(kept.get(version), table), source), encoding="utf-8")
        written.append(path)
    return written


def check(props: CompatProps, build: PreparedBuild, directory: Path | None = None) -> list[str]:
    """What the tables of `directory` (see `read`) say otherwise than this build, one line per machine type."""
    return differences(read(directory), props, build.facts.version)
