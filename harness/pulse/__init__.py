# SPDX-License-Identifier: Apache-2.0
"""The guest `pulse` as the harness knows it: its files, where it runs, what it says, and which changes are no fault.

Begin with `heard.py`. The program itself is `guests/pulse/`; its lines are described in `docs/pulse.md`. This room starts
nothing and judges nothing.
"""
