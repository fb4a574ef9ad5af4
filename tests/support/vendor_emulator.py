# SPDX-License-Identifier: Apache-2.0
"""The reference emulator as a vendor builds it: the same machines under names of its own, and only those.

A real process: `install` writes an executable for the provider `binary` that is a release with other names.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from migmatrix.emulator import main as emulator_main
from migmatrix.emulator import release_data

if TYPE_CHECKING:
    from pathlib import Path

# What the vendors call machine types: Red Hat, Ubuntu, Proxmox.
NAMES = {
    "pc-q35-6.2": "pc-q35-rhel8.6.0",
    "pc-q35-7.2": "pc-q35-rhel9.6.0",
    "pc-i440fx-7.2": "pc-i440fx-jammy-v2",
    "pc-q35-7.1": "pc-q35-7.1+pve1",
    "none": "none",
}


def install(directory: Path, release: str) -> Path:
    """Write the vendor's emulator of a release of QEMU; its path."""
    path = directory / f"vendor-{release}"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} -release {release} "$@"\n')
    path.chmod(0o755)
    return path


def main(argv: list[str]) -> int:
    """The emulator, with the vendor's names in place of QEMU's."""
    its = release_data.read_facts

    def renamed(release: str, root: str) -> dict[str, Any]:
        facts = its(release, root)
        types = [(NAMES[name], *rest) for name, *rest in facts["machine_types"] if name in NAMES]
        return {**facts, "machine_types": types}

    release_data.read_facts = renamed
    return emulator_main.main(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
