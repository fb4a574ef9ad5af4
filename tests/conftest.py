"""Fixtures for all tests: what a test needs and does not find is named, and is a failure in CI."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))

if TYPE_CHECKING:
    import docker

pytest_plugins = ["pytester"]


def missing(what: str) -> None:
    """Skip the test and say what it lacks; in CI nothing may be lacking."""
    if os.environ.get("CI"):
        pytest.fail(f"needs {what}")
    pytest.skip(f"needs {what}")


@pytest.fixture(scope="session")
def container_engine() -> docker.DockerClient:
    """A client of a container engine."""
    from harness.engines.docker import connect  # noqa: PLC0415
    from harness.errors import EngineError  # noqa: PLC0415

    try:
        return connect()
    except EngineError as err:
        missing(f"a container engine ({err})")
        raise
