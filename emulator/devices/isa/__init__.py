# SPDX-License-Identifier: Apache-2.0
"""Devices of an ISA PC, with the state that QEMU 5.2 to 11.1 sends for them.

Each module describes one device or a small family: its description with life-times, its hooks, its reset values.
Start with `emulator.devices.isa.base.IsaDevice`. Descriptions and reset values were read from streams of QEMU
5.2.0, 7.2.22, 10.0.2, 10.0.13 and 11.1.3, and checked byte by byte in tests/emulator/devices/isa.
"""
