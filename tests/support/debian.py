# SPDX-License-Identifier: Apache-2.0
"""Debian's builds for tests on real QEMU, prepared at the first use and shared through the cache."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from migmatrix.harness.builds import prepare
from migmatrix.harness.config import load_matrix
from migmatrix.harness.store import default_store

if TYPE_CHECKING:
    from migmatrix.harness.builds import PreparedBuild

MATRICES = Path(__file__).parents[2] / "matrices"


def debian_build(name: str) -> PreparedBuild:
    """One build of matrices/debian.yaml."""
    specs = load_matrix(MATRICES / "debian.yaml").builds
    return prepare({name: specs[name]}, cache=default_store() / "builds", log=print)[name]
