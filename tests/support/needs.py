# SPDX-License-Identifier: Apache-2.0
"""What a test lacks: it is skipped with that named, and fails in CI, where nothing may be lacking."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest
from filelock import FileLock

IMAGES = {"5.2": "bullseye", "7.2": "bookworm", "10.0": "trixie", "11.1": "trixie-backports"}


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"needs {what}")
    pytest.skip(f"needs {what}")


def image(release: str) -> None:
    """Docker, and the image of real QEMU of `release`, which is made in CI: there the machine is an empty one."""
    if shutil.which("docker") is None:
        missing("docker")
    name = f"migmatrix/debian:{IMAGES[release]}"
    if _is_there(name):
        return
    if not os.environ.get("CI"):
        missing(f"image {name}")
    with FileLock(Path(tempfile.gettempdir()) / f"migmatrix-tests-{os.getuid()}-{IMAGES[release]}.lock"):
        if not _is_there(name):
            _make(IMAGES[release])


def _is_there(name: str) -> bool:
    asked = subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False)
    return asked.returncode == 0


def _make(suite: str) -> None:
    matrix = {
        "builds": {"qemu": {"provider": "debian", "suite": suite}},
        "engine": "docker", "machines": ["none"], "profiles": {"define": {"bare": {"args": []}}},
        "paths": {"explicit": ["qemu>qemu"]}, "modes": ["snapshot"], "guests": ["paused"],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "matrix.yaml"
        file.write_text(json.dumps(matrix))
        words = [sys.executable, "-m", "migmatrix.harness.cli", "builds", "prepare", "-f", str(file)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
