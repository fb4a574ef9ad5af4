# SPDX-License-Identifier: Apache-2.0
"""Real QEMU loads a snapshot that the emulator saved into an image, and the other way round; both find it whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from guests import contained, emulated
from qcow2_images import create, problems

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine")]
_EMULATED = {"7.2": "7.2.22", "10.0": "10.0", "11.1": "11.1"}


@pytest.mark.parametrize("line", list(_EMULATED))
def test_each_loads_what_the_other_saved(line: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    image = create(tmp_path / "disk", data=b"content")
    image.chmod(0o666)
    drive = f"file={image},format=qcow2,if=none,id=d,node-name=n"
    words = ("-S", "-M", f"pc-q35-{line}", "-m", "16", "-device", "virtio-blk-pci,drive=d", "-drive", drive)
    told = []
    for turn in range(4):
        ours = turn % 2 == 0
        opened = emulated(_EMULATED[line], *words) if ours else contained(line, tmp_path, *words)
        with opened as guest:

            def human(line: str) -> str:
                return str(guest.command("human-monitor-command", command_line=line))

            for number in range(turn):
                assert human(f"loadvm t{number}") == ""
            assert human(f"savevm t{turn}") == ""
            if turn == 3:
                assert human("delvm t0") == ""
            told.append(human("info snapshots").split())
        assert problems(image) == []
    assert [word for word in told[-1] if word in ("t0", "t1", "t2", "t3")] == ["t1", "t2", "t3"]
    assert told[2][:8] == told[1][:8]
