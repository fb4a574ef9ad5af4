"""Hops: `run_snapshot_hop` and `run_live_path` do the work and return evidence; nothing here judges."""

from harness.hops.live import run_live_path
from harness.hops.snapshot import run_snapshot_hop
from harness.hops.task import HopTask, LiveTask, Problem

__all__ = ["HopTask", "LiveTask", "Problem", "run_live_path", "run_snapshot_hop"]
