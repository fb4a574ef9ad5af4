# SPDX-License-Identifier: Apache-2.0
"""What is kept: `LegStore` between runs, `RunStore` of one run, `StreamCache` during one."""

from migmatrix.harness.store.basis import Basis
from migmatrix.harness.store.legs import LegStore, default_store
from migmatrix.harness.store.plans import PLAN, keep_plan, kept_plan
from migmatrix.harness.store.runs import DATABASE, SIGNATURE, RunStore
from migmatrix.harness.store.streams import StreamCache

__all__ = [
    "DATABASE",
    "PLAN",
    "SIGNATURE",
    "Basis",
    "LegStore",
    "RunStore",
    "StreamCache",
    "default_store",
    "keep_plan",
    "kept_plan",
]
