# SPDX-License-Identifier: Apache-2.0
"""Compat tables of builds and of ``compat/``. Start from `tables.read`, which reads a directory of them.

`extract` asks a build for its entries, `effective` tells what applies to a machine type, `diff` compares two builds,
`lint` finds mistakes, `lookup` finds lines by device, `values` knows which values are equal, and `static` says what a
red cell shows without a migration.
"""
