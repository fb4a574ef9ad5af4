# SPDX-License-Identifier: Apache-2.0
"""A real QEMU as a binary of this host, unpacked from an image: `try`, a port that only one can have, other firmware."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING, Any, cast

import pytest
from debian import debian_build

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import docker
    from lab import Lab

pytestmark = [pytest.mark.qemu, pytest.mark.timeout(900)]

LAUNCHER = """#!/bin/sh
export QEMU_MODULE_DIR={root}/usr/lib/x86_64-linux-gnu/qemu
exec {root}/lib64/ld-linux-x86-64.so.2 --library-path {root}/lib/x86_64-linux-gnu:{root}/usr/lib/x86_64-linux-gnu \\
    {root}/usr/bin/qemu-system-x86_64 -L {root}/usr/share/qemu -L {root}/usr/share/seabios \\
    -L {root}/usr/lib/ipxe/qemu "$@"
"""


@pytest.fixture(scope="module")
def qemu(container_engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """QEMU 7.2 as a program of this host."""
    root = tmp_path_factory.mktemp("root")
    container = container_engine.containers.create(debian_build("qemu-7.2").image, "true")
    packed = root / "files.tar"
    try:
        with packed.open("wb") as file:
            file.writelines(cast("Iterable[bytes]", container.export()))  # its stubs say text
    finally:
        container.remove()
    with tarfile.open(packed) as tar:
        tar.extractall(root, [m for m in tar if m.name.startswith(("usr", "lib"))], filter="tar")
    packed.unlink()
    program = root / "qemu"
    program.write_text(LAUNCHER.format(root=root))
    program.chmod(0o755)
    return program


def matrix_of(lab: Lab, qemu: Path, args: list[str], **more: Any) -> Path:
    """A matrix of this one build with a profile of some arguments."""
    profiles = {"define": {"it": {"args": ["-m", "64", "-nodefaults", *args]}}}
    builds = {"a": {"provider": "binary", "path": str(qemu)}}
    path = lab.root / "one.yaml"
    path.write_text(json.dumps({"builds": builds, "machines": ["pc-q35-7.2"], "profiles": profiles, **more}))
    return path


def test_a_binary_is_tried_against_a_release(lab: Lab, qemu: Path) -> None:
    words = ["--against", "qemu-10.0", "--use", "virtio-balloon", "--out", "out"]
    done = lab.call(lab.command("try", str(qemu), *words))
    assert done.returncode == 0, done.stderr
    verdicts = {">".join(r["path"]): r["verdict"] for r in lab.results().values()}
    assert verdicts == {"mine>qemu-10.0": "pass", "qemu-10.0>mine": "pass"}


def test_a_port_that_is_taken_is_the_hosts(lab: Lab, qemu: Path) -> None:
    """Both emulators of a live migration want it; one after the other has it."""
    card = ["-netdev", "user,id=n,hostfwd=tcp:127.0.0.1:22022-:22", "-device", "e1000,netdev=n"]
    matrix = matrix_of(lab, qemu, card, modes=["snapshot", "unix"], policy={"retries": 0})
    done = lab.run(matrix, "-j", "1")
    assert done.returncode == 3
    found = {r["mode"]: (r["verdict"], r["signature"]) for r in lab.results().values()}
    assert found == {"snapshot": ("pass", None), "unix": ("error", "address-in-use")}, done.stderr


def test_a_guest_of_silent_firmware_is_no_hang(lab: Lab, qemu: Path) -> None:
    """As a release build of OVMF, it writes nothing to the debug port of SeaBIOS."""
    firmware = lab.root / "silent.fd"
    loops = b"\xeb\xfe"  # jmp $ at the reset vector, which is 16 bytes below the end
    firmware.write_bytes(b"\xf4" * (0x40000 - 16) + loops + b"\xf4" * 14)
    drive = f"if=pflash,format=raw,readonly=on,file={firmware}"
    matrix = matrix_of(lab, qemu, ["-drive", drive], guests=["paused", {"name": "firmware", "seconds": 1}])
    done = lab.run(matrix)
    assert {r["verdict"] for r in lab.results().values()} == {"pass"}, done.stderr
