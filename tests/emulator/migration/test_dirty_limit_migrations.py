# SPDX-License-Identifier: Apache-2.0
"""A guest that dirties memory five times as fast as it can be sent: with the dirty limit it arrives, without it it never does."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from guests import Guest, emulated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

# 16 MiB of the first processor's, of which it dirties 200 MiB a second; the second one reads
_GUEST = (
    "-M", "pc-i440fx-7.2", "-smp", "2", "-m", "64", "-accel", "model,dirty-ring-size=1024",
    "-workload", "pages=4096,rate=51200,readers=1",
)  # fmt: skip
_PASSES = 12


@contextmanager
def migrating(tmp_path: Path, *capabilities: str) -> Iterator[tuple[Guest, Guest]]:
    """A source and its destination, at 40 MiB a second."""
    uri = f"unix:{tmp_path / 's'}"
    with emulated("10.0", *_GUEST) as source, emulated("10.0", *_GUEST, "-incoming", "defer") as there:
        there.command("migrate-incoming", uri=uri)
        source.enable("events", *capabilities)
        source.command("migrate-set-parameters", max_bandwidth=40 << 20, downtime_limit=100)
        source.command("migrate", uri=uri)
        yield source, there


def test_without_a_limit_it_never_arrives(tmp_path: Path) -> None:
    with migrating(tmp_path) as (source, _):
        while source.status("active")["ram"]["dirty-sync-count"] < _PASSES:
            pass
        source.command("migrate_cancel")
        source.status("cancelled")


def test_with_a_limit_it_arrives(tmp_path: Path) -> None:
    with migrating(tmp_path, "dirty-limit") as (source, there):
        source.command("migrate-set-parameters", vcpu_dirty_limit=10, x_vcpu_dirty_limit_period=200)
        longest = 0
        while (told := source.status("active", "device", "completed"))["status"] == "active":
            longest = max(longest, told.get("dirty-limit-throttle-time-per-round", 0))
        source.status("completed")
        assert longest > 0
        assert source.command("query-vcpu-dirty-limit") == []
        there.status("completed")
        assert there.command("query-status")["running"]
