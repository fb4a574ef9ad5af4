# SPDX-License-Identifier: Apache-2.0
"""Snapshots of guests that go on, real QEMU's loaded by the emulator and the emulator's by real QEMU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import needs
import pytest
from guests import contained, emulated

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from guests import Guest

pytestmark = pytest.mark.qemu
RELEASES = ("7.2", "10.0", "11.1")
MACHINE = ("-M", "pc-q35-7.2", "-m", "16")


def started(kind: str, release: str, shared: Path, *arguments: str) -> AbstractContextManager[Guest]:
    if kind == "emulator":
        return emulated(release, *MACHINE, *arguments)
    needs.image(release)
    shared.chmod(0o777)
    return contained(release, shared, *MACHINE, *arguments, userfault=True)


@pytest.mark.parametrize(("here", "there"), [("qemu", "emulator"), ("emulator", "qemu")])
@pytest.mark.parametrize("release", RELEASES)
def test_a_snapshot_is_loaded_by_the_other(release: str, here: str, there: str, tmp_path: Path) -> None:
    file = tmp_path / "snapshot"
    with started(here, release, tmp_path) as source:
        source.enable("events", "background-snapshot")
        source.command("migrate", uri=f"exec:cat > {file}")
        assert source.status("completed", "failed")["status"] == "completed"
        # the main thread of real QEMU starts the guest when it comes to it, after the end of a small memory by chance
        source.heard("RESUME")
        assert source.command("query-status")["status"] == "running"
        assert source.statuses == ["setup", "active", "completed"]
        assert [name for name, _ in source.events if name != "MIGRATION"] == ["STOP", "RESUME"]
    with started(there, release, tmp_path, "-incoming", "defer") as target:
        target.command("migrate-incoming", uri=f"exec:cat {file}")
        assert target.status("completed", "failed")["status"] == "completed"
        assert target.command("query-status")["status"] == "running"
