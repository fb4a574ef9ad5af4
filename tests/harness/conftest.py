# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the harness's tests."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def lab() -> Iterator[Lab]:
    """An empty laboratory, in a directory short enough for UNIX sockets."""
    root = Path(tempfile.mkdtemp(prefix="mm-", dir="/tmp"))
    root.chmod(0o755)
    yield Lab(root)
    shutil.rmtree(root)
