# SPDX-License-Identifier: Apache-2.0
"""Live migration between real QEMU and the emulator as processes, both ways, over a UNIX socket and by a file."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import needs
import pytest
from guests import IMAGES, Guest, contained, emulated

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.qemu
COMMON = ("-M", "none", "-m", "8")


@pytest.fixture
def start(tmp_path: Path) -> object:
    """`start(kind, release, *arguments)`: an emulator or a real QEMU that ends with the test."""
    with ExitStack() as stack:

        def begin(kind: str, release: str, *arguments: str) -> Guest:
            if kind == "emulator":
                return stack.enter_context(emulated(release, *COMMON, *arguments))
            needs.image(release)
            return stack.enter_context(contained(release, tmp_path, *COMMON, *arguments))

        yield begin


@pytest.mark.parametrize(("here", "there"), [("qemu", "emulator"), ("emulator", "qemu")])
@pytest.mark.parametrize("release", list(IMAGES))
def test_a_running_guest_moves_over_a_unix_socket(
    start: object, release: str, here: str, there: str, tmp_path: Path
) -> None:
    assert callable(start)
    source = start(here, release)
    target = start(there, release, "-incoming", "defer")
    for guest in (source, target):
        guest.enable("events", "return-path")
    target.command("migrate-incoming", uri=f"unix:{tmp_path / 's'}")
    source.command("migrate", uri=f"unix:{tmp_path / 's'}")
    source.status("completed")
    target.status("completed")
    assert target.command("query-status")["status"] == "running"
    assert source.command("query-status")["status"] == "postmigrate"
    assert target.statuses == ["setup", "active", "completed"]
    names = [name for name, _ in target.events]
    assert names.index("RESUME") < len(names) - 1 - names[::-1].index("MIGRATION")


@pytest.mark.parametrize("release", list(IMAGES))
def test_both_answer_alike_to_query_migrate_and_errors(start: object, release: str) -> None:
    assert callable(start)
    shapes = []
    for kind in ("qemu", "emulator"):
        guest = start(kind, release, "-S")
        guest.enable("events")
        guest.command("migrate", uri="unix:/nowhere")
        failed = guest.status("failed")
        guest.command("migrate", uri="exec:cat > /dev/null")
        done = guest.status("completed")
        shapes.append((failed, sorted(done), sorted(done["ram"]), guest.statuses, done["ram"]["total"]))
    assert shapes[0] == shapes[1]
