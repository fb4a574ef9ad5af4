# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the stream tests: real streams by name, and each complete one in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from stream_data import MAIN, load

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def stream_bytes() -> Callable[[str], bytes]:
    """The bytes of a stream by its name in tests/data/streams."""
    return load


@pytest.fixture(params=MAIN)
def main_stream(request: pytest.FixtureRequest) -> bytes:
    """Each complete main channel in turn."""
    return load(request.param)
