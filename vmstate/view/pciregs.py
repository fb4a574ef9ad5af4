# SPDX-License-Identifier: Apache-2.0
"""PCI register layouts: names of registers by offset, as data.

A layout is a table of ``(offset, size, name)`` rows, sizes in bytes, relative to the start of the header or
of the capability. Sources: PCI Local Bus 3.0, PCI Express Base 5.0, Virtio 1.2 section 4.1.4; names as there.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BRIDGE", "CAPABILITIES", "COMMON", "ENDPOINT", "EXTENDED", "VIRTIO_TYPES", "Row"]

Row = tuple[int, int, str]


def _numbered(start: int, size: int, count: int, name: str) -> tuple[Row, ...]:
    return tuple((start + i * size, size, f"{name} {i}") for i in range(count))


COMMON: Final[tuple[Row, ...]] = (
    (0x00, 2, "Vendor ID"),
    (0x02, 2, "Device ID"),
    (0x04, 2, "Command"),
    (0x06, 2, "Status"),
    (0x08, 1, "Revision ID"),
    (0x09, 3, "Class Code"),
    (0x0C, 1, "Cache Line Size"),
    (0x0D, 1, "Latency Timer"),
    (0x0E, 1, "Header Type"),
    (0x0F, 1, "BIST"),
    (0x34, 1, "Capabilities Pointer"),
    (0x3C, 1, "Interrupt Line"),
    (0x3D, 1, "Interrupt Pin"),
)
ENDPOINT: Final[tuple[Row, ...]] = (
    *_numbered(0x10, 4, 6, "Base Address"),
    (0x28, 4, "CardBus CIS Pointer"),
    (0x2C, 2, "Subsystem Vendor ID"),
    (0x2E, 2, "Subsystem ID"),
    (0x30, 4, "Expansion ROM Base Address"),
    (0x35, 7, "Reserved"),
    (0x3E, 1, "Min_Gnt"),
    (0x3F, 1, "Max_Lat"),
)
BRIDGE: Final[tuple[Row, ...]] = (
    *_numbered(0x10, 4, 2, "Base Address"),
    (0x18, 1, "Primary Bus Number"),
    (0x19, 1, "Secondary Bus Number"),
    (0x1A, 1, "Subordinate Bus Number"),
    (0x1B, 1, "Secondary Latency Timer"),
    (0x1C, 1, "I/O Base"),
    (0x1D, 1, "I/O Limit"),
    (0x1E, 2, "Secondary Status"),
    (0x20, 2, "Memory Base"),
    (0x22, 2, "Memory Limit"),
    (0x24, 2, "Prefetchable Memory Base"),
    (0x26, 2, "Prefetchable Memory Limit"),
    (0x28, 4, "Prefetchable Base Upper 32 Bits"),
    (0x2C, 4, "Prefetchable Limit Upper 32 Bits"),
    (0x30, 2, "I/O Base Upper 16 Bits"),
    (0x32, 2, "I/O Limit Upper 16 Bits"),
    (0x35, 3, "Reserved"),
    (0x38, 4, "Expansion ROM Base Address"),
    (0x3E, 2, "Bridge Control"),
)

_HEAD: Final[tuple[Row, ...]] = ((0, 1, "Capability ID"), (1, 1, "Next Capability Pointer"))
_EXTENDED_HEAD: Final[tuple[Row, ...]] = ((0, 4, "Extended Capability Header"),)

# id: (name, rows). The length of a capability is where its last row ends; MSI's depends on its control
# word and is cut by `vmstate.view.pci`.
CAPABILITIES: Final[dict[int, tuple[str, tuple[Row, ...]]]] = {
    0x01: (
        "Power Management",
        (
            *_HEAD,
            (2, 2, "Power Management Capabilities"),
            (4, 2, "Power Management Control/Status"),
            (6, 1, "Bridge Support Extensions"),
            (7, 1, "Data"),
        ),
    ),
    0x02: ("AGP", (*_HEAD, (2, 2, "AGP Version"), (4, 4, "AGP Status"), (8, 4, "AGP Command"))),
    0x03: ("VPD", (*_HEAD, (2, 2, "VPD Address"), (4, 4, "VPD Data"))),
    0x04: ("Slot ID", (*_HEAD, (2, 1, "Expansion Slot"), (3, 1, "Chassis Number"))),
    0x05: (
        "MSI",
        (
            *_HEAD,
            (2, 2, "Message Control"),
            (4, 4, "Message Address"),
        ),
    ),
    0x08: ("HyperTransport", (*_HEAD, (2, 2, "Command"))),
    0x09: ("Vendor Specific", (*_HEAD, (2, 1, "Capability Length"))),
    0x0A: ("Debug Port", (*_HEAD, (2, 2, "Debug Port"))),
    0x0C: (
        "SHPC",
        (*_HEAD, (2, 1, "DWORD Select"), (3, 1, "Controller Pending"), (4, 4, "DWORD Data")),
    ),
    0x0D: (
        "Bridge Subsystem",
        (*_HEAD, (2, 2, "Reserved"), (4, 2, "Subsystem Vendor ID"), (6, 2, "Subsystem ID")),
    ),
    0x10: (
        "PCI Express",
        (
            *_HEAD,
            (0x02, 2, "PCI Express Capabilities"),
            (0x04, 4, "Device Capabilities"),
            (0x08, 2, "Device Control"),
            (0x0A, 2, "Device Status"),
            (0x0C, 4, "Link Capabilities"),
            (0x10, 2, "Link Control"),
            (0x12, 2, "Link Status"),
            (0x14, 4, "Slot Capabilities"),
            (0x18, 2, "Slot Control"),
            (0x1A, 2, "Slot Status"),
            (0x1C, 2, "Root Control"),
            (0x1E, 2, "Root Capabilities"),
            (0x20, 4, "Root Status"),
            (0x24, 4, "Device Capabilities 2"),
            (0x28, 2, "Device Control 2"),
            (0x2A, 2, "Device Status 2"),
            (0x2C, 4, "Link Capabilities 2"),
            (0x30, 2, "Link Control 2"),
            (0x32, 2, "Link Status 2"),
            (0x34, 4, "Slot Capabilities 2"),
            (0x38, 2, "Slot Control 2"),
            (0x3A, 2, "Slot Status 2"),
        ),
    ),
    0x11: (
        "MSI-X",
        (*_HEAD, (2, 2, "Message Control"), (4, 4, "Table Offset/BIR"), (8, 4, "PBA Offset/BIR")),
    ),
    0x12: ("SATA", (*_HEAD, (2, 2, "SATA Revision"), (4, 4, "SATA BAR Offset"))),
    0x13: (
        "Advanced Features",
        (*_HEAD, (2, 1, "Length"), (3, 1, "AF Capabilities"), (4, 1, "AF Control"), (5, 1, "AF Status")),
    ),
}

VIRTIO_TYPES: Final = {
    1: "Common Configuration",
    2: "Notification",
    3: "ISR Status",
    4: "Device Configuration",
    5: "PCI Configuration Access",
    8: "Shared Memory",
}

EXTENDED: Final[dict[int, tuple[str, tuple[Row, ...]]]] = {
    0x0001: (
        "AER",
        (
            *_EXTENDED_HEAD,
            (0x04, 4, "Uncorrectable Error Status"),
            (0x08, 4, "Uncorrectable Error Mask"),
            (0x0C, 4, "Uncorrectable Error Severity"),
            (0x10, 4, "Correctable Error Status"),
            (0x14, 4, "Correctable Error Mask"),
            (0x18, 4, "Advanced Error Capabilities and Control"),
            *_numbered(0x1C, 4, 4, "Header Log"),
            (0x2C, 4, "Root Error Command"),
            (0x30, 4, "Root Error Status"),
            (0x34, 2, "Correctable Error Source Identification"),
            (0x36, 2, "Error Source Identification"),
            *_numbered(0x38, 4, 4, "TLP Prefix Log"),
        ),
    ),
    0x0002: (
        "Virtual Channel",
        (
            *_EXTENDED_HEAD,
            (0x04, 4, "Port VC Capability 1"),
            (0x08, 4, "Port VC Capability 2"),
            (0x0C, 2, "Port VC Control"),
            (0x0E, 2, "Port VC Status"),
            (0x10, 4, "VC Resource Capability"),
            (0x14, 4, "VC Resource Control"),
            (0x18, 2, "Reserved"),
            (0x1A, 2, "VC Resource Status"),
        ),
    ),
    0x0003: (
        "Device Serial Number",
        (*_EXTENDED_HEAD, (4, 4, "Serial Number Lower"), (8, 4, "Serial Number Upper")),
    ),
    0x0004: (
        "Power Budgeting",
        (*_EXTENDED_HEAD, (4, 1, "Data Select"), (8, 4, "Data"), (12, 1, "Power Budget Capability")),
    ),
    0x000B: ("Vendor Specific", (*_EXTENDED_HEAD, (4, 4, "Vendor Specific Header"))),
    0x000D: (
        "ACS",
        (*_EXTENDED_HEAD, (4, 2, "ACS Capability"), (6, 2, "ACS Control"), (8, 4, "Egress Control Vector")),
    ),
    0x000E: ("ARI", (*_EXTENDED_HEAD, (4, 2, "ARI Capability"), (6, 2, "ARI Control"))),
    0x000F: ("ATS", (*_EXTENDED_HEAD, (4, 2, "ATS Capability"), (6, 2, "ATS Control"))),
    0x0010: (
        "SR-IOV",
        (
            *_EXTENDED_HEAD,
            (0x04, 4, "SR-IOV Capabilities"),
            (0x08, 2, "SR-IOV Control"),
            (0x0A, 2, "SR-IOV Status"),
            (0x0C, 2, "InitialVFs"),
            (0x0E, 2, "TotalVFs"),
            (0x10, 2, "NumVFs"),
            (0x12, 1, "Function Dependency Link"),
            (0x14, 2, "First VF Offset"),
            (0x16, 2, "VF Stride"),
            (0x1A, 2, "VF Device ID"),
            (0x1C, 4, "Supported Page Sizes"),
            (0x20, 4, "System Page Size"),
            *_numbered(0x24, 4, 6, "VF Base Address"),
            (0x3C, 4, "VF Migration State Array Offset"),
        ),
    ),
    0x0012: (
        "Multicast",
        (
            *_EXTENDED_HEAD,
            (4, 2, "Multicast Capability"),
            (6, 2, "Multicast Control"),
            (8, 8, "Multicast Base Address"),
        ),
    ),
    0x0013: (
        "PRI",
        (
            *_EXTENDED_HEAD,
            (4, 2, "Page Request Control"),
            (6, 2, "Page Request Status"),
            (8, 4, "Outstanding Page Request Capacity"),
            (12, 4, "Outstanding Page Request Allocation"),
        ),
    ),
    0x0015: (
        "Resizable BAR",
        (
            *_EXTENDED_HEAD,
            *(
                row
                for i in range(6)
                for row in ((4 + 8 * i, 4, f"Capability {i}"), (8 + 8 * i, 4, f"Control {i}"))
            ),
        ),
    ),
    0x0016: (
        "DPA",
        (
            *_EXTENDED_HEAD,
            (4, 4, "DPA Capability"),
            (8, 4, "Latency Indicator"),
            (12, 2, "DPA Status"),
            (14, 2, "DPA Control"),
        ),
    ),
    0x0017: (
        "TPH Requester",
        (*_EXTENDED_HEAD, (4, 4, "TPH Requester Capability"), (8, 4, "TPH Requester Control")),
    ),
    0x0018: ("LTR", (*_EXTENDED_HEAD, (4, 2, "Max Snoop Latency"), (6, 2, "Max No-Snoop Latency"))),
    0x0019: (
        "Secondary PCI Express",
        (*_EXTENDED_HEAD, (4, 4, "Link Control 3"), (8, 4, "Lane Error Status")),
    ),
    0x001B: ("PASID", (*_EXTENDED_HEAD, (4, 2, "PASID Capability"), (6, 2, "PASID Control"))),
    0x001D: (
        "DPC",
        (
            *_EXTENDED_HEAD,
            (0x04, 2, "DPC Capability"),
            (0x06, 2, "DPC Control"),
            (0x08, 2, "DPC Status"),
            (0x0A, 2, "DPC Error Source ID"),
            (0x0C, 4, "RP PIO Status"),
            (0x10, 4, "RP PIO Mask"),
            (0x14, 4, "RP PIO Severity"),
            (0x18, 4, "RP PIO SysError"),
            (0x1C, 4, "RP PIO Exception"),
        ),
    ),
    0x001E: (
        "L1 PM Substates",
        (*_EXTENDED_HEAD, (4, 4, "Capabilities"), (8, 4, "Control 1"), (12, 4, "Control 2")),
    ),
    0x001F: ("PTM", (*_EXTENDED_HEAD, (4, 4, "PTM Capability"), (8, 4, "PTM Control"))),
    0x0023: ("DVSEC", (*_EXTENDED_HEAD, (4, 4, "DVSEC Header 1"), (8, 2, "DVSEC Header 2"))),
    0x0025: ("Data Link Feature", (*_EXTENDED_HEAD, (4, 4, "Capabilities"), (8, 4, "Status"))),
    0x002E: (
        "DOE",
        (
            *_EXTENDED_HEAD,
            (4, 4, "DOE Capabilities"),
            (8, 4, "DOE Control"),
            (12, 4, "DOE Status"),
            (16, 4, "DOE Write Data Mailbox"),
            (20, 4, "DOE Read Data Mailbox"),
        ),
    ),
}
