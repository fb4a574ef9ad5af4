# SPDX-License-Identifier: Apache-2.0
"""Run a command with random delays at the system calls of all its processes (`tests/delays/delays.c`).

Those of real QEMU in the containers of `guests.py` have them, too: `MIGMATRIX_DELAYS` tells where the library is.

python tests/support/delays.py COMMAND [ARGUMENT]...
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["build"]

_SOURCE = Path(__file__).parents[1] / "delays" / "delays.c"
_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread")

# named although newer systems have all of it in libc: older ones, in containers, find dlsym there
_LIBRARIES = ("-Wl,--no-as-needed", "-l:libdl.so.2")


def build(output: Path) -> None:
    """Write the library to preload; CalledProcessError with the compiler's own words on standard error."""
    subprocess.run(["gcc", *_FLAGS, "-o", output, _SOURCE, *_LIBRARIES], check=True)


def main(command: list[str]) -> int:
    """The command's exit status."""
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / "delays.so"
        build(library)
        library.chmod(0o755)
        Path(directory).chmod(0o755)  # whoever runs in a container reads it
        delayed = {**os.environ, "LD_PRELOAD": str(library), "MIGMATRIX_DELAYS": str(library)}
        return subprocess.run(command, env=delayed, check=False).returncode


if __name__ == "__main__":
    if shutil.which("gcc") is None:
        sys.exit("needs gcc")
    sys.exit(main(sys.argv[1:]))
