# SPDX-License-Identifier: Apache-2.0
"""Real QEMU with the stand-in for RDMA devices (`tests/rdma/standin.c`) preloaded."""

from __future__ import annotations

import json
import signal
import uuid
from random import Random
from typing import TYPE_CHECKING, Any

import needs
import rdma_standin
from guests import COMMON, IMAGES, USERFAULT, Guest, preloaded
from needs import missing

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BOARD", "LOADED", "RdmaGuest", "shared_directory"]

_MIB = 32
BOARD = ("-M", "pc-q35-7.2", "-m", str(_MIB), "-S")
LOADED = slice(1 << 20, 10 << 20)  # where in memory the content of a source is


def shared_directory(root: Path) -> Path:
    """Fill a directory with the library and the content of a guest's memory, for containers to share."""
    if lacking := rdma_standin.lacks():
        missing(lacking)
    (root / "content").write_bytes(Random(1).randbytes(LOADED.stop - LOADED.start))
    rdma_standin.build(root / "standin.so")
    return root


class RdmaGuest(Guest):
    """A real QEMU in a container called `name`, in that docker network; a source has `content` in its memory."""

    def __init__(
        self, shared: Path, release: str, *arguments: str, network: str, content: bool = False
    ) -> None:
        needs.image(release)
        self.name = f"migmatrix-test-{uuid.uuid4().hex[:8]}"
        self._memory = shared / f"{self.name}.memory"
        docker = ["docker", "run", "--rm", "-i", "--name", self.name, "--network", network]
        docker += ["-v", f"{shared}:{shared}", *preloaded(f"{shared}/standin.so"), *USERFAULT]
        loader = f"loader,file={shared / 'content'},addr={LOADED.start:#x},force-raw=on"
        words = [*COMMON, *BOARD, *arguments, *(("-device", loader) if content else ())]
        super().__init__([*docker, f"migmatrix/debian:{IMAGES[release]}", "qemu-system-x86_64", *words])

    def _read(self) -> Any:
        """The next message; 7.2 prints the device that it found between the monitor's lines."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise EOFError(self.ended()[1])

    def ends(self) -> dict[str, Any]:
        """What it tells of a migration that has ended."""
        return self.status("completed", "failed")

    def dies_of_the_end(self) -> bool:
        """Whether it ends by SIGSEGV when the source has disconnected: QEMU 11.1's own fault, about once in 150 times.

        Without a return path the source does not wait for it, and so it is told of the end before it is through.
        """
        try:
            self.ends()
            self.command("query-status")
        except EOFError as end:
            words = str(end)
        else:
            return False
        assert self.process.returncode == 128 + signal.SIGSEGV
        assert "receive cm event, cm event is 10" in words
        return True

    def memory(self) -> bytes:
        """All of the guest's."""
        line = f'pmemsave 0 {_MIB << 20} "{self._memory}"'
        assert self.command("human-monitor-command", command_line=line) == ""
        return self._memory.read_bytes()
