# SPDX-License-Identifier: Apache-2.0
"""`query-migrate`: what there is to tell in each status, in the shape of the release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.memory import PAGE_SIZE
from migmatrix.emulator.migration.states import POSTCOPY, Status
from migmatrix.emulator.migration.traits import Span

if TYPE_CHECKING:
    from migmatrix.emulator.migration.control import Migration
    from migmatrix.emulator.migration.figures import Figures
    from migmatrix.emulator.migration.outgoing import Outgoing
    from migmatrix.emulator.migration.ram_save import RamStats
    from migmatrix.emulator.migration.xbzrle import PageCache

__all__ = ["describe"]

_RAM_SPANS: Final = {
    "skipped": Span(until="9.1"),
    "precopy-bytes": Span("7.0"),
    "downtime-bytes": Span("7.0"),
    "postcopy-bytes": Span("7.0"),
    "dirty-sync-missed-zero-copy": Span("7.1"),
}
_REMAINING: Final = Span("11.1")
_FIGURES: Final = POSTCOPY | {Status.ACTIVE, Status.DEVICE, Status.PRE_SWITCHOVER, Status.CANCELLING}


_WITH_ERRORS: Final = POSTCOPY | {Status.FAILED, Status.FAILING, Status.CANCELLED}


def describe(migration: Migration) -> dict[str, Any]:
    """The answer; empty when nothing ever happened. The caller holds the machine's lock."""
    status = migration.progress.status
    answer: dict[str, Any] = {}
    if status is Status.NONE:
        return answer
    if status is Status.SETUP and migration.outgoing is None and not migration.traits.told_while_listening:
        return _where(migration)
    answer["status"] = status.value
    if migration.error and status in _WITH_ERRORS:
        answer["error-desc"] = migration.error
    if migration.outgoing is not None:
        _add_figures(answer, migration, migration.outgoing)
        return answer
    postcopy = migration.ram.postcopy
    if status is Status.COMPLETED and postcopy is not None and postcopy.blocktime is not None:
        answer |= postcopy.blocktime.told(migration.traits.release)
    return answer | _where(migration)


def _where(migration: Migration) -> dict[str, Any]:
    """The sockets of a destination that listens."""
    side = migration.incoming_side
    return {"socket-address": where} if side is not None and (where := side.describe()) else {}


def _add_figures(answer: dict[str, Any], migration: Migration, outgoing: Outgoing) -> None:
    status = migration.progress.status
    if status not in _FIGURES and status is not Status.COMPLETED:
        return
    figures = outgoing.figures
    answer["total-time"] = figures.total_ms
    answer["setup-time"] = figures.setup_ms
    if status is Status.COMPLETED or (status in POSTCOPY and migration.traits.late_downtime):
        answer["downtime"] = figures.downtime_ms
    else:
        answer["expected-downtime"] = figures.expected_downtime_ms(migration.ram)
    answer["ram"] = _ram(migration, figures)
    if migration.settings.capabilities.get("xbzrle"):
        answer["xbzrle-cache"] = _cache(migration).figures()
    if migration.machine.throttle:
        answer["cpu-throttle-percentage"] = migration.machine.throttle
    limit = migration.machine.dirty_limit
    if limit is not None and limit.in_service and migration.settings.capabilities.get("dirty-limit"):
        answer["dirty-limit-throttle-time-per-round"] = limit.throttle_us
        answer["dirty-limit-ring-full-time"] = limit.ring_full_us
    if status is not Status.COMPLETED and _REMAINING.covers(migration.traits.release):
        answer["remaining"] = answer["ram"]["remaining"]


def _ram(migration: Migration, outgoing: Figures) -> dict[str, Any]:
    stats = migration.ram.stats or _nothing_yet(migration)
    done = migration.progress.status is Status.COMPLETED
    figures = {
        "transferred": outgoing.sent,
        "remaining": 0 if done else stats.remaining,
        "total": stats.total,
        "duplicate": stats.duplicate,
        "skipped": 0,
        "normal": stats.normal,
        "normal-bytes": stats.normal * PAGE_SIZE,
        "dirty-pages-rate": stats.dirty_rate,
        "mbps": outgoing.bandwidth * 8 / 1e6,
        "dirty-sync-count": stats.passes,
        "postcopy-requests": stats.requests,
        "page-size": PAGE_SIZE,
        "multifd-bytes": stats.multifd_bytes,
        "pages-per-second": int(outgoing.bandwidth / PAGE_SIZE),
        "precopy-bytes": outgoing.precopy_bytes,
        "downtime-bytes": outgoing.sent - outgoing.late_bytes - outgoing.precopy_bytes if done else 0,
        "postcopy-bytes": outgoing.late_bytes,
        "dirty-sync-missed-zero-copy": 0,
    }
    release = migration.traits.release
    return {name: value for name, value in figures.items() if _RAM_SPANS.get(name, Span()).covers(release)}


def _cache(migration: Migration) -> PageCache:
    from migmatrix.emulator.migration.xbzrle import PageCache  # noqa: PLC0415 - few migrations encode pages

    return migration.ram.cache or PageCache(migration.settings.parameters)


def _nothing_yet(migration: Migration) -> RamStats:
    """The figures of a migration that was cancelled before its first section."""
    from migmatrix.emulator.migration.ram_save import RamStats  # noqa: PLC0415 - few migrations end so early

    stats = RamStats(list(migration.machine.ram_blocks.values()))
    stats.remaining = 0
    return stats
