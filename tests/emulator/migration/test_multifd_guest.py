# SPDX-License-Identifier: Apache-2.0
"""A guest that works and checks itself goes from one emulator process to another by multifd, and to a file and back."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from guests import emulated
from migration_machines import until

if TYPE_CHECKING:
    from pathlib import Path

    from guests import Guest

WORKS = ("-machine", "isapc", "-m", "16", "-workload", "pages=200,rate=8000,seed=5")
MODES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "plain": (("multifd",), {"multifd-channels": 3}),
    "zlib": (("multifd",), {"multifd-compression": "zlib"}),
    "mapped-ram": (("mapped-ram", "multifd"), {}),
}


def step(console: Path) -> int:
    """The last step that a guest told, 0 before the first."""
    lines = [line for line in console.read_text().splitlines() if line.startswith("workload: step ")]
    return int(lines[-1].split()[2]) if lines else 0


@pytest.mark.parametrize(
    ("old", "new", "mode"),
    [("7.2", "7.2", "plain"), ("10.0", "11.1", "zlib"), ("10.0", "11.1", "mapped-ram")],
)
def test_it_works_on_and_lost_nothing(old: str, new: str, mode: str, tmp_path: Path) -> None:
    capabilities, parameters = MODES[mode]
    uri = f"{'file' if mode == 'mapped-ram' else 'unix'}:{tmp_path / 'm'}"

    def words(name: str) -> tuple[str, ...]:
        console = ("-chardev", f"file,id=c,path={tmp_path / name}")
        return (*WORKS, *console, "-device", "isa-debugcon,chardev=c,iobase=0x402")

    with ExitStack() as stack:
        source = stack.enter_context(emulated(old, *words("source")))
        there = stack.enter_context(emulated(new, *words("there"), "-incoming", "defer"))
        until(lambda: (tmp_path / "source").exists() and step(tmp_path / "source") > 250, "a whole round")
        for side in (source, there):
            side.enable(*capabilities)
            side.command("migrate-set-parameters", **parameters)
        _move(source, there, uri)
        before = step(tmp_path / "source")
        until(lambda: step(tmp_path / "there") > before + 250, "a whole round after it")
        assert there.command("query-status")["status"] == "running"


def _move(source: Guest, there: Guest, uri: str) -> None:
    if uri.startswith("unix"):
        there.command("migrate-incoming", uri=uri)
    source.command("migrate", uri=uri)
    source.status("completed")
    if uri.startswith("file"):
        there.command("migrate-incoming", uri=uri)
    there.status("completed")
