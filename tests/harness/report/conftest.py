# SPDX-License-Identifier: Apache-2.0
"""Makes the helpers of this directory importable, and one large run shared by its tests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from report_fakes import make_report

if TYPE_CHECKING:
    from migmatrix.harness.report import RunReport


@pytest.fixture(scope="session")
def small() -> RunReport:
    """12,000 cells: all pairs and four thousand chains."""
    return make_report(12_000)


@pytest.fixture(scope="session")
def large() -> RunReport:
    return make_report(30_000)
