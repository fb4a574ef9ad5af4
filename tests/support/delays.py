# SPDX-License-Identifier: Apache-2.0
"""Run a command with random delays at the system calls of all its processes (`tests/delays/delays.c`).

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


def build(output: Path) -> None:
    """Write the library to preload; CalledProcessError with the compiler's own words on standard error."""
    subprocess.run(["gcc", *_FLAGS, "-o", output, _SOURCE, "-ldl"], check=True)


def main(command: list[str]) -> int:
    """The command's exit status."""
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / "delays.so"
        build(library)
        return subprocess.run(command, env={**os.environ, "LD_PRELOAD": str(library)}, check=False).returncode


if __name__ == "__main__":
    if shutil.which("gcc") is None:
        sys.exit("needs gcc")
    sys.exit(main(sys.argv[1:]))
