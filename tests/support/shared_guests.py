# SPDX-License-Identifier: Apache-2.0
"""Guests whose memory other processes map, and what maps it: a vhost-user disk's back end (`vhost_user_client`).

All files are in one directory, which containers can write to: `content` is what the guest has at `ADDRESS`, `state` a
guest whose driver uses the disk, `memory` what a source's guest has, `a` and `b` the sockets of source and destination.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from random import Random
from typing import TYPE_CHECKING, Any

import needs
import vhost_user_client
from guests import emulated
from real_postcopies import side_of
from userfault_guest import PAGE, new_descriptor

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from guests import Guest

__all__ = [
    "ADDRESS",
    "MIB",
    "PAGES",
    "Client",
    "arguments",
    "destination",
    "needs_userfault",
    "prepared",
    "sent",
    "source",
]

MIB = 32
ADDRESS = 28 << 20
PAGES = 64
SLOWLY = 1 << 20  # bytes a second, so that it takes long until the content comes unless somebody asks for it
MACHINE = "pc-q35-7.2"
IN_FILE = "memory-backend-file,share=on,mem-path="


def needs_userfault() -> None:
    """Skip, or fail, where a process may not wait for its pages."""
    try:
        os.close(new_descriptor())
    except OSError as error:
        needs.missing(f"userfaultfd: {error}")


class Client:
    """The back end, as a process, with its socket `name` in `place`. `options` are of `vhost_user_client`."""

    def __init__(self, place: Path, name: str, *options: str, address: int = ADDRESS) -> None:
        self.socket = place / name
        argv = [vhost_user_client.__file__, self.socket, place / "content", address, 1, *options]
        self._process = subprocess.Popen([sys.executable, *map(str, argv)], stdout=subprocess.PIPE, text=True)
        assert self.line() == "ready"

    def line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def found(self) -> dict[str, Any]:
        """What it found, when its front end has ended."""
        out, _ = self._process.communicate(timeout=60)
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found

    def close(self) -> None:
        """End it if it still runs."""
        self._process.kill()
        self._process.communicate()


def arguments(backend: str, socket: Path | None, *more: str, mib: int = MIB) -> list[str]:
    """A guest with such memory and the disk behind `socket`; without one it is the emulator's, and a driver uses it."""
    chardev, guest = (
        ("null,id=c", ",x-guest=driver") if socket is None else (f"socket,id=c,path={socket}", "")
    )
    return [
        "-M", f"{MACHINE},memory-backend=mem", "-m", str(mib), "-vga", "none", "-nodefaults",
        "-object", f"{backend},id=mem,size={mib}M", "-chardev", chardev,
        "-device", f"vhost-user-blk-pci,chardev=c,num-queues=1{guest}", *more,
    ]  # fmt: skip


def prepared(place: Path, release: str) -> None:
    """Write `content`, and `state` by the emulator, whose driver stands for that of a real guest."""
    place.chmod(0o777)
    pages = [Random(n).randbytes(PAGE) if n % 4 else bytes(PAGE) for n in range(PAGES)]
    (place / "content").write_bytes(b"".join(pages))
    with emulated(release, *arguments("memory-backend-ram", None, "-S")) as guest:
        guest.command("migrate", uri=f"exec:cat > {place / 'state'}")
        guest.status("completed")


def source(stack: ExitStack, kind: str, release: str, place: Path, *options: str) -> tuple[Guest, Client]:
    """A guest that runs, with the content in its memory, and its disk's back end."""
    memory = place / "memory"
    memory.touch()
    memory.chmod(0o666)
    client = Client(place, "a", *options)
    stack.callback(client.close)
    words = arguments(f"{IN_FILE}{memory}", client.socket, "-incoming", f"exec:cat {place / 'state'}")
    guest = side_of(stack, kind, release, place, *words)
    guest.status("completed")
    guest.command("cont")  # it was saved before it ran
    with memory.open("r+b") as file:  # all that is before the content is not zero: it takes long to send
        file.seek(2 << 20)
        file.write(Random(0).randbytes(PAGE) * ((ADDRESS - (2 << 20)) // PAGE))
        file.write((place / "content").read_bytes())
    return guest, client


def destination(
    stack: ExitStack,
    kind: str,
    release: str,
    place: Path,
    *options: str,
    backend: str = "memory-backend-memfd,share=on",
) -> tuple[Guest, Client]:
    """A guest that waits for a stream, and its disk's back end."""
    client = Client(place, "b", *options)
    stack.callback(client.close)
    words = arguments(backend, client.socket, "-incoming", "defer")
    return side_of(stack, kind, release, place, *words), client


def sent(here: Guest, there: Guest, place: Path) -> None:
    """Begin a postcopy."""
    for guest in (there, here):
        guest.enable("postcopy-ram")
    there.command("migrate-incoming", uri=f"unix:{place / 'm'}")
    here.command("migrate-set-parameters", max_bandwidth=SLOWLY, max_postcopy_bandwidth=SLOWLY)
    here.command("migrate", uri=f"unix:{place / 'm'}")
    here.command("migrate-start-postcopy")
