# SPDX-License-Identifier: Apache-2.0
"""Makes the helpers of the report's tests importable; one history and its site for all tests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.site import write_site

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

from site_fakes import make_history

if TYPE_CHECKING:
    from migmatrix.harness.history import History


@pytest.fixture(scope="session")
def history() -> History:
    return make_history()


@pytest.fixture(scope="session")
def site(history: History, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site") / "out"
    write_site(history, directory)
    return directory
