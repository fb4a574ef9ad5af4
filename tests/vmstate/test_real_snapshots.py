# SPDX-License-Identifier: Apache-2.0
"""Snapshots that real QEMU saves into qcow2 images hold what the same guest is when it migrates to a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from guests import IMAGES, contained
from qcow2_images import create

from migmatrix.harness.streams.file import open_stream
from migmatrix.vmstate.view.accounting import account
from migmatrix.vmstate.view.compare import diff
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine")]


@pytest.mark.parametrize("line", list(IMAGES))
def test_a_snapshot_is_the_guest(line: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    image = create(tmp_path / "disk", data=os.urandom(4096))
    image.chmod(0o666)
    drive = f"file={image},format=qcow2,if=none,id=d,node-name=n"
    words = ("-S", "-M", "q35", "-m", "16", "-device", "virtio-blk-pci,drive=d", "-drive", drive)
    with contained(line, tmp_path, *words) as guest:
        for name in ("first", "second"):
            assert guest.command("human-monitor-command", command_line=f"savevm {name}") == ""
        guest.command("migrate", uri=f"exec:cat > {tmp_path}/plain")
        guest.status("completed")
    plain = read_stream((tmp_path / "plain").read_bytes())
    for name in ("first", "second"):
        with open_stream(f"{image},snapshot={name}") as source:
            stream = read_stream(source.data, strict=False)
            assert account(stream, source.data).problems == ()
            assert [change for change in diff(stream, plain) if not change.volatile] == []
