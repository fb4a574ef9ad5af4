# SPDX-License-Identifier: Apache-2.0
"""A run in the formats of other tools. Start with `FORMATS` in `formats`, the table of them.

Each format is a module with a function that makes a text of a `RunReport`; it decides nothing and reads nothing. What an
emulator said may hold anything: each goes through `harness.visible`, then through the escaping of its format.
"""
