# SPDX-License-Identifier: Apache-2.0
"""PCI: config spaces and what a loader checks of them (`config`, `check`), buses, and the devices on them.

Begin with `device.PCIDevice`, from which all derive. Layouts are QEMU's; nothing here knows a release.
"""
