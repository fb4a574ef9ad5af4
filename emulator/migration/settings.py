# SPDX-License-Identifier: Apache-2.0
"""Migration capabilities and parameters of a release: names, values that fit, and texts for those that do not.

Names and defaults are data of the release. Limits and texts were seen on QEMU 5.2, 7.2, 10.0 and 11.1.
A capability that this emulator does not implement is refused when it is set, never ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.capabilities import Surroundings, refusal
from migmatrix.emulator.migration.traits import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from migmatrix.emulator.release import Release

__all__ = ["BITMAPS", "Settings"]

BITMAPS: Final = "block-bitmap-mapping"  # not there until it is set
_HAS_BITMAPS: Final = Span("5.2")

# Done, or without an effect on what this emulator has: no block migration, nothing that a late activation could delay.
_DONE: Final = frozenset(
    {
        "xbzrle", "auto-converge", "zero-blocks", "events", "return-path", "pause-before-switchover",
        "dirty-bitmaps", "late-block-activate", "validate-uuid", "x-ignore-shared", "switchover-ack",
        "background-snapshot", "postcopy-ram", "postcopy-blocktime", "postcopy-preempt",
        "dirty-limit", "multifd", "mapped-ram", "rdma-pin-all",
    }
)  # fmt: skip
# not done together
_APART: Final = (("background-snapshot", "mapped-ram"), ("x-ignore-shared", "mapped-ram"))
_OLD_CAPABILITY: Final = Span(until="6.1")  # how an unknown name is refused
_OPTION: Final = Span("11.1")  # "Option max-bandwidth", before it "Parameter 'max_bandwidth'"
_OLD_RANGE: Final = Span(until="7.2")  # words for small ranges


class _Limit(NamedTuple):
    low: int
    high: int
    words: str
    old_words: str = ""
    since: str = ""  # before it, anything was taken


def _small(low: int, high: int) -> _Limit:
    return _Limit(
        low,
        high,
        f"a value between {low} and {high}",
        f"is invalid, it should be in the range of {low} to {high}",
    )


def _integer(low: int, high: int, shown: str = "") -> _Limit:
    return _Limit(low, high, f"an integer in the range of {low} to {shown or high}")


_LESS: Final = "is invalid, it must be less than 100000 ms"
_WITHIN: Final = "is invalid, it must be in the range of"
_LIMITS: Final[dict[str, _Limit]] = {
    "compress-level": _small(0, 9),
    "compress-threads": _small(1, 255),
    "decompress-threads": _small(1, 255),
    "multifd-channels": _small(1, 255),
    "multifd-zlib-level": _small(0, 9)._replace(since="10.0"),
    "multifd-zstd-level": _small(0, 20)._replace(since="10.0"),
    "multifd-qatzip-level": _small(1, 9),
    "throttle-trigger-threshold": _integer(1, 100),
    "cpu-throttle-initial": _integer(1, 99),
    "cpu-throttle-increment": _integer(1, 99),
    "downtime-limit": _integer(0, 2_000_000, "(2000 * 1000) ms"),
    "announce-initial": _Limit(0, 100_000, "a value between 0 and 100000", _LESS),
    "announce-max": _Limit(0, 100_000, "a value between 0 and 100000", _LESS),
    "announce-rounds": _Limit(0, 1000, "a value between 0 and 1000", f"{_WITHIN} 0 to 1000"),
    "announce-step": _Limit(1, 10_000, "a value between 0 and 10000", f"{_WITHIN} 1 to 10000 ms"),
    "x-vcpu-dirty-limit-period": _Limit(1, 1000, "a value between 1 and 1000"),
}
_TEXTS: Final = ("tls-creds", "tls-hostname", "tls-authz")
_FIXED: Final = {"mode": "normal"}  # the only value that is done
_OLD_CACHE: Final = "is invalid, it should be bigger than target page size and a power of 2"
_UNSIGNED: Final = ("xbzrle-cache-size", "vcpu-dirty-limit")
_SIZE_MASK: Final = (1 << 64) - 1


class Settings:
    """`capabilities` and `parameters` by name, as the release has them.

    Whoever knows sets `listening` (sockets wait for an incoming migration, or it is under way), `dirty_ring` (of the accelerator) and `trackable` (the writes
    to all of the memory can be seen): some capabilities depend on them. `unfit` gives words for why no postcopy can come.
    """

    def __init__(self, release: Release) -> None:
        self._release = release.name
        self.capabilities = dict.fromkeys(release.capabilities, False)
        self.parameters: dict[str, Any] = dict(release.parameters)
        self.listening = False
        self.dirty_ring = False
        self.trackable = True
        self.unfit: Callable[[], str] = str

    # -- capabilities ----------------------------------------------------------------------------

    def set_capabilities(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Set capabilities (``{"capability": name, "state": bool}``), all or none; QmpError."""
        wanted = {item["capability"]: bool(item["state"]) for item in items}
        for name in wanted:
            if name not in self.capabilities:
                raise _error(self._unknown(name))
        new = self.capabilities | wanted
        if new.get("postcopy-ram") and not self.capabilities["postcopy-ram"] and (words := self.unfit()):
            raise _error(words)
        if words := refusal(self._release, self.capabilities, new, self._surroundings()):
            raise _error(words)
        for name, beside in _APART:
            if new.get(name) and new.get(beside):
                raise _error(_not_done(name, beside))
        for name, state in wanted.items():
            if state and name not in _DONE:
                raise _error(_not_done(name))
        self.capabilities = new

    def _surroundings(self) -> Surroundings:
        packed = self.parameters.get("multifd-compression", "none") != "none"
        tls = bool(self.parameters.get("tls-creds"))
        return Surroundings(self.listening, tls, packed, self.dirty_ring, self.trackable)

    def _unknown(self, name: str) -> str:
        if _OLD_CAPABILITY.covers(self._release):
            return f"Invalid parameter '{name}'"
        return f"Parameter 'capability' does not accept value '{name}'"

    # -- parameters ------------------------------------------------------------------------------

    def set_parameters(self, given: Mapping[str, Any]) -> None:
        """Set parameters, all or none; QmpError."""
        checked = {name: self._check(name, value) for name, value in given.items()}
        self.parameters.update(checked)

    def _check(self, name: str, value: Any) -> Any:
        if name == BITMAPS and _HAS_BITMAPS.covers(self._release):
            if value:
                raise _error(_not_done(name))
            return value
        if name not in self.parameters:
            raise _error(f"Parameter '{name}' is unexpected")
        if name in _TEXTS:
            return value or ""
        _check_choice(name, value)
        if name == "xbzrle-cache-size" and (value & _SIZE_MASK < 4096 or value & (value - 1) & _SIZE_MASK):  # noqa: PLR2004 - a page
            words = (
                _OLD_CACHE
                if _OLD_RANGE.covers(self._release)
                else "a power of two no less than the target page size"
            )
            raise _error(self._range(name, words))
        if name == "x-rdma-chunk-size":
            self._check_chunk(value)
        self._check_limit(name, value)
        if (limit := _LIMITS.get(name)) is not None and not Span(limit.since).covers(self._release):
            return self.parameters[name]  # seen: taken, and forgotten
        return value & _SIZE_MASK if name in _UNSIGNED or name.endswith("bandwidth") else value

    def _check_limit(self, name: str, value: Any) -> None:
        limit = _LIMITS.get(name)
        if name == "max-cpu-throttle":
            first = "cpu-throttle-initial"
            shown = first if _OPTION.covers(self._release) else first.replace("-", "_")
            limit = _Limit(self.parameters[first], 99, f"an integer in the range of {shown} to 99")
        if name == "vcpu-dirty-limit" and not value:
            shown = name if _OPTION.covers(self._release) else name.replace("-", "_")
            raise _error(f"Parameter '{shown}' must be greater than 1 MB/s")
        if limit is None or not Span(limit.since).covers(self._release):
            return
        if not limit.low <= value <= limit.high:
            old = _OLD_RANGE.covers(self._release) and limit.old_words
            raise _error(self._range(name, old or limit.words))

    def _check_chunk(self, value: int) -> None:
        if value & (value - 1) or not 1 << 20 <= value <= 1 << 30:
            raise _error("Option x_rdma_chunk_size expects a power of 2 in the range 1MiB to 1024MiB")

    def _range(self, name: str, words: str) -> str:
        if _OPTION.covers(self._release):
            return f"Option {name} expects {words}"
        shown = name if name.startswith("x-") else name.replace("-", "_")
        return f"Parameter '{shown}' expects {words}"


def _check_choice(name: str, value: Any) -> None:
    """QmpError for one of several values that is not done, or is not there."""
    if name == "multifd-compression" and not _has_method(value):
        raise _error(f"Parameter '{name}' does not accept value '{value}'")
    if name in _FIXED and value != _FIXED[name]:
        raise _error(_not_done(f"{name}={value}"))


def _has_method(method: str) -> bool:
    """Whether this build packs pages so; those by other devices' help are built without."""
    if method == "zstd":
        from migmatrix.emulator.migration.multifd_zstd import available  # noqa: PLC0415 - seldom asked for

        return available()
    return method in ("none", "zlib")


def _not_done(name: str, beside: str = "") -> str:
    both = f"'{name}' with '{beside}'" if beside else f"'{name}'"
    return f"{both} is not supported by this emulator"


def _error(text: str) -> QmpError:
    return QmpError("GenericError", text)
