# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import needs
import pytest
from analyze_migration import Script, find_script


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Script:
    """QEMU's own `analyze-migration.py`, fetched once."""
    path = find_script(tmp_path_factory.mktemp("script"))
    if isinstance(path, str):
        needs.missing(path)
    return Script(path)
