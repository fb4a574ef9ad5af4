# SPDX-License-Identifier: Apache-2.0
"""Parts of a machine that sit on no bus: clocks, interrupt controllers, processors' common parts, user networking.

As for the ISA devices, descriptions and reset values were read from streams of real QEMU.
"""
