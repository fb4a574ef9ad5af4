# SPDX-License-Identifier: Apache-2.0
"""`python -m migmatrix`: the command `migmatrix`."""

from __future__ import annotations

from migmatrix.harness.cli import main

if __name__ == "__main__":
    main()
