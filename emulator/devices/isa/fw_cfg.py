# SPDX-License-Identifier: Apache-2.0
"""The firmware configuration interface (fw_cfg): where the guest stands in reading it. QEMU: `hw/nvram/fw_cfg.c`."""

from __future__ import annotations

import errno
from typing import Any, ClassVar, Final

from migmatrix.emulator.devices.isa.base import StatefulDevice
from migmatrix.emulator.memory import aligned
from migmatrix.emulator.properties import BOOL, UINT16, Property
from migmatrix.vmstate.device.description import HookError, VMState
from migmatrix.vmstate.device.fields import uint16, uint32, uint64

__all__ = ["VMSTATE_FW_CFG", "FwCfg", "FwCfgIo"]

_TABLES: Final = (
    ("table_mr_size", "/rom@etc/acpi/tables"),
    ("linker_mr_size", "/rom@etc/table-loader"),
    ("rsdp_mr_size", "/rom@etc/acpi/rsdp"),
)


def _old_offset(_state: Any, version: int) -> bool:
    return version == 1


def _dma_needed(state: Any) -> bool:
    return bool(state.dma_enabled)


def _acpi_needed(state: Any) -> bool:
    return bool(state.acpi_mr_restore)


def _resize_tables(state: Any, _version: int) -> None:
    """The blocks of the ACPI tables become as large as the source's; QEMU aborts with this text where they cannot."""
    for field, name in _TABLES:
        block, size = state.ram_blocks[name], aligned(getattr(state, field))
        if size > block.max_size:
            text = f"Size too large: {name}: {size:#x} > {block.max_size:#x}: Invalid argument"
            raise HookError(text, errno.EINVAL)
        block.resize(size)


VMSTATE_FW_CFG = VMState(
    "fw_cfg",
    (
        uint16("cur_entry"),
        uint16("cur_offset", test=_old_offset),
        uint32("cur_offset", version=2),
    ),
    version_id=2,
    minimum_version_id=1,
    subsections=(
        VMState("fw_cfg/dma", (uint64("dma_addr"),), needed=_dma_needed),
        VMState(
            "fw_cfg/acpi_mr",
            (uint64("table_mr_size"), uint64("linker_mr_size"), uint64("rsdp_mr_size")),
            1, 1, needed=_acpi_needed, post_load=_resize_tables,
        ),
    ),
)  # fmt: skip


class FwCfg(StatefulDevice):
    """What both ways to the interface share."""

    type_name = "fw_cfg"
    abstract = True
    user_creatable = False
    properties: ClassVar[tuple[Property, ...]] = (Property("acpi-mr-restore", BOOL, True, since="5.1"),)


class FwCfgIo(FwCfg):
    """The interface at its I/O ports, with the DMA interface on top unless a machine type has it off."""

    type_name = "fw_cfg_io"
    properties: ClassVar[tuple[Property, ...]] = (
        Property("dma_enabled", BOOL, True),
        Property("x-file-slots", UINT16, 0x20),
    )
    vmstate = VMSTATE_FW_CFG
    acpi_sizes: tuple[int, ...] = ()

    def machine_done(self, tables: tuple[int, ...]) -> None:
        """The tables' sizes are state of this device."""
        super().machine_done(tables)
        if tables:
            self.acpi_sizes = tables
            self.state.ram_blocks = self.machine.ram_blocks
            self.reset()

    def reset(self) -> None:
        """Nothing selected. ACPI tables have a place in the state only on boards with them (`acpi_sizes`)."""
        super().reset()
        state = self.state
        state.dma_enabled = self.props["dma_enabled"]
        state.acpi_mr_restore = bool(self.acpi_sizes) and self.props.get("acpi-mr-restore", False)
        if self.acpi_sizes:
            state.table_mr_size, state.linker_mr_size, state.rsdp_mr_size = self.acpi_sizes
