# SPDX-License-Identifier: Apache-2.0
"""Build `tests/rdma/standin.c`, the RDMA libraries for a host without a device.

python tests/support/rdma_standin.py OUTPUT.so
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["build", "lacks"]

_SOURCE = Path(__file__).parents[1] / "rdma" / "standin.c"
_FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-pthread")
_HEADERS = "#include <rdma/rdma_cma.h>\n"


def lacks() -> str:
    """What this host lacks to build it; "" for nothing."""
    if shutil.which("gcc") is None:
        return "gcc"
    found = subprocess.run(["gcc", "-E", "-"], input=_HEADERS, capture_output=True, text=True, check=False)
    return "librdmacm-dev and libibverbs-dev" if found.returncode else ""


def build(output: Path) -> None:
    """Write the shared library; CalledProcessError with the compiler's own words on standard error."""
    subprocess.run(["gcc", *_FLAGS, "-o", output, _SOURCE], check=True)


if __name__ == "__main__":
    if lacking := lacks():
        sys.exit(f"needs {lacking}")
    build(Path(sys.argv[1]))
