# SPDX-License-Identifier: Apache-2.0
"""Device state described as data, saved and loaded by one interpreter.

Start with `fields`, which writes descriptions, and `interpret`, which saves and loads by them. `description`
holds the records, `lifetime` what one release has of them, `registry` the sections of a machine.
"""
