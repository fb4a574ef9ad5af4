# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import TYPE_CHECKING

import needs
import pytest
from analyze_migration import Script, find_script
from rdma_guests import shared_directory

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Script:
    """QEMU's own `analyze-migration.py`, fetched once."""
    path = find_script(tmp_path_factory.mktemp("script"))
    if isinstance(path, str):
        needs.missing(path)
    return Script(path)


@pytest.fixture(scope="session")
def rdma_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What containers with RDMA share."""
    return shared_directory(tmp_path_factory.mktemp("rdma"))
