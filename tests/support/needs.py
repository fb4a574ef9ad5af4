# SPDX-License-Identifier: Apache-2.0
"""What a test lacks: it is skipped with that named, and fails in CI, where nothing may be lacking."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"needs {what}")
    pytest.skip(f"needs {what}")
