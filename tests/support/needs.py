# SPDX-License-Identifier: Apache-2.0
"""What a test lacks: it is skipped with that named, and fails in CI, where nothing may be lacking."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import NoReturn

import pytest
from guests import IMAGES


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"needs {what}")
    pytest.skip(f"needs {what}")


def image(release: str) -> None:
    """Docker, and the image of real QEMU of `release`."""
    if shutil.which("docker") is None:
        missing("docker")
    name = f"migmatrix/debian:{IMAGES[release]}"
    if subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode:
        missing(f"image {name}")
