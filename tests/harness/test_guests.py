# SPDX-License-Identifier: Apache-2.0
"""Which guests are expected to be heard: by board and by what the arguments boot."""

from __future__ import annotations

import pytest

from migmatrix.harness.hops.guests import can_beat
from migmatrix.harness.model import Guest

RUNNING = Guest("firmware", "firmware", 1.0)


@pytest.mark.parametrize(
    ("machine", "arguments"),
    [
        ("pc-q35-7.2", "-m 64 -nodefaults"),
        ("pc-i440fx-jammy-v2", ""),
        ("pc", "-drive if=none,id=d,driver=null-co -device virtio-blk,drive=d"),
        ("isapc", "-netdev user,id=n,hostname=kernel"),
    ],
)
def test_seabios_on_its_boards_is_heard(machine: str, arguments: str) -> None:
    assert can_beat(RUNNING, machine, arguments.split())


@pytest.mark.parametrize(
    ("machine", "arguments"),
    [
        ("virt-9.0", ""),
        ("microvm", ""),
        ("s390-ccw-virtio-7.2", ""),
        ("pseries-7.2", ""),
        ("none", ""),
        ("pc-q35-7.2", "-drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd"),
        ("pc-q35-7.2", "-drive format=raw,file=code.fd,if=pflash"),
        ("pc-q35-7.2", "-machine pflash0=code"),
        ("pc-q35-7.2", "-pflash code.fd"),
        ("pc-q35-7.2", "--bios qboot.rom"),
        ("pc-q35-7.2", "-kernel vmlinuz -append console=ttyS0"),
        ("pc-q35-7.2", "-drive if=none,id=d,file=disk -device virtio-blk,drive=d,bootindex=1"),
        ("pc-q35-7.2", "-cdrom image.iso -boot d"),
    ],
)
def test_others_need_not_be(machine: str, arguments: str) -> None:
    assert not can_beat(RUNNING, machine, arguments.split())


def test_who_does_not_run_is_not_heard() -> None:
    assert not can_beat(Guest("paused", "paused"), "pc-q35-7.2", [])
