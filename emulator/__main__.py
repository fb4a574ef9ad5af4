# SPDX-License-Identifier: Apache-2.0
"""`python -m migmatrix.emulator`: QEMU's command line, on the reference emulator."""

from __future__ import annotations

import sys

from migmatrix.emulator.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
