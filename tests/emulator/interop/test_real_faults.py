# SPDX-License-Identifier: Apache-2.0
"""A postcopy from real QEMU whose pages a real process waits for, by `userfaultfd`.

The emulator loads the stream; a process of its own stands for the guest's processors. What it touches and misses comes
as a fault of the kernel's to the emulator, which asks the source for the page as for one that its own guest misses.
"""

from __future__ import annotations

import hashlib
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading
from contextlib import ExitStack
from random import Random
from typing import TYPE_CHECKING

import pytest
import userfault_guest
from guests import contained
from migration_machines import enable, status, target, until
from needs import missing
from userfault_guest import PAGE, copy, faults, new_descriptor

from migmatrix.emulator.migration.postcopy import Postcopy

if TYPE_CHECKING:
    from pathlib import Path

    from migmatrix.emulator.machine import Machine

pytestmark = pytest.mark.qemu

_SIZE = 4 << 20
_LOADED = 3 << 20  # what of it the source's guest has; the rest is zero
_SLOWLY = 4 << 20  # bytes a second, so that pages are asked for before their turn


class Processors:
    """The process that reads the memory, and the thread that has its faults."""

    def __init__(self, machine: Machine, place: Path, seed: int) -> None:
        self._machine = machine
        self.faulted: list[int] = []
        self.postcopy: Postcopy | None = None
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(place / "faults"))
            server.listen()
            argv = [sys.executable, userfault_guest.__file__, str(place / "faults"), str(_SIZE), str(seed)]
            self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
            self._link, _ = server.accept()
        words, (self._descriptor, *_), _, _ = socket.recv_fds(self._link, 8, 1)
        (self._address,) = struct.unpack("<Q", words)
        self._end, self._ended = os.pipe()
        self._thread = threading.Thread(target=self._serve)

    def run(self, postcopy: Postcopy) -> None:
        """Let it read."""
        self.postcopy = postcopy
        self._thread.start()
        self._link.send(b"!")

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(self._end, select.POLLIN)
        while all(found != self._end for found, _ in poll.poll()):
            for address in faults(self._descriptor):
                self._fault((address - self._address) // PAGE)

    def _fault(self, page: int) -> None:
        assert self.postcopy is not None
        block = self._machine.ram_blocks["ram"]

        def bring() -> None:
            copy(self._descriptor, self._address + page * PAGE, block.data[page * PAGE : (page + 1) * PAGE])

        with self._machine.bql:
            self.faulted.append(page)
            self.postcopy.missing.when_here(block, page, bring)

    def digest(self) -> str:
        """What it read, when it has read all."""
        return self._process.communicate(timeout=60)[0].strip()

    def close(self) -> None:
        """End both."""
        os.write(self._ended, b"!")
        if self._thread.is_alive():
            self._thread.join()
        for descriptor in (self._descriptor, self._end, self._ended):
            os.close(descriptor)
        self._link.close()
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that the source's container shares."""
    try:
        os.close(new_descriptor())
    except OSError as error:
        missing(f"userfaultfd: {error}")
    if shutil.which("docker") is None:
        missing("docker")
    return tmp_path_factory.mktemp("pf")


@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
def test_a_process_waits_for_the_pages_of_a_real_source(
    place: Path, release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = Random(release).randbytes(_LOADED)
    (place / "content").write_bytes(content)
    loader = f"loader,file={place / 'content'},addr=0,force-raw=on"
    machine = target(release, mib=_SIZE >> 20)
    enable(machine, "postcopy-ram", "return-path")
    listen = Postcopy.listen
    with ExitStack() as stack:
        processors = Processors(machine, place, seed=1)
        stack.callback(processors.close)

        def listens(postcopy: Postcopy) -> None:
            listen(postcopy)
            processors.run(postcopy)

        monkeypatch.setattr(Postcopy, "listen", listens)
        machine.migration.incoming(f"unix:{place / 's'}")
        until((place / "s").exists, "the socket")
        source = stack.enter_context(
            contained(release, place, "-M", "none", "-m", str(_SIZE >> 20), "-device", loader)
        )
        source.enable("postcopy-ram", "events")
        source.command("migrate-set-parameters", max_bandwidth=_SLOWLY, max_postcopy_bandwidth=_SLOWLY)
        source.command("migrate", uri=f"unix:{place / 's'}")
        source.command("migrate-start-postcopy")
        source.status("completed")
        status(machine, "completed")
        digest = processors.digest()

    assert digest == hashlib.sha256(content.ljust(_SIZE, b"\0")).hexdigest()
    assert sorted(processors.faulted) == list(range(_SIZE // PAGE))
    assert processors.postcopy is not None
    assert processors.postcopy.missing.requests > 0
    assert "postcopy-active" in source.statuses
