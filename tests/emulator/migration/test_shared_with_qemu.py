# SPDX-License-Identifier: Apache-2.0
"""`x-ignore-shared` between real QEMU and the emulator: both map one file, and memory does not travel."""

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
MIB = 32


def started(kind: str, release: str, shared: Path, *arguments: str) -> AbstractContextManager[Guest]:
    backend = f"memory-backend-file,id=mem,size={MIB}M,mem-path={shared / 'memory'},share=on"
    words = ("-M", "pc-q35-7.2,memory-backend=mem", "-m", str(MIB), "-object", backend, *arguments)
    if kind == "emulator":
        return emulated(release, *words)
    needs.image(release)
    return contained(release, shared, *words)


@pytest.mark.parametrize(("here", "there"), [("qemu", "emulator"), ("emulator", "qemu")])
@pytest.mark.parametrize("release", RELEASES)
def test_a_guest_moves_without_its_memory(release: str, here: str, there: str, tmp_path: Path) -> None:
    for name in ("memory", "stream"):  # whoever runs in the container may write them
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o666)
    tmp_path.chmod(0o777)
    with (
        started(here, release, tmp_path, "-S") as source,
        started(there, release, tmp_path, "-incoming", "defer") as target,
    ):
        for guest in (source, target):
            guest.enable("x-ignore-shared")
        source.command("migrate", uri=f"exec:cat > {tmp_path / 'stream'}")
        answer = source.status("completed", "failed")
        assert answer["status"] == "completed"
        assert (tmp_path / "stream").stat().st_size < MIB << 15
        target.command("migrate-incoming", uri=f"exec:cat {tmp_path / 'stream'}")
        assert target.status("completed", "failed")["status"] == "completed"
