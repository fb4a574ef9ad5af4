# SPDX-License-Identifier: Apache-2.0
"""Fixtures for all tests, and the path on which they find `support/`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent / "support"))

if TYPE_CHECKING:
    import docker

pytest_plugins = ["pytester"]

# A busy host is no error; how fast something is, is a matter of `tests/bench`.
settings.register_profile("migmatrix", deadline=None)
settings.load_profile("migmatrix")


@pytest.fixture(scope="session")
def container_engine() -> docker.DockerClient:
    """A client of a container engine."""
    from needs import missing

    from migmatrix.harness.builds.client import new_client
    from migmatrix.harness.errors import EngineError

    try:
        return new_client()
    except EngineError as err:
        return missing(f"a container engine ({err})")
