# SPDX-License-Identifier: Apache-2.0
"""Commands that save guest memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from migration_machines import Box, none
from monitor_calls import call

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.qmp.table import find_command

if TYPE_CHECKING:
    from pathlib import Path


def save(machine: Box, **arguments: Any) -> Any:
    """Execute `pmemsave`."""
    command = find_command("pmemsave", machine.release.name)
    assert command is not None
    with call(machine) as made:
        return command.handler(made, arguments)


@pytest.mark.parametrize(
    ("start", "size"), [(0, 2 << 20), (4000, 200), (1 << 20, 1 << 20), (0, 0), (2 << 20, 0)]
)
def test_memory_is_saved_from_an_address_on(start: int, size: int, tmp_path: Path) -> None:
    machine = none("10.0", mib=2)
    assert machine.main_ram is not None
    machine.main_ram.write(4090, bytes(range(1, 200)))
    machine.main_ram.write((2 << 20) - 1, b"!")
    (tmp_path / "saved").write_bytes(b"of before")
    assert save(machine, val=start, size=size, filename=str(tmp_path / "saved")) == {}
    assert (tmp_path / "saved").read_bytes() == machine.main_ram.data[start : start + size]


@pytest.mark.parametrize(("start", "size"), [(0, (2 << 20) + 1), (2 << 20, 1), (-1, 1), (0, -1)])
def test_what_is_no_memory_is_refused(start: int, size: int, tmp_path: Path) -> None:
    with pytest.raises(QmpError, match=r"^the emulator saves memory from address 0 to 0x200000 only$"):
        save(none("10.0", mib=2), val=start, size=size, filename=str(tmp_path / "saved"))
    assert not (tmp_path / "saved").exists()


def test_a_file_that_cannot_be_made_is_told_in_qemus_words(tmp_path: Path) -> None:
    name = str(tmp_path / "no" / "saved")
    with pytest.raises(QmpError, match=f"^Could not open '{name}': No such file or directory$"):
        save(none("10.0", mib=1), val=0, size=1, filename=name)
