# SPDX-License-Identifier: Apache-2.0
"""QEMU's command line. Start with `parse.parse`; it fills the records of `records` by the options of `table`."""
