"""Migration capabilities and parameters of a release: names, values that fit, and texts for those that do not.

Names and defaults are data of the release. Limits and texts were seen on QEMU 5.2, 7.2, 10.0 and 11.1.
A capability that this emulator does not implement is refused when it is set, never ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.traits import Span

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from migmatrix.emulator.release import Release

__all__ = ["Settings"]

# Without an effect on a stream that is as QEMU may send it: xbzrle only where a page came before, for one.
_DONE: Final = frozenset(
    {
        "xbzrle", "auto-converge", "zero-blocks", "events", "return-path", "pause-before-switchover",
        "dirty-bitmaps", "late-block-activate", "validate-uuid", "switchover-ack", "postcopy-blocktime",
    }
)  # fmt: skip
_NEEDS: Final = (
    ("postcopy-preempt", "postcopy-ram", "Postcopy preempt requires postcopy-ram"),
    ("switchover-ack", "return-path", "Capability 'switchover-ack' requires capability 'return-path'"),
)
_OLD_CAPABILITY: Final = Span(until="6.1")  # how an unknown name is refused
_OPTION: Final = Span("11.1")  # "Option max-bandwidth", before it "Parameter 'max_bandwidth'"
_OLD_RANGE: Final = Span(until="7.2")  # words for small ranges


class _Limit(NamedTuple):
    low: int
    high: int
    words: str
    old_words: str = ""


def _small(low: int, high: int) -> _Limit:
    return _Limit(
        low,
        high,
        f"a value between {low} and {high}",
        f"is invalid, it should be in the range of {low} to {high}",
    )


def _integer(low: int, high: int, shown: str = "") -> _Limit:
    return _Limit(low, high, f"an integer in the range of {low} to {shown or high}")


_LIMITS: Final[dict[str, _Limit]] = {
    "compress-level": _small(0, 9),
    "compress-threads": _small(1, 255),
    "decompress-threads": _small(1, 255),
    "multifd-channels": _small(1, 255),
    "multifd-zlib-level": _small(0, 9),
    "multifd-zstd-level": _small(0, 20),
    "multifd-qatzip-level": _small(1, 9),
    "throttle-trigger-threshold": _integer(1, 100),
    "cpu-throttle-initial": _integer(1, 99),
    "cpu-throttle-increment": _integer(1, 99),
    "max-cpu-throttle": _integer(1, 99),
    "downtime-limit": _integer(0, 2_000_000, "(2000 * 1000) ms"),
    "announce-initial": _Limit(0, 100_000, "a value between 0 and 100000"),
    "announce-max": _Limit(0, 100_000, "a value between 0 and 100000"),
    "announce-rounds": _Limit(0, 1000, "a value between 0 and 1000"),
    "announce-step": _Limit(1, 10_000, "a value between 0 and 10000"),
}
_TEXTS: Final = ("tls-creds", "tls-hostname", "tls-authz")
_FIXED: Final = {"mode": "normal"}  # the only value that is done
_SIZE_MASK: Final = (1 << 64) - 1


class Settings:
    """`capabilities` and `parameters` by name, as the release has them."""

    def __init__(self, release: Release) -> None:
        self._release = release.name
        self.capabilities = dict.fromkeys(release.capabilities, False)
        self.parameters: dict[str, Any] = dict(release.parameters)

    # -- capabilities ----------------------------------------------------------------------------

    def set_capabilities(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Set capabilities (``{"capability": name, "state": bool}``), all or none; QmpError."""
        wanted = {item["capability"]: bool(item["state"]) for item in items}
        for name in wanted:
            if name not in self.capabilities:
                raise _error(self._unknown(name))
        new = self.capabilities | wanted
        for name, needed, text in _NEEDS:
            if new.get(name) and not new.get(needed):
                raise _error(text)
        for name, state in wanted.items():
            if state and name not in _DONE:
                raise _error(_not_done(name))
        self.capabilities = new

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
        if name not in self.parameters:
            raise _error(f"Parameter '{name}' is unexpected")
        if name in _TEXTS:
            if value:
                raise _error(_not_done("TLS"))
            return ""
        if name in _FIXED and value != _FIXED[name]:
            raise _error(_not_done(f"{name}={value}"))
        if name == "xbzrle-cache-size" and (value < 4096 or value & (value - 1)):  # noqa: PLR2004 - a page
            raise _error(self._range(name, "a power of two no less than the target page size"))
        limit = _LIMITS.get(name)
        if limit is not None and not limit.low <= value <= limit.high:
            old = _OLD_RANGE.covers(self._release) and limit.old_words
            raise _error(self._range(name, old or limit.words))
        return value & _SIZE_MASK if name.endswith("bandwidth") else value

    def _range(self, name: str, words: str) -> str:
        if _OPTION.covers(self._release):
            return f"Option {name} expects {words}"
        return f"Parameter '{name.replace('-', '_')}' expects {words}"


def _not_done(name: str) -> str:
    if name == "postcopy-ram":
        return "Postcopy is not supported"
    return f"'{name}' is not supported by this emulator"


def _error(text: str) -> QmpError:
    return QmpError("GenericError", text)
