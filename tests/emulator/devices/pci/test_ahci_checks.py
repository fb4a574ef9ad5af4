# SPDX-License-Identifier: Apache-2.0
"""What real QEMU 7.2 and 11.1 refused of random mutants: commands of a SATA port, and vectors of a virtio queue."""

from __future__ import annotations

from typing import Any

import pytest
from migration_machines import make
from whole_streams import loaded, saved


def guest(*more: str) -> Any:
    return make(
        "7.2",
        "-M",
        "pc-q35-7.2",
        "-m",
        "4",
        "-nodefaults",
        "-device",
        "virtio-serial-pci,x-guest=driver",
        *more,
    )


def device(machine: Any, name: str) -> Any:
    return next(d for d in machine.walk() if d.type_name == name)


@pytest.mark.parametrize("changes", [{"used": True}, {"halt": True}, {"used": True, "halt": True, "cmd": 1}])
def test_a_port_has_no_command_that_cannot_be(changes: dict[str, Any]) -> None:
    source = guest("-S")
    vars(device(source, "ich9-ahci").ports[1].ncq_tfs[3]).update(changes)
    assert loaded(guest("-incoming", "defer"), saved(source)) == (
        1,
        [
            "Failed to load ich9_ahci:ahci",
            "error while loading state for instance 0x0 of device '0000:00:1f.2/ich9_ahci'",
            "load of migration failed: Operation not permitted",
        ],
    )


@pytest.mark.parametrize(("vector", "status"), [(0xFFFF, 0), (0xFE, 1)])
def test_a_queue_has_a_vector_that_is_there(vector: int, status: int) -> None:
    source = guest("-S")
    serial = next(d for d in source.walk() if getattr(d, "rings", None))
    serial.rings[1].vector = vector
    got, said = loaded(guest("-incoming", "defer"), saved(source))
    assert got == status
    assert not status or said[-1] == "load of migration failed: Invalid argument"
