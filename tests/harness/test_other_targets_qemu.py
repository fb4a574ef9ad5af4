# SPDX-License-Identifier: Apache-2.0
"""Guests of other architectures whose firmware ran, saved by real QEMU: read whole, and as QEMU's script reads them.

`tests/support/other_targets.py` does the same for every machine, paused.
"""

from __future__ import annotations

import gc
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import needs
import pytest
from analyze_migration import Opinion, Script, compare, find_script
from guests import COMMON, Guest

from migmatrix.vmstate.view.accounting import account
from migmatrix.vmstate.view.stream import read_stream
from migmatrix.vmstate.view.unread import unread

if TYPE_CHECKING:
    from pathlib import Path

    from lab import Lab

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.slow,
    pytest.mark.usefixtures("container_engine"),
    pytest.mark.timeout(1800),  # an image may have to be made
]

_BOOT = 300.0  # seconds; a tenth of it on a host with nothing else to do


@dataclass(frozen=True)
class Target:
    """Debian's package and an emulator in it, a guest, what its firmware prints last, and its iterated sections."""

    package: str
    binary: str
    arguments: tuple[str, ...]
    sign: str
    iterated: frozenset[str]


TARGETS = {
    "pseries": Target(
        "qemu-system-ppc",
        "qemu-system-ppc64",
        (
            *("-M", "pseries,ic-mode=dual", "-smp", "2", "-m", "256,slots=2,maxmem=1G"),
            *("-object", "memory-backend-ram,id=m,size=256M", "-device", "pc-dimm,memdev=m"),
            *("-device", "spapr-vty,chardev=console", "-device", "spapr-vscsi"),
            *("-device", "virtio-rng-pci", "-device", "nec-usb-xhci"),
        ),
        "0 > ",
        frozenset(("ram", "spapr/htab")),
    ),
    "s390x": Target(
        "qemu-system-misc",
        "qemu-system-s390x",
        (
            *("-M", "s390-ccw-virtio", "-m", "256", "-action", "panic=pause"),
            *("-device", "sclpconsole,chardev=console", "-device", "virtio-serial-ccw"),
            *("-device", "virtio-scsi-ccw", "-device", "virtio-rng-ccw"),
        ),
        "Failed to load OS",
        frozenset(("ram", "s390-storage_attributes")),
    ),
    "sun4m": Target(
        "qemu-system-sparc",
        "qemu-system-sparc",
        ("-M", "SS-10", "-m", "64", "-serial", "chardev:console"),
        "0 > ",
        frozenset(("ram",)),
    ),
}


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the script leaves its files open
@pytest.mark.parametrize("name", TARGETS)
def test_a_guest_whose_firmware_ran(name: str, lab: Lab) -> None:
    target = TARGETS[name]
    file = saved(lab, target)
    stream = read_stream(file.read_bytes(), strict=False)
    assert account(stream, file.read_bytes()).problems == ()
    assert unread(stream) == ""
    started = {s.key[0] for s in stream.sections if not s.start.whole or s.start.kind.name == "START"}
    assert started == target.iterated
    script = find_script(lab.root)
    if isinstance(script, str):
        needs.missing(script)
    agrees(file, script)
    gc.collect()  # of the script's files, while the filter is there


def agrees(file: Path, script: Path) -> None:
    """With the script's values, but for the one array that it does not know."""
    opinion = Opinion()
    try:
        compare(read_stream(file.read_bytes()), Script(script)(file), opinion)
    except RuntimeError as error:
        assert "'css'" in str(error)  # noqa: PT017 - it has to be this one
    else:
        assert not opinion.unexplained, opinion
        assert opinion.values > 1000


def saved(lab: Lab, target: Target) -> Path:
    """The stream of the guest, once its firmware has said the sign."""
    image = prepared(lab, target)
    shared = lab.root / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    console, file = shared / "console", shared / "stream"
    mount = ["--network", "none", "-v", f"{shared}:{shared}"]
    chardev = ["-chardev", f"file,id=console,path={console}"]
    argv = ["docker", "run", "--rm", "-i", *mount, image, target.binary, *COMMON, *chardev, *target.arguments]
    guest = Guest(argv)
    try:
        until = time.monotonic() + _BOOT
        while not console.exists() or target.sign not in console.read_text("latin-1"):
            guest.command("query-status")  # EOFError when it has ended
            assert time.monotonic() < until, console.read_text("latin-1")[-500:]
            time.sleep(0.2)
        guest.command("stop")
        guest.command("migrate", uri=f"exec:cat > {file}")
        guest.status("completed")
    finally:
        guest.close()
    return file


def prepared(lab: Lab, target: Target) -> str:
    """The image of Debian 12's package, made as a matrix's build is."""
    matrix = lab.root / "matrix.yaml"
    build = {
        "provider": "debian",
        "suite": "bookworm",
        "package": target.package,
        "binary": target.binary,
    }
    matrix.write_text(
        json.dumps(
            {"builds": {"a": build}, "machines": ["none"], "profiles": {"define": {"bare": {"args": []}}}}
        )
    )
    done = lab.call(lab.command("builds", "prepare", "-f", str(matrix)))
    assert done.returncode == 0, done.stderr
    return f"migmatrix/debian:bookworm-{target.package}"
