"""The reference emulator: QEMU's migration framework in versioned releases, wire-compatible with real QEMU.

Start with `main.main` (the process), `machine.build_machine` (a machine), `migration.control.Migration` (moving it) or
`devices` (one file a device). `python -m migmatrix.emulator` takes QEMU's flags.
"""
