# SPDX-License-Identifier: Apache-2.0
"""Legs: `run_snapshot_leg` and `run_live_path` do the work and return evidence; nothing here judges."""

from migmatrix.harness.hops.live import run_live_path
from migmatrix.harness.hops.snapshot import run_snapshot_leg
from migmatrix.harness.hops.task import LegTask, LiveTask, Problem

__all__ = ["LegTask", "LiveTask", "Problem", "run_live_path", "run_snapshot_leg"]
