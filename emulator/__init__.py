# SPDX-License-Identifier: Apache-2.0
"""The reference emulator: QEMU's migration framework in versioned releases, wire-compatible with real QEMU.

Start with `main.main`, the process on one screen. From there: `options.parse.parse` reads the command line,
`release.open_release` gives a release as data, `machine.build_machine` makes the machine of both, `qmp.server.Server`
answers its monitors, `migration.control.Migration` moves its state, and `devices` has one file for each device.

Imports go one way: `main`, `qmp`, `devices` and `boards`, `migration`, `machine`, `options`; `pyproject.toml` holds it.
`python -m migmatrix.emulator` takes QEMU's flags; `start` makes packed emulators start fast.
"""
