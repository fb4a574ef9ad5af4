# SPDX-License-Identifier: Apache-2.0
"""What makes an emulator start fast, and nothing that it does afterwards. `docs/start.md` has the figures.

Before a start: `freezing` writes releases as marshal files, `packing` writes all modules as one file. At a start:
`packed` loads modules from that file, `typing_stub` takes the place of `typing`, `jsontext` that of `json`.
`forkserver` starts emulators by fork, so that hundreds of starts load the code once. Start reading with `packing`.
"""
