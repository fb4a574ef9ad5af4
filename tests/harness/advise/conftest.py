# SPDX-License-Identifier: Apache-2.0
"""One run of the AER case on the reference emulator, shared by the tests of this directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from emulated import run_matrix, write_matrix

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def aer_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A leg store of its own."""
    return tmp_path_factory.mktemp("aer-store")


@pytest.fixture(scope="session")
def aer_run(tmp_path_factory: pytest.TempPathFactory, aer_store: Path) -> Path:
    """All pairs of 7.2, 8.0, 8.0.1 and 8.2 on pc-q35-7.2 with a root port; no chain, no explanation."""
    directory = tmp_path_factory.mktemp("aer")
    matrix = write_matrix(directory, ["7.2", "8.0", "8.0.1", "8.2"])
    return run_matrix(matrix, aer_store, directory / "run")
